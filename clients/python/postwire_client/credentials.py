"""How a server proves itself, and what a caller shows of itself: TLS, certificates and tokens."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

StrPath = str | os.PathLike[str]
Metadata = tuple[tuple[str, str], ...]

LOOPBACK: Final = re.compile(r"(dns:(///)?|ipv[46]:)?(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")
"""A target that is on this machine; no list of several."""

UNIX: Final = ("unix:", "unix-abstract:")

_MAX_BYTES: Final = 1 << 20
"""How much of a file is read: keys, tokens and even all the authorities that the world trusts take less."""

_TOKEN: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client is to connect with. Paths are of files in PEM, but for that of the token.

    `tls` speaks TLS, and each of the first three files asks for it too. `ca_file` has the authorities to trust: without
    it those that gRPC comes with, or that `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH` names. `cert_file` and `key_file` are the
    caller's own certificate and key, where the server requires one. They are read once, when a client is made.

    `token` is an API key or an access token; `token_file` holds one, and is read again when it changes. Without TLS it
    is sent to this machine only. `tenant` is for administrators: for whom they call.

    Raises ValueError for what does not go together.
    """

    tls: bool = False
    ca_file: StrPath | None = None
    cert_file: StrPath | None = None
    key_file: StrPath | None = None
    token: str | None = field(default=None, repr=False)
    token_file: StrPath | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file, key_file: give both, or neither")
        if self.token is not None and self.token_file is not None:
            raise ValueError("token, token_file: give only one of them")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ValueError("token: must be printable ASCII characters without blanks")
        if self.tenant is not None and not _TOKEN.fullmatch(self.tenant):
            raise ValueError("tenant: must be printable ASCII characters without blanks")

    @property
    def uses_tls(self) -> bool:
        """Whether TLS is spoken."""
        return self.tls or self.ca_file is not None or self.cert_file is not None


NONE: Final = Credentials()


def is_local(target: str) -> bool:
    """Whether a target of gRPC's is on this machine."""
    return target.startswith(UNIX) or LOOPBACK.fullmatch(target) is not None


def channel_credentials(credentials: Credentials) -> grpc.ChannelCredentials | None:
    """What gRPC is to speak TLS with; None: it is not to.

    Raises:
        ValueError: a file cannot be read, or is of no use.
    """
    if not credentials.uses_tls:
        return None
    roots = key = chain = None
    if credentials.ca_file is not None:
        roots = _read("ca_file", credentials.ca_file)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=roots.decode("latin-1"))
        except (ValueError, ssl.SSLError):
            raise ValueError(f"ca_file: {credentials.ca_file} holds no certificate in PEM") from None
    if credentials.cert_file is not None and credentials.key_file is not None:
        key, chain = _read("key_file", credentials.key_file), _read("cert_file", credentials.cert_file)
        try:
            # The password is for an encrypted key: OpenSSL would ask for it at the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(
                credentials.cert_file, credentials.key_file, password=lambda: ""
            )
        except (OSError, ValueError):
            problem = "are no certificate and its key, in PEM and without a password"
            raise ValueError(
                f"cert_file, key_file: {credentials.cert_file}, {credentials.key_file} {problem}"
            ) from None
    return grpc.ssl_channel_credentials(roots, key, chain)


class CallMetadata:
    """What goes with each call to `target`. Safe to share between threads."""

    def __init__(self, credentials: Credentials, target: str) -> None:
        """Raises ValueError where the token cannot be read, or would be sent to another machine in the clear."""
        self._credentials = credentials
        self._identity: object = None
        has_token = credentials.token is not None or credentials.token_file is not None
        if has_token and not credentials.uses_tls and not is_local(target):
            raise ValueError("a token goes to another machine by TLS only: set tls, or ca_file")
        self._metadata: Metadata = self._with(credentials.token)
        if credentials.token_file is not None:
            self._identity = _identity(credentials.token_file)
            self._metadata = self._with(_read_token(credentials.token_file))

    def __call__(self) -> Metadata | None:
        """The metadata of a call that begins now."""
        file = self._credentials.token_file
        if file is not None:
            # Looked at before it is read: what is written between is seen at the next call.
            identity = _identity(file)
            if identity != self._identity:
                try:
                    self._metadata = self._with(_read_token(file))
                except ValueError:  # it is just being replaced: the one before may still be good
                    return self._metadata
                self._identity = identity
        return self._metadata or None

    def _with(self, token: str | None) -> Metadata:
        tenant = self._credentials.tenant
        shown = () if token is None else (("authorization", f"Bearer {token}"),)
        return shown if tenant is None else (*shown, ("postwire-tenant", tenant))


def _read(name: str, file: StrPath) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except OSError as wrong:
        raise ValueError(f"{name}: {file} cannot be read ({wrong.strerror})") from None
    if len(content) > _MAX_BYTES:  # or it never ends, as that of a device
        raise ValueError(f"{name}: {file} holds more than 1 MiB")
    return content


def _read_token(file: StrPath) -> str:
    token = _read("token_file", file).decode("latin-1").strip()
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"token_file: {file} holds no token, which is one line of printable ASCII characters")
    return token


def _identity(file: StrPath) -> object:
    """What differs once a file is another, or was written anew."""
    try:
        found = Path(file).stat()
    except OSError as wrong:
        return wrong.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
