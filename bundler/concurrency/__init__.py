"""Work that is done by several threads."""
