"""Files of this host: written atomically, read with care for who owns them, and locked between processes."""
