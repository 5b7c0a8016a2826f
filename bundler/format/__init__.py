"""What a bundle is: values and rules that know no network, no engine and no gRPC."""
