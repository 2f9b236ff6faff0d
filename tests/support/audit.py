"""What is said once a server has been ended often enough: all that was promised is there, and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import apsw
from google.protobuf.duration_pb2 import Duration
from tests.support.call_log import RECEIVED
from tests.support.checker import KEPT, TRIED, Findings, check_messages, kept_in
from tests.support.driver import QUEUED, TIMEOUT, UNSETTLED, Book, connect, watch
from tests.support.server_process import ServerProcess

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.dispatch_service_pb2_grpc import DispatchServiceStub
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import ResetBreakerRequest, UpdateMockProviderRequest
from postwire.v1.provider_service_pb2_grpc import ProviderServiceStub

LATE: Final = 0.3
"""Seconds, after which no receipt comes any more: longer than the mocks of these tests take to report, or to try again
where it could not be kept."""


def nothing_is_missing(server_process: ServerProcess, book: Book) -> None:
    """The file is whole, and has every message that was answered."""
    (state,), kept = server_process.rows(
        "PRAGMA integrity_check", "SELECT request_id, lower(hex(message_id)) FROM messages"
    )
    assert state == ("ok",)
    by_request_id = dict(kept)
    assert len(by_request_id) == len(kept)
    for shot in book.answered:
        assert by_request_id.get(shot.request.request_id) == shot.message_id.replace("-", "")


async def settle(server_process: ServerProcess, book: Book, names: Sequence[str]) -> dict[str, Message]:
    """Make the providers of these names well, repeat everything, and return every record once all is settled."""
    async with connect(server_process.address) as channel:
        dispatch: Any = DispatchServiceStub(channel)
        providers: Any = ProviderServiceStub(channel)
        watching = asyncio.create_task(watch(dispatch, book))
        for name in names:
            healthy = UpdateMockProviderRequest(
                name=name, error_ratio=0, rate_limited_ratio=0, uncertain_ratio=0, rejected_ratio=0, latency=Duration(),
                delivered_ratio=0, undelivered_ratio=0,
            )  # fmt: skip
            await providers.UpdateMockProvider(healthy, timeout=TIMEOUT)
            await providers.ResetBreaker(ResetBreakerRequest(name=name), timeout=TIMEOUT)
        await repeat_all(dispatch, book)
        unsettled = {message.message_id for message in await pages(dispatch, states=UNSETTLED)}
        await book.until_seen(lambda: all(book.seen.get(key, (0, QUEUED))[1] not in UNSETTLED for key in unsettled))
        await until_applied(server_process)
        records = {message.message_id: message for message in await pages(dispatch)}
        watched = {key: one.revision for key, one in records.items() if _accepted_under_watch(book, one)}
        await book.until_seen(lambda: all(book.seen.get(key, (0, 0))[0] >= watched[key] for key in watched))
        for shot in random.Random(0).sample(book.shots, 100):
            asked = pb.GetMessageRequest(message_id=shot.message_id)
            assert (await dispatch.GetMessage(asked, timeout=TIMEOUT)).message == records[shot.message_id]
        watching.cancel()
        await asyncio.wait([watching])
    return records


RECEIPTS: Final = "SELECT count(*), count(done_time) FROM receipts"


async def until_applied(server_process: ServerProcess) -> None:
    """Return once no more receipts come in, and all are applied. Nothing says when a mock has no more to report."""
    before: object = None
    async with asyncio.timeout(TIMEOUT):
        while True:
            with closing(apsw.Connection(str(server_process.store), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
                ((count, done),) = connection.execute(RECEIPTS).fetchall()
            if count == done == before:
                return
            before = count
            await asyncio.sleep(LATE)


def nothing_received_is_lost(server_process: ServerProcess) -> int:
    """Every receipt whose bringer was answered is in the file and is applied; returns how many there are."""
    kept, ((denied,),) = server_process.rows(
        "SELECT lower(hex(event)), done_time FROM receipts",
        "SELECT count(*) FROM receipts JOIN messages USING (message_id)"
        " WHERE receipts.state = 'delivered' AND messages.state NOT IN ('delivered', 'failed')",
    )
    done = dict(kept)
    received = {line.key for line in server_process.lines() if line.event == RECEIVED}
    assert received <= done.keys(), "a receipt is lost"
    assert None not in done.values(), "a receipt is not applied"
    assert denied == 0, "a message is not what was reported of it"
    return len(received)


async def repeat_all(dispatch: Any, book: Book) -> None:
    """Send all there ever was once more, over one stream: each of them is the message that it was."""
    frames = (
        pb.DispatchStreamRequest(requests=[shot.request for shot in book.shots[start : start + 500]])
        for start in range(0, len(book.shots), 500)
    )
    reported: set[int] = set()
    async for response in dispatch.DispatchStream(frames):
        for result in response.results:
            book.shots[result.sequence].heard(result.message)
            reported.add(result.sequence)
    assert reported == set(range(len(book.shots)))


async def pages(dispatch: Any, states: frozenset[message_pb2.MessageState.ValueType] = frozenset()) -> list[Message]:
    """Every message that is in one of the states, or every message."""
    found: list[Message] = []
    asked = pb.ListMessagesRequest(filter=pb.MessageFilter(states=states), page_size=1000)
    while True:
        page = await dispatch.ListMessages(asked, timeout=TIMEOUT)
        found += page.messages
        if not page.next_page_token:
            return found
        asked.page_token = page.next_page_token


def _accepted_under_watch(book: Book, message: Message) -> bool:
    return message.create_time.ToNanoseconds() > book.watched_since


def the_watch_has_missed_nothing(book: Book, records: dict[str, Message]) -> None:
    """It was resumed at every boot, and has shown how each message ended that was accepted after it began."""
    for key, message in records.items():
        if _accepted_under_watch(book, message):
            assert book.seen.get(key) == (message.revision, message.state)
    assert len(book.seen) > len(records) / 2


def on_record(server_process: ServerProcess, book: Book, *, killed: frozenset[int]) -> Findings:
    """The file is whole, has one message for each request id that was used, and says what the providers say."""
    (state,), messages, attempts = server_process.rows("PRAGMA integrity_check", KEPT, TRIED)
    assert state == ("ok",)
    kept = kept_in(messages, attempts)
    assert len({one.request_id for one in kept}) == len(kept)
    assert {one.request_id: one.message_id for one in kept} == {
        shot.request.request_id: shot.message_id for shot in book.shots
    }
    return check_messages(kept, server_process.calls(), killed=killed)
