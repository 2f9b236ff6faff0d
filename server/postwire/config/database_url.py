"""`store.url`: the PostgreSQL database that several nodes share, as libpq and its kin write such addresses."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from postwire.config.bind import ConfigError
from postwire.config.endpoints import host_port, is_loopback
from postwire.config.types import HIDDEN, Refused, Unit

EXAMPLE: Final = "postgresql://postwire@db.example.com/postwire?sslmode=verify-full&sslrootcert=/etc/postwire/db-ca.crt"

VERIFIED: Final = "verify-full"
"""The one `sslmode` that leaves nobody between a node and its database."""

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", VERIFIED)
_SESSIONS: Final = ("read-write", "primary")
OPTIONS: Final = (
    "host",
    "port",
    "target_session_attrs",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
"""What may stand behind the question mark. The driver takes what it does not know as settings of the server."""

_URL: Final = re.compile(r"postgres(?:ql)?://(?:([^:@/?#\s,]+)@)?([^@/?#\s]*)/([^/?#\s@:]+)(?:\?([^?#\s]+))?")
_PASSWORD: Final = re.compile(r"postgres(?:ql)?://[^@/]*:[^@/]*@.*|.*[?&](?:ssl)?password=.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """What stands in such an address. `hosts` are as it has them: names, addresses, or directories of sockets."""

    hosts: tuple[str, ...]
    database: str
    options: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        """Whether nothing of what goes to the database leaves this machine."""
        return all(host.startswith("/") or is_loopback(_with_port(host)) for host in self.hosts)

    @property
    def place(self) -> str:
        """What logs say of it: the hosts and the database."""
        return f"{','.join(self.hosts)}/{self.database}"


def read_url(text: str) -> DatabaseUrl:
    """Read an address of a database.

    Raises:
        Refused: it is none, or would not do; nothing of it is shown.
    """
    if _PASSWORD.fullmatch(text):
        raise Refused(HIDDEN, "has a password in it, leave it out and set store.password_file")
    found = _URL.fullmatch(text)
    if not found:
        raise _none()
    _, authority, database, query = found.groups()
    try:
        urlsplit(text)  # the driver reads it with this
        pairs = parse_qsl(query or "", keep_blank_values=True, strict_parsing=bool(query))
        options = dict(pairs)
        if len(options) < len(pairs) or not all(options.values()):
            raise ValueError
        if unknown := [name for name in options if name not in OPTIONS]:
            named = unknown[0] if re.fullmatch("[a-z_]{1,40}", unknown[0]) else "an option"
            raise Refused(HIDDEN, f"has {named}, which is not known; known here: {', '.join(OPTIONS)}")
        if bool(authority) == ("host" in options):
            raise ValueError
        hosts = tuple(unquote(one) if authority else one for one in (authority or options["host"]).split(","))
        for host in hosts:
            if not host.startswith("/"):
                host_port(_with_port(host))
        if authority and "port" in options:
            raise ValueError
        for port in options.get("port", "5432").split(","):
            if not 1 <= int(port) <= 65535:
                raise ValueError
    except Refused:
        raise
    except ValueError:
        raise _none() from None
    _check(made := DatabaseUrl(hosts, unquote(database), options))
    return made


def _with_port(host: str) -> str:
    return host if re.search(r":[0-9]+\Z", host) and not host.endswith("]") else f"{host}:5432"


def _none() -> Refused:
    return Refused(HIDDEN, f"is not {DATABASE_URL.wants}")


def _check(url: DatabaseUrl) -> None:
    mode = url.options.get("sslmode")
    if mode is not None and mode not in _SSL_MODES:
        raise Refused(HIDDEN, f"has an sslmode that there is not, must be one of {', '.join(_SSL_MODES)}")
    if url.options.get("target_session_attrs", "read-write") not in _SESSIONS:
        raise Refused(HIDDEN, f"has a target_session_attrs other than {' and '.join(_SESSIONS)}, but every node writes")
    if mode != VERIFIED and not url.is_local:
        raise Refused(HIDDEN, f"leads beyond this machine, where sslmode must be {VERIFIED}")
    if mode is not None and mode.startswith("verify-") and "sslrootcert" not in url.options:
        raise Refused(HIDDEN, f"has sslmode={mode} and no sslrootcert, name the file of the authority to trust")


class DatabaseAddress(Unit):
    """Such an address, as it was written. None is ever shown where it is wrong: people put passwords into them."""

    def read(self, raw: object) -> str:
        """See `Unit.read`."""
        if not isinstance(raw, str):
            raise Refused(HIDDEN, f"is not {self.wants}")
        read_url(raw)
        return raw


DATABASE_URL: Final = DatabaseAddress(f"the address of a PostgreSQL database such as {EXAMPLE}")


def unusable_files(url: str | None) -> Iterator[ConfigError]:
    """What is wrong with the files that an address names, by reading them as the driver does."""
    options = read_url(url).options if url else {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    reads: dict[str, Callable[[str], object]] = {
        "sslrootcert": lambda file: context.load_verify_locations(cafile=file),
        "sslcrl": lambda file: context.load_verify_locations(cafile=file),
        "sslcert": lambda file: context.load_cert_chain(file, options.get("sslkey"), password=""),
    }
    for option, read in reads.items():
        if option in options:
            try:
                read(options[option])
            except ssl.SSLError:
                what = "is not PEM, or not what belongs there" if option != "sslcert" else "does not go with sslkey"
                yield ConfigError("store.url", f"{option}: {options[option]} {what}")
            except OSError as error:
                yield ConfigError("store.url", f"{option}: {options[option]} cannot be read ({error.strerror})")


def missing_for(url: str | None) -> Iterator[ConfigError]:
    """What is wrong with an address where what speaks to such databases is not installed."""
    if url and not find_spec("asyncpg"):
        yield ConfigError("store.url", "takes what is not installed: pip install 'postwire[postgres]'")
