"""One hostile caller: the server's memory stays within bounds, and another caller is served throughout."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from tests.e2e.calls import SENT, dispatch, dispatch_all, sms
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.support import floods
from tests.support.http2 import INITIAL_WINDOW_SIZE, Connection
from tests.support.waiting import PATIENCE

from postwire.v1.dispatch_service_pb2 import ListMessagesRequest
from postwire.v1.message_pb2 import OutboundMessage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the memory of a process")

ROOM: Final = 64 << 20
"""Bytes that a flood may cost."""

SERVED: Final = 10
"""Calls of the other caller that have to succeed after the flood has begun."""

Flood = Callable[[int], Iterator[bytes]]
"""Makes the pieces, given how many are wanted."""

FLOODS: Final[dict[str, tuple[Flood, int]]] = {
    "calls that are begun": (lambda count: floods.begun(floods.DISPATCH, count), 20_000),
    "streams that are begun": (lambda count: floods.begun(floods.DISPATCH_STREAM, count), 20_000),
    "calls of what is not there": (lambda count: floods.called("/no.Service/Method", count), 20_000),
    "calls": (lambda count: floods.called(floods.LIST_PROVIDERS, count), 20_000),
    "calls taken back": (lambda count: floods.reset(floods.DISPATCH, count), 100_000),
    "pings": (floods.pings, 200_000),
    "answers to pings": (lambda count: floods.pings(count, answers=True), 200_000),
    "settings": (floods.settings, 200_000),
    "window updates": (floods.window_updates, 200_000),
    "empty data": (floods.empty_data, 200_000),
    "continuations": (floods.continuations, 50_000),
    "metadata of 1 MiB": (lambda count: floods.large_metadata(count, 1 << 20), 100),
    "header bombs": (floods.header_bombs, 1_000),
    "metadata of 12 KiB": (lambda count: floods.large_metadata(count, 12 << 10), 5_000),
}
"""What is sent, and how often in a long test."""

SHARE: Final = 100
"""The short test sends this part of it."""


@contextmanager
def another_is_served(server: Server) -> Iterator[None]:
    """Inside, another caller calls all the time; at the end, all of that has to have succeeded, and cost no more."""
    for _ in range(SERVED):
        dispatch(server)  # so that what is needed anyway is there
    floods.forget_peak(server.pid)
    before = floods.resident(server.pid)
    served, over, failures = threading.Semaphore(0), threading.Event(), []

    def call() -> None:
        while not over.is_set():
            try:
                assert dispatch(server).state == SENT
            except Exception as error:
                failures.append(error)
            served.release()

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield
        for _ in range(SERVED):
            assert served.acquire(timeout=PATIENCE)
    finally:
        over.set()
        caller.join()
    assert failures == []
    assert floods.resident(server.pid, peak=True) - before <= ROOM


@pytest.mark.parametrize("name", FLOODS)
def test_a_little_of_each(server: Server, name: str) -> None:
    flood, count = FLOODS[name]
    with another_is_served(server), Connection(server.address) as hostile:
        hostile.flood(flood(max(count // SHARE, 2)))


@pytest.mark.long
@pytest.mark.parametrize("name", FLOODS)
def test_all_of_it(serve: Serve, name: str) -> None:
    flood, count = FLOODS[name]
    server = serve()
    with another_is_served(server), Connection(server.address) as hostile:
        hostile.flood(flood(count))


@pytest.mark.long
@pytest.mark.parametrize("name", ["watches", "lists"])
def test_a_caller_that_reads_nothing(serve: Serve, name: str) -> None:
    server = serve()
    path = floods.WATCH_PROVIDERS if name == "watches" else floods.LIST_PROVIDERS
    with (
        another_is_served(server),
        Connection(server.address, {INITIAL_WINDOW_SIZE: 0}) as hostile,
    ):
        hostile.flood(floods.called(path, 20_000), reading=False)


@pytest.mark.long
def test_a_caller_that_reads_none_of_the_pages_it_asks_for(serve: Serve) -> None:
    server = serve()
    labels = {f"label-{number}": "v" * 100 for number in range(10)}
    dispatch_all(server, [labelled(labels) for _ in range(500)])
    dispatch_all(server, [labelled(labels) for _ in range(500)])
    page = ListMessagesRequest(page_size=1000).SerializeToString()
    with (
        another_is_served(server),
        Connection(server.address, {INITIAL_WINDOW_SIZE: 0}) as hostile,
    ):
        hostile.flood(floods.called(floods.LIST_MESSAGES, 1000, page), reading=False)
        # Others get theirs meanwhile.
        assert len(server.dispatch.ListMessages(ListMessagesRequest(page_size=1000), timeout=PATIENCE).messages) == 1000


def test_pages_that_are_read_all_come(server: Server) -> None:
    dispatch(server)
    pages = [
        server.dispatch.ListMessages.future(ListMessagesRequest(page_size=1), timeout=PATIENCE) for _ in range(200)
    ]
    assert all(len(one.result().messages) == 1 for one in pages)


def labelled(labels: dict[str, str]) -> OutboundMessage:
    message = sms()
    message.labels.update(labels)
    return message
