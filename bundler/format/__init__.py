"""The bundle format: values and rules without network, engine or gRPC."""
