"""What runs containers and holds images."""
