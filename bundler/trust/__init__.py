"""Which bundles this host trusts: policy, signatures, rollback protection, and the admission that verbs require."""
