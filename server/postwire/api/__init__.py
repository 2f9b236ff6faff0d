"""The server's only room that knows gRPC and `postwire.v1`: it converts and calls, and decides nothing."""
