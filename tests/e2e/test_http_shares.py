"""One tenant that takes all of the room over HTTP that it can get: the others' calls are answered meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from threading import Semaphore
from typing import Final

import pytest
from tests.e2e import web
from tests.e2e.calls import TIMEOUT, email, request
from tests.e2e.server import Server
from tests.e2e.web import HTTP, call
from tests.support.access import declared, made_key
from tests.support.waiting import PATIENCE

from postwire.core.admission import SHARE
from postwire.http_connections import MAX_CONNECTIONS

GREEDY: Final = made_key()
OTHER: Final = made_key()
SIZE: Final = 8 << 20
"""As large as a body may be, of which there is room for eight."""

BODIES: Final = 20
REFUSED: Final = 12
"""So many of them have no room in any case."""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("shares")
    keys = declared(GREEDY, "greedy", "send", "read") + declared(OTHER, "other", "send", "read")
    (folder / "postwire.toml").write_text(keys, encoding="utf-8")
    with Server(folder, server__max_message_bytes="4MiB", **HTTP) as running:
        yield running


def head(server: Server, method: str, content_type: str, length: int) -> bytes:
    """The beginning of a request of the tenant that takes all it can get."""
    lines = (
        f"POST /postwire.v1.DispatchService/{method} HTTP/1.1",
        "host: {}:{}".format(*web.address(server)),
        f"authorization: Bearer {GREEDY.text}",
        f"content-type: {content_type}",
        f"content-length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


class Slow:
    """A body of which all is sent but its end. `refused` is released if there is no room for it."""

    def __init__(self, server: Server, connection: socket.socket, refused: Semaphore) -> None:
        self._head = head(server, "Dispatch", "application/proto", SIZE)
        self._connection = connection
        self._refused = refused

    def send(self) -> bytes:
        """Returns the status line of the answer, which comes in any case."""
        try:
            self._connection.sendall(self._head + bytes(SIZE - 1))
            answer = self._connection.makefile("rb").readline()
        except ConnectionError:  # while it was still sending
            answer = b"HTTP/1.1 503 "
        if answer.startswith(b"HTTP/1.1 503 "):
            self._refused.release()
        return answer

    def end(self) -> None:
        """Send the end."""
        with suppress(ConnectionError):
            self._connection.sendall(b"\0")


@contextmanager
def connections(server: Server, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(web.address(server), timeout=TIMEOUT)) for _ in range(count)
        ]


def send_for_other(server: Server) -> int:
    """The status of a call of the other tenant, which needs room for its body."""
    large = request(email(text="x" * (3 << 20))).SerializeToString()
    answer = call(server, "Dispatch", large, content_type="application/proto", authorization=f"Bearer {OTHER.text}")
    return answer.status


def test_large_bodies_of_one_tenant_leave_room_for_those_of_another(server: Server) -> None:
    refused = Semaphore(0)
    with connections(server, BODIES) as made, ThreadPoolExecutor(BODIES) as pool:
        slow = [Slow(server, connection, refused) for connection in made]
        answers = [pool.submit(one.send) for one in slow]
        try:
            for _ in range(REFUSED):
                assert refused.acquire(timeout=PATIENCE)
            assert send_for_other(server) == 200, "while bodies of the first are still coming in"
            assert not all(one.done() for one in answers)
        finally:
            for one in slow:
                one.end()
        statuses = [one.result().split()[1] for one in answers]
    assert set(statuses) == {b"503", b"400"}, "some had room to the end, whatever was in them"


def test_streams_of_one_tenant_leave_connections_for_others(server: Server) -> None:
    watch = head(server, "WatchMessages", "application/json", 2) + b"{}"
    with connections(server, MAX_CONNECTIONS) as made:
        for connection in made:
            connection.sendall(watch)
        statuses = [connection.makefile("rb").readline().split()[1] for connection in made]
        held = statuses.count(b"200")
        assert held + statuses.count(b"429") == MAX_CONNECTIONS
        assert 0 < held <= SHARE * (MAX_CONNECTIONS - held)
        assert send_for_other(server) == 200
        with web.streamed(server, "WatchMessages", authorization=f"Bearer {OTHER.text}") as lines:
            assert next(lines)["resumeToken"]
    assert send_for_other(server) == 200
