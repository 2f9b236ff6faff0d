"""What is wrong where caller and server do not agree about TLS. gRPC calls all of it UNAVAILABLE."""

from __future__ import annotations

import socket
import ssl
from typing import Final

PATIENCE: Final = 5.0
"""Seconds to find out whether a server speaks TLS. One that is there answers at once."""


def tls_mistake(said: str, server: str, *, tls: bool, has_certificate: bool) -> str | None:
    """What to do about a call that could not connect, for which gRPC has `said` something; None: it is not about TLS.

    `tls` is whether it was called with it, `has_certificate` whether with a certificate of the caller. The server is
    asked where gRPC's words do not tell.
    """
    if "failed to connect" not in said or "refused" in said:
        return None
    if not tls:
        if _speaks_tls(server):
            return f"{server} speaks TLS: call it with --tls, or with --ca-file and its authority"
        return None
    if "WRONG_VERSION_NUMBER" in said:
        return f"{server} does not speak TLS: call it without --tls, --ca-file and --cert-file"
    if "certificate has expired" in said:
        return f"the certificate of {server} has expired"
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return f"the certificate of {server} is of no authority that is trusted here: name its authority with --ca-file"
    if "Hostname Verification Check failed" in said:
        return f"the certificate of {server} is for another name: call it by a name that is in it"
    if not has_certificate and _wants_certificate(server):
        return f"{server} wants a certificate of its callers: give --cert-file and --key-file"
    if has_certificate:
        return f"{server} has refused the certificate of --cert-file, most likely: {said}"
    return None


def _speaks_tls(server: str) -> bool:
    try:
        with _greeted(server):
            return True
    except (OSError, ValueError):
        return False


def _wants_certificate(server: str) -> bool:
    """Whether it hangs up once it has been greeted without one: TLS 1.3 has it refuse only then. Else it speaks first,
    as HTTP/2 has it.
    """
    try:
        with _greeted(server) as connection:
            return not connection.recv(1)
    except (ssl.SSLError, ConnectionError):
        return True
    except (OSError, ValueError):
        return False


def _greeted(server: str) -> ssl.SSLSocket:
    """A connection with TLS, whoever it is to. Nothing is sent over it. Raises OSError, ValueError."""
    from postwire.config.endpoints import host_port

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if server.startswith("unix:"):
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(PATIENCE)
        plain.connect(server.removeprefix("unix:"))
    else:
        plain = socket.create_connection(host_port(server), PATIENCE)
    try:
        return context.wrap_socket(plain)
    except BaseException:
        plain.close()
        raise
