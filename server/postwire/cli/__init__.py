"""The `postwire` command: from arguments to the configuration to the service, or to a call of the client.

Importing this loads click and little else. What is heavy (gRPC, the service, rich) is imported by the command that
needs it, so that `postwire --help` and a wrong argument answer at once.
"""

from __future__ import annotations

import sys

from postwire.descriptors import open_standard


def main() -> None:
    """The console script."""
    open_standard()
    try:
        from postwire.cli.root import root
    except ModuleNotFoundError as missing:
        # The script is there in every install, and its libraries only in that of a server.
        if missing.name != "click":
            raise
        sys.exit(
            "postwire: this install is the client library alone: pip install 'postwire[server]', or 'postwire[cli]'"
        )
    except KeyboardInterrupt:
        sys.exit(130)  # before the root could see to it
    root()
