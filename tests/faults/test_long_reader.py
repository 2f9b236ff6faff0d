"""Somebody holds the file open and reads, for hours: the log grows meanwhile, and shrinks again once they have gone."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.support.driver import TIMEOUT, connect
from tests.support.server_process import ServerProcess

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire.v1.message_pb2 import Email, OutboundMessage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="another process's memory is told by Linux")

MIB = 1 << 20
FRAME = 125
MOST_LOG = 64 * MIB
"""How large the log may stay once nobody is in the way."""

WARM = 2
"""The share of the messages, 1 in so many, after which memory is to be flat. SQLite's cache has grown to its 64 MiB by
then; a quarter of it is still to come where there are few messages, which is part of what they may add."""

TOML = """
[providers.post]
kind = "mock"
channels = ["email"]
"""


@contextmanager
def reader(store: Path) -> Iterator[None]:
    """Reads from one moment of the store, for as long as it lasts."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.execute("BEGIN")
        assert connection.execute("SELECT count(*) FROM messages").fetchall() == [(1,)]
        yield
        assert connection.execute("SELECT count(*) FROM messages").fetchall() == [(1,)]
        connection.execute("COMMIT")
    finally:
        connection.close()


def memory(pid: int) -> int:
    """What a process has in memory, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def request(number: int, text: str = "Hello") -> pb.DispatchRequest:
    message = OutboundMessage(email=Email(to=["ada@example.com"], subject="Hi", text=text))
    return pb.DispatchRequest(message=message, request_id=f"reader-{number}")


async def send(dispatch: Any, messages: int, text: str) -> AsyncIterator[int]:
    """Send so many over one stream, four frames at a time; tells how many have been sent, again and again."""
    call = dispatch.DispatchStream()
    asked = answered = 0
    while answered < messages:
        while asked < messages and asked - answered < 4 * FRAME:
            frame = [request(number, text) for number in range(asked, min(messages, asked + FRAME))]
            await call.write(pb.DispatchStreamRequest(requests=frame))
            asked += len(frame)
        for result in (await call.read()).results:
            assert result.message.state == message_pb2.MESSAGE_STATE_SENT
            answered += 1
        yield answered
    await call.done_writing()


@pytest.mark.parametrize(
    ("messages", "size", "slack"), [(2_500, 32_000, 48), pytest.param(200_000, 200, 8, marks=pytest.mark.long)]
)
async def test_the_log_shrinks_once_a_long_reader_has_gone_and_memory_stays_flat(
    tmp_path: Path, note: Callable[[str], None], messages: int, size: int, slack: int
) -> None:
    server_process = ServerProcess(tmp_path, TOML)
    log = tmp_path / "postwire.db-wal"
    text = "x" * size
    try:
        assert await server_process.start()
        async with connect(server_process.address) as channel:
            dispatch: Any = DispatchServiceStub(channel)
            await dispatch.Dispatch(request(-1), timeout=TIMEOUT)
            with reader(server_process.store):
                started, warm, most = time.monotonic(), 0, 0
                async for sent in send(dispatch, messages, text):
                    if sent >= messages // WARM:
                        now = memory(server_process.pid)
                        warm, most = warm or now, max(most, now)
                seconds = time.monotonic() - started
                held = log.stat().st_size
            assert held > MOST_LOG, "it would have to shrink by more"
            # The next commit folds the log into the file, and the one after it begins the log anew.
            for number in range(-3, -1):
                await dispatch.Dispatch(request(number), timeout=TIMEOUT)
            shrunk = log.stat().st_size
        assert await server_process.terminate() == 0
    finally:
        if not server_process.gone.is_set():
            await server_process.kill()
    server_process.no_faults()
    ((count,),) = server_process.rows("SELECT count(*) FROM messages WHERE state = 'sent'")
    assert count == (messages + 3,)
    note(
        f"long reader: {messages:,} messages at {messages / seconds:,.0f}/s, log {held / MIB:,.0f} MiB while it read "
        f"and {shrunk / MIB:,.1f} MiB after; memory {warm / MIB:,.0f} MiB at 1 in {WARM}, {most / MIB:,.0f} at the most"
    )
    assert shrunk < MOST_LOG
    assert most - warm < slack * MIB
