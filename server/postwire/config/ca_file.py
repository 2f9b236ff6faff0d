"""Whom to trust with TLS, for everything that connects by itself."""

from __future__ import annotations

import ssl


def check_ca_file(ca_file: str | None) -> None:
    """Look at a file of authorities that a setting names.

    Raises:
        ValueError: `ca_file`, a colon, and why it is of no use.
    """
    if ca_file is None:
        return
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"ca_file: cannot be used ({reason}), must be a file of certificates in PEM") from None
