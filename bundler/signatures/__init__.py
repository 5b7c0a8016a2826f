"""Adapters for signatures: OpenSSH."""
