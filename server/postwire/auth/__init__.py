"""Who calls: API keys, certificates and tokens, checked against the configuration. It knows nothing of gRPC."""
