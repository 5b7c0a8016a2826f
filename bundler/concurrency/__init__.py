"""Work in several threads."""
