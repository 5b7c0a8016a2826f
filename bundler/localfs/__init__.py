"""Files of this host: written atomically, read only with safe ownership, and locked between processes."""
