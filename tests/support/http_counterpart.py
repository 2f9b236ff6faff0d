"""An HTTP server on this machine that stands in for a vendor, and does with each request as it is told.

It reads and writes bytes itself, since servers that are fit for anything else cannot cut an answer off, or stay silent.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from tests.support import listeners

_REASONS: Final = {200: "OK", 201: "Created", 202: "Accepted", 400: "Bad Request", 429: "Too Many Requests"}
_PIECE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What becomes of a request. Where `cut_at` is a number, the connection ends after so many bytes of the body;
    `silent` is never to answer, `headless` to end the connection without an answer, `endless` never to end one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    silent: bool = False
    headless: bool = False
    endless: bool = False

    @classmethod
    def of_json(cls, status: int, value: Any, **headers: str) -> HttpReply:
        """A reply in JSON; `Retry_After` in `headers` is Retry-After."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **named})

    def with_headers(self, **headers: str) -> HttpReply:
        """The same with more headers."""
        return replace(
            self, headers={**self.headers, **{name.replace("_", "-"): text for name, text in headers.items()}}
        )


SILENT: Final = HttpReply(silent=True)
HEADLESS: Final = HttpReply(headless=True)


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A request as it came. `headers` are by their names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    def form(self) -> list[tuple[str, str]]:
        """The body as a form."""
        return parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class HttpCounterpart:
    """Serves at 127.0.0.1, at the same port after each start. `reply` is what becomes of every request from now on, or
    what makes it of a request; `replies`, of the next ones first. `calls` has what came, over restarts as well."""

    def __init__(self) -> None:
        self.reply: HttpReply | Callable[[HttpCall], HttpReply] = HttpReply()
        self.replies: list[HttpReply] = []
        self.calls: list[HttpCall] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Its scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, in the running loop."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop, and end every connection. May be called again."""
        if self._server is None:
            return
        server, self._server = self._server, None
        await listeners.close(server)
        self.end_connections()
        await server.wait_closed()

    def end_connections(self) -> None:
        """End every connection there is, and go on listening."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            while self._server and (call := await _read(reader)):
                self.calls.append(call)
                if not await self._answer(call, reader, writer):
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever called has gone
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, call: HttpCall, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Do as told with one request: whether the connection goes on."""
        reply = self.replies.pop(0) if self.replies else self.reply
        if not isinstance(reply, HttpReply):
            reply = reply(call)
        if reply.silent:
            await reader.read()
            return False
        if reply.headless:
            return False
        length = {} if reply.endless else {"Content-Length": str(len(reply.body))}
        headers = {**length, **reply.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Other')}\r\n{head}\r\n".encode())
        body = reply.body if reply.cut_at is None else reply.body[: reply.cut_at]
        for at in range(0, len(body), _PIECE):
            writer.write(body[at : at + _PIECE])
            await writer.drain()
        if reply.endless:
            await reader.read()
        return reply.cut_at is None


class CounterpartThread:
    """A counterpart in a thread of its own, for tests that wait themselves."""

    def __init__(self) -> None:
        self.counterpart = HttpCounterpart()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self) -> None:
        """See `HttpCounterpart.start`."""
        self._run(self.counterpart.start())

    def stop(self) -> None:
        """See `HttpCounterpart.stop`."""
        self._run(self.counterpart.stop())

    def end(self) -> None:
        """Stop it, and its thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)


@contextmanager
def counterpart_thread(reply: HttpReply | Callable[[HttpCall], HttpReply]) -> Iterator[CounterpartThread]:
    """A counterpart that is there, and that ends with the context."""
    thread = CounterpartThread()
    thread.counterpart.reply = reply
    thread.start()
    try:
        yield thread
    finally:
        thread.end()


async def _read(reader: asyncio.StreamReader) -> HttpCall | None:
    """Read one request; None where there are no more."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert "transfer-encoding" not in headers, "vendors want to know how long a request is"
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return HttpCall(method, target, headers, body)
