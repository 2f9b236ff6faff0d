"""The server's only room that knows gRPC and `postwire.v1`: it converts and calls, and decides nothing."""

import os

# The C core writes to stderr on its own; set before grpc is imported, and our log stays one JSON object a line.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
