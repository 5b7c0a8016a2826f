"""Adapters for container engines: Docker and Podman."""
