"""Where bundles live: registries, OCI layouts, OCI archives, the local store."""
