"""Bundles in OCI image layouts: directories, and the local store."""
