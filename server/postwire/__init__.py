"""Postwire: one gRPC service through which a company's systems send SMS, MMS and email.

Importing this package loads nothing else: clients import it only on the way to `postwire.v1`.
"""

__version__ = "0.2.0"

SERVER_VARIABLES = ("POSTWIRE_SERVER", "POSTWIRE_TARGET")
"""Which server commands call: the first that is set. The second is an alias, which the examples of all clients read."""

CLIENT_VARIABLES = (
    *SERVER_VARIABLES,
    "POSTWIRE_TLS",
    "POSTWIRE_CA_FILE",
    "POSTWIRE_CERT_FILE",
    "POSTWIRE_KEY_FILE",
    "POSTWIRE_TOKEN_FILE",
    "POSTWIRE_TENANT",
)
"""What commands and the examples of clients read."""
