"""Bundles in OCI archives: tar files, whole or in parts, and pipes."""
