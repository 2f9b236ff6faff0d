"""Opening connections to the database: on that of its hosts which takes writes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from postwire.outbox.base import OutboxError
from postwire.outbox.postgres.queries import Connection

CONNECT_TIME: Final = 5.0
"""Seconds that a new connection may take."""

HOST_TIME: Final = 2.0
"""Seconds of these for a host that is one of several: one that is frozen keeps nobody from the others."""

KEEPALIVE_IDLE: Final = 10
KEEPALIVE_INTERVAL: Final = 5
KEEPALIVE_COUNT: Final = 3
UNANSWERED: Final = KEEPALIVE_IDLE + KEEPALIVE_COUNT * KEEPALIVE_INTERVAL
"""Seconds of silence before either end of a connection asks the other whether it is there, and between two questions;
how many there are; and after how long a connection is over that nobody answers on. A system leaves a dead one for two
hours and more. Ten seconds is less than a firewall or a balancer takes to forget one that is idle; in all it is longer
than a switch or a router takes to start anew. A statement is not waited for so long: see `database.WATCHDOG`."""

SESSION: Final[Mapping[str, str]] = {
    "application_name": "postwire",
    "plan_cache_mode": "force_generic_plan",
    "idle_in_transaction_session_timeout": "3s",
    "lock_timeout": "4s",
    "statement_timeout": "0",
    "synchronous_commit": "on",
    "jit": "off",
    "tcp_keepalives_idle": str(KEEPALIVE_IDLE),
    "tcp_keepalives_interval": str(KEEPALIVE_INTERVAL),
    "tcp_keepalives_count": str(KEEPALIVE_COUNT),
    "tcp_user_timeout": f"{UNANSWERED}s",
}
"""What every session has. The last four are for the server's end: a session of a host that is gone ends, and with it
what it has locked, as long as it does not wait for the standby."""

NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})

BY_INDEX: Final[Mapping[str, str]] = {"enable_seqscan": "off"}
"""What those have that go to rows by their keys, however few there were when a plan was made."""

WRITING: Final[Mapping[str, str]] = {**BY_INDEX, "lock_timeout": "1s"}
"""What that has that writes for all: who waits there for a row has all others wait as well. In a second each commit has
ended that has a standby. See `writer.Writer`."""

ONE_BY_ONE: Final[Mapping[str, str]] = {
    **BY_INDEX,
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""What those have that read a few rows of many, in order: no more of them are read than are asked for, and nothing is
gone through for the sake of a join. Not those that write batches, whose parts are joined with each other."""

_OPTIONS: Final[Mapping[str, int]] = {
    "TCP_KEEPIDLE": KEEPALIVE_IDLE,
    "TCP_KEEPINTVL": KEEPALIVE_INTERVAL,
    "TCP_KEEPCNT": KEEPALIVE_COUNT,
    "TCP_USER_TIMEOUT": UNANSWERED * 1_000,
}

_REFUSED: Final[Mapping[type[Exception], str]] = {
    asyncpg.InvalidPasswordError: "the database refuses the password",
    asyncpg.InvalidAuthorizationSpecificationError: "the database refuses the user, or the password",
    asyncpg.InvalidCatalogNameError: "there is no such database",
    asyncpg.InsufficientPrivilegeError: "the user may not use the database",
    ssl.SSLCertVerificationError: "the database shows a certificate that is not trusted, or of another host",
    asyncpg.ClientConfigurationError: "cannot be used: write postgresql://USER@HOST/DATABASE",
}
"""What no second try mends: whoever operates it has to."""


class _Connection(Connection):
    """A connection that never asks the server to cancel a statement: see docs/adr/0043. Where the task that waits for
    one is cancelled all the same, which only the end of the process does, the socket is closed."""

    def keep_alive(self) -> None:
        """Have our end ask whether the server is there, too: what is idle is found to be dead before it is needed. The
        driver has no option for it. No more is done than the system knows of; a Unix socket has no such thing."""
        there = self._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # the stubs have it not
        if there is None or there.family not in (socket.AF_INET, socket.AF_INET6):
            return
        there.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _OPTIONS.items():
            if option := getattr(socket, name, None):
                there.setsockopt(socket.IPPROTO_TCP, option, value)

    def _cancel_current_command(self, waiter: asyncio.Future[None], _: object = None) -> None:
        self.terminate()
        if not waiter.done():
            waiter.set_result(None)


class Hosts:
    """The hosts of a database, of which the one is asked first that was the last to take writes."""

    def __init__(self, url: str, password: str | None) -> None:
        self._password = password
        self._urls = _one_by_one(url)
        self._has_connected = False

    def use_password(self, password: str | None) -> None:
        """Have connections that are opened from now on show another password."""
        self._password = password

    async def connect(self, settings: Mapping[str, str] = NO_SETTINGS) -> Connection:
        """A new connection, which takes writes. Its session has `settings` besides `SESSION`.

        Raises:
            OutboxError: it is refused, and none was ever made.
            OSError: there is none now.
        """
        refusal: str | None = None
        for url in list(self._urls):
            try:
                connection = await self._connect(url, settings)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                refusal = refusal or _refusal(error)
                continue
            self._has_connected = True
            self._urls.remove(url)
            self._urls.insert(0, url)
            return connection
        if refusal and not self._has_connected:
            raise OutboxError(f"store.url: {refusal}") from None
        raise OSError from None

    async def _connect(self, url: str, settings: Mapping[str, str]) -> Connection:
        connection = await asyncpg.connect(
            url,
            password=self._password,
            timeout=CONNECT_TIME if len(self._urls) == 1 else HOST_TIME,
            server_settings={**SESSION, **settings},
            target_session_attrs=SessionAttribute.read_write,
            connection_class=_Connection,
            statement_cache_size=500,
            max_cached_statement_lifetime=0,
        )
        connection.keep_alive()
        return connection


def _refusal(error: Exception) -> str | None:
    """Why a host refuses us, if it is that."""
    if type(error) is ConnectionError:  # and none of its kinds: that is how the driver says so
        return "the database does not speak TLS, and sslmode asks for it"
    return next((text for kind, text in _REFUSED.items() if isinstance(error, kind)), None)


def _one_by_one(url: str) -> list[str]:
    """The URL once for each of its hosts. The driver goes through several as well, but in one time for all of them."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]
