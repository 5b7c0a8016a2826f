"""Adapters for models: gRPC."""
