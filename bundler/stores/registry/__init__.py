"""Bundles in a registry, over the OCI distribution protocol."""
