"""What a server would stumble over on this machine, though its configuration is sound in itself."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from postwire.config import encryption_keys
from postwire.config import http as config_http
from postwire.config import receipts as config_receipts
from postwire.config.auth import AuthConfig
from postwire.config.bind import ConfigError
from postwire.config.database_url import missing_for, unusable_files
from postwire.config.endpoints import host_port
from postwire.config.http import HTTP_TLS, HttpConfig
from postwire.config.receipts import RECEIPTS_TLS, ReceiptsConfig
from postwire.config.schema import Config, ServerConfig, StoreConfig, TelemetryConfig
from postwire.config.tls import SERVER, TELEMETRY, TlsConfig, read_certificates
from postwire.config.types import KeyPath

_PRIVILEGED: Final = 1024
"""Ports below this may want a privilege: see ip(7)."""

_SQLITE: Final = b"SQLite format 3\0"
"""How every database begins: see https://www.sqlite.org/fileformat.html."""


def examine(section: object) -> Iterator[ConfigError]:
    """What is wrong with a section here and now. Nothing is written, and nobody is asked whether a port is free."""
    if isinstance(section, ServerConfig):
        yield from _listener("server.listen", section.listen)
        yield from _unreadable(lambda: read_certificates(section.tls, SERVER))
    elif isinstance(section, AuthConfig):
        from postwire.auth.control import read_keys

        yield from _unreadable(lambda: read_keys(section))
    elif isinstance(section, StoreConfig):
        yield from _database(section.url) if section.url else _store(section.path)
        yield from _unreadable(lambda: encryption_keys.keys_of(section.encryption_keys_file))
    elif isinstance(section, TelemetryConfig):
        if section.metrics_listen:
            yield from _listener("telemetry.metrics_listen", section.metrics_listen)
            yield from _unreadable(lambda: read_certificates(section.tls, TELEMETRY))
        yield from _telemetry(section.otlp_endpoint)
    elif isinstance(section, HttpConfig) and section.listen:
        yield from _listener("http.listen", section.listen)
        yield from _unreadable(lambda: read_certificates(section.tls, HTTP_TLS))
        yield from config_http.missing_for(section)
    elif isinstance(section, ReceiptsConfig) and section.listen:
        yield from _listener("receipts.listen", section.listen)
        yield from _unreadable(lambda: read_certificates(section.tls, RECEIPTS_TLS))
        if missing := config_receipts.missing_for(section):
            yield missing


def warnings_of(config: Config) -> Iterator[str]:
    """What a server would start with, and warn about."""
    yield from encryption_keys.warnings_of(config.store.encryption_keys_file, has_tenants=bool(config.tenants))
    listeners: list[tuple[TlsConfig, KeyPath]] = [(config.server.tls, SERVER)]
    if config.telemetry.metrics_listen:
        listeners.append((config.telemetry.tls, TELEMETRY))
    if config.http.listen:
        listeners.append((config.http.tls, HTTP_TLS))
    if config.receipts.listen:
        listeners.append((config.receipts.tls, RECEIPTS_TLS))
    for tls, path in listeners:
        if certificates := read_certificates(tls, path):
            yield from certificates.warnings


def _unreadable(read: Callable[[], object]) -> Iterator[ConfigError]:
    """What is wrong with a file, by reading it as a server would. The error holds the others that there are."""
    try:
        read()
    except ConfigError as error:
        yield error


def _store(path: Path) -> Iterator[ConfigError]:
    key = "store.path"
    if path.is_dir():
        yield ConfigError(key, f"{path} is a directory, give the path of a file")
    elif path.exists() and not os.access(path, os.R_OK | os.W_OK):
        yield ConfigError(key, f"{path} may not be read and written by this user")
    elif path.exists() and not path.is_file():
        yield ConfigError(key, f"{path} is no regular file")
    elif path.exists() and _begin(path) not in (b"", _SQLITE):
        yield ConfigError(key, f"{path} is not a database, give the path of a store or of a new file")
    yield from _directory(key, path.parent)


def _database(url: str) -> Iterator[ConfigError]:
    """What is wrong with what its address names. The database itself is not asked: it may be down."""
    yield from missing_for(url)
    yield from unusable_files(url)


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_SQLITE))


def _directory(key: str, directory: Path) -> Iterator[ConfigError]:
    if not directory.is_dir():
        what = "is no directory" if directory.exists() else "does not exist"
        yield ConfigError(key, f"{directory.absolute()} {what}, make it or choose another place")
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield ConfigError(key, f"{directory.absolute()} may not be written by this user")


def _listener(key: str, listen: str) -> Iterator[ConfigError]:
    if listen.startswith("unix:"):
        from postwire.api.unix_socket import TOO_LONG, is_too_long

        path = Path(listen.removeprefix("unix:"))
        if is_too_long(path):
            yield ConfigError(key, TOO_LONG)
            return
        yield from _directory(key, path.parent)
        return
    host, port = host_port(listen)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Port 0 is any that is free: whether this one is free is not asked, since the server may run.
        wanted = port if port < _PRIVILEGED else 0
        with socket.socket(family, kind, protocol) as probe:
            probe.bind((address[0], wanted, *address[2:]))
    except socket.gaierror as error:
        yield ConfigError(key, f"{host} cannot be resolved ({error.strerror}), give an address of this machine")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            yield ConfigError(key, f"{listen} cannot be listened on ({error.strerror})")


def _telemetry(endpoint: str | None) -> Iterator[ConfigError]:
    from postwire.telemetry.environment import OtelSettings, TelemetryError

    try:
        OtelSettings.read(os.environ, configured_endpoint=endpoint)
    except TelemetryError as error:
        variable, _, problem = str(error).partition(": ")
        yield ConfigError(variable, problem)
