"""Which bundles this host trusts: the policy, its files, signatures, and protection against rollback."""
