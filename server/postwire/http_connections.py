"""Connections of whoever calls over HTTP: no more than there is room for, and none keeps others waiting.

uvicorn speaks HTTP on them. It neither limits how long a request may take to come in, nor how many connections may wait
for one, so this does. It would take over the signals of the process as well, which are the server's: of uvicorn, only
the protocol is used.
"""

from __future__ import annotations

import asyncio
import socket
from ssl import SSLContext
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from postwire.config.bind import ConfigError
from postwire.config.endpoints import host_port
from postwire.http_body import LEAST_RATE

MAX_CONNECTIONS: Final = 512
"""How many there may be. One too many, and that goes which has waited longest for its request."""

MAX_HANDSHAKES: Final = 128
"""How many may be shaking hands (TLS) at once, as far as they count."""

REQUEST_TIME: Final = 10.0
"""Seconds that a request, or the next one, may take to come in, and as many more as its bytes take at `LEAST_RATE`. The
next one has them from when the last answer was taken in."""

STALL_TIME: Final = 60.0
"""Seconds for which whoever is answered may take in nothing of what is there for him."""

KEEP_ALIVE: Final = 5
"""Seconds that a connection is kept on which nothing comes."""

MAX_HEADERS: Final = 16 * 1024
"""Bytes of a request's line and headers."""

BACKLOG: Final = 256

_PAUSE: Final = 0.1
"""Seconds to wait where no connection can be taken: there are no descriptors left, say."""

_NEVER: Final = 100
"""Above every level of a log: what uvicorn says of connections quotes them."""


class Connection(H11Protocol):
    """One connection. It waits while the other side is to send something, and may do so for `REQUEST_TIME`."""

    def __init__(self, waiting: dict[Connection, None], *args: Any, **kwargs: Any) -> None:
        """`waiting` has those that wait, the first of them first."""
        super().__init__(*args, **kwargs)
        self._all_waiting = waiting
        self._deadline: asyncio.TimerHandle | None = None
        self._waiting_since = 0.0
        self._received = 0
        self._left = 0  # bytes that were still to be taken in
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """See `asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        self._look()
        if len(self.connections) > MAX_CONNECTIONS and self._all_waiting:
            next(iter(self._all_waiting)).abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol.data_received`."""
        self._received += len(data)
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """See `H11Protocol`."""
        self._wait_no_more()  # what comes next has its own time
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol.connection_lost`."""
        self._wait_no_more()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol.pause_writing`."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol.resume_writing`."""
        self._watch_no_more()
        super().resume_writing()

    def abort(self) -> None:
        """Close it at once."""
        self._wait_no_more()
        self.transport.abort()

    def _watch(self) -> None:
        """Have it closed, unless some of what is there is taken in."""
        self._watch_no_more()
        self._left = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(STALL_TIME, self._look_at_left)

    def _look_at_left(self) -> None:
        if (left := self.transport.get_write_buffer_size()) >= self._left:
            self.abort()
        elif left:
            self._watch()
        else:
            self._stalled = None

    def _watch_no_more(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _look(self) -> None:
        """See whether it waits: for a request, or for all of an answer to be taken in."""
        cycle: Any = self.cycle  # None before the first request
        is_over = self.transport.is_closing() and not self.transport.get_write_buffer_size()
        if is_over or not (cycle is None or cycle.response_complete or cycle.more_body):
            self._wait_no_more()
        elif self._deadline is None:
            self._waiting_since, self._received = self.loop.time(), 0
            self._deadline = self.loop.call_later(REQUEST_TIME, self._give_up)
            self._all_waiting[self] = None

    def _give_up(self) -> None:
        """It has waited for as long as a request may take, or longer than one that is small."""
        if self.transport.get_write_buffer_size():
            if self._stalled is None:
                self._watch()
            self._waiting_since = self.loop.time()
        end = self._waiting_since + REQUEST_TIME + self._received / LEAST_RATE
        if self.loop.time() >= end:
            self.abort()
        else:
            self._deadline = self.loop.call_at(end, self._give_up)

    def _wait_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            del self._all_waiting[self]


class Listener:
    """Listens, and serves an ASGI application on each connection."""

    def __init__(self, app: Any, tls: SSLContext | None) -> None:
        """Without `tls`, there is none."""
        self._tls = tls
        self._config = Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level=_NEVER,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            h11_max_incomplete_event_size=MAX_HEADERS,
        )
        self._config.load()
        self._state = ServerState()
        self._waiting: dict[Connection, None] = {}
        self._handshakes: dict[asyncio.Task[None], None] = {}
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    def listen(self, host: str, port: int) -> int:
        """Take the address, and return the port. Nobody is served yet.

        Raises:
            OSError: it is taken, or not this machine's.
        """
        self._socket = _bound(host, port)
        return cast(int, self._socket.getsockname()[1])

    def listen_on(self, address: str, key: str) -> str:
        """Take the address that a key of the configuration has; returns it with the port that was picked where it asks
        for port 0. Nobody is served yet.

        Raises:
            ConfigError: it is taken, or not this machine's.
        """
        host, port = host_port(address)
        try:
            port = self.listen(host, port)
        except OSError:
            problem = f"cannot listen on {address}: it is in use by another process, or not this machine's"
            raise ConfigError(key, problem) from None
        return f"{address.rpartition(':')[0]}:{port}"

    def start(self) -> None:
        """Serve."""
        assert self._socket
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._socket))

    def release(self) -> None:
        """Give the address back."""
        if self._socket:
            self._socket.close()

    async def stop(self, seconds: float) -> None:
        """Take no more, answer what is under way, and close everything, in at most so many seconds."""
        if self._accepting:
            self._accepting.cancel()
            await asyncio.wait((self._accepting,))
        self.release()
        for task in (*self._handshakes,):
            task.cancel()
        for one in (*self._waiting,):  # half of a request is none
            one.abort()
        for connection in (*self._state.connections,):
            cast(Connection, connection).shutdown()
        tasks = {*self._state.tasks, *self._handshakes}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for left in late:
                left.cancel()
            if late:
                await asyncio.wait(late, timeout=_PAUSE)
        for connection in (*self._state.connections,):
            cast(Connection, connection).transport.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(_PAUSE)
                continue
            if len(self._handshakes) >= MAX_HANDSHAKES:
                next(iter(self._handshakes)).cancel()
            task = loop.create_task(self._serve(connection))
            self._handshakes[task] = None
            task.add_done_callback(lambda ended: self._handshakes.pop(ended, None))

    async def _serve(self, connection: socket.socket) -> None:
        """Shake hands; from then on, the protocol has it."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=REQUEST_TIME if self._tls else None,
                ssl_shutdown_timeout=1.0 if self._tls else None,
            )
        except (OSError, asyncio.CancelledError):
            connection.close()

    def _protocol(self) -> Connection:
        return Connection(
            self._waiting,
            config=self._config,
            server_state=self._state,
            app_state={},
            _loop=asyncio.get_running_loop(),
        )


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
