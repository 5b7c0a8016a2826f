"""Deltas in any store, read as the bundles that they make."""
