"""Both Python clients while their server goes and comes again: everything is answered, and nothing is there twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.e2e.calls import new_request_id
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.e2e.streams import in_time
from tests.support.client_adapters import CLIENT_ADAPTERS, connect
from tests.support.waiting import PATIENCE

from postwire_client import (
    Client,
    DispatchOptions,
    DispatchRequest,
    MessageState,
    OutboundMessage,
    Sms,
    TryAgain,
    WaitFor,
)

SENT = MessageState.MESSAGE_STATE_SENT
HELLO = OutboundMessage(sms=Sms(to="+15005550100", body="Hello"))

Connect = Callable[..., Client]

pytestmark = pytest.mark.long


@pytest.fixture(params=CLIENT_ADAPTERS)
def client_of(request: pytest.FixtureRequest) -> Connect:
    return lambda *args, **settings: connect(request.param, *args, **settings)


def later() -> DispatchOptions:
    """Not now, and not while a test runs."""
    return DispatchOptions(send_time=in_time(hours=1), wait_for=WaitFor.WAIT_FOR_ACCEPTANCE)


def come_again(server: Server, way: str, when: threading.Event | None = None) -> None:
    """Have it go in this way, at once or when it is time, and start it where it was."""
    assert when is None or when.wait(PATIENCE)
    address = server.address
    if way == "kill":
        server.kill()
    else:
        assert server.terminate() == 0
    server.start(server__listen=address)
    assert server.address == address


@pytest.mark.parametrize("way", ["shutdown", "kill"])
@pytest.mark.parametrize("frame_size", [1, 50])
def test_many_are_answered_and_each_is_there_once(client_of: Connect, serve: Serve, way: str, frame_size: int) -> None:
    server = serve(hurries=False)
    options = later()
    asked = [DispatchRequest(message=HELLO, request_id=new_request_id(), options=options) for _ in range(3_000)]
    answered: list[int] = []
    with client_of(server.address) as client:
        for result in client.dispatch_many(iter(asked), frame_size=frame_size, window=500):
            assert result.message, result.error
            assert result.request is asked[result.index]
            assert result.message.request_id == result.request.request_id
            answered.append(result.index)
            if len(answered) in {1, 700, 2_000}:
                come_again(server, way)
    assert sorted(answered) == list(range(3_000))
    assert server.terminate() == 0
    assert server.rows("SELECT count(*), count(DISTINCT request_id) FROM messages") == [(3_000, 3_000)]


def test_many_are_sent_once_over_a_shutdown_in_the_middle_of_sending(client_of: Connect, serve: Serve) -> None:
    server = serve(hurries=False, providers__sms_mms__latency="5ms")
    asked = [DispatchRequest(message=HELLO, request_id=new_request_id()) for _ in range(1_000)]
    half = threading.Event()
    with client_of(server.address) as client, ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come_again, server, "shutdown", half)
        answered = []
        for result in client.dispatch_many(asked, frame_size=20, window=200):
            assert result.message, result.error
            assert result.message.state == SENT
            answered.append(result.index)
            if len(answered) == 300:
                half.set()  # and goes on reading and writing meanwhile
        coming.result()
    assert sorted(answered) == list(range(1_000))
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(1_000,)]
    assert server.rows("SELECT count(*) FROM attempts") == [(1_000,)]


@pytest.mark.parametrize("way", ["shutdown", "kill"])
def test_a_watch_misses_nothing(client_of: Connect, serve: Serve, way: str) -> None:
    server = serve(hurries=False)
    with client_of(server.address) as client, Client(server.address) as sender:
        first = sender.dispatch(HELLO, options=later())
        watched = client.watch_messages()  # which begins with what is new
        by_id = client.watch_messages([first.message_id])
        assert next(by_id).message == first
        with ThreadPoolExecutor(1) as pool:
            beginning = pool.submit(next, watched)
            sent = {}
            while not beginning.done():
                message = sender.dispatch(HELLO, options=later())
                sent[message.message_id] = message
            seen = {beginning.result().message.message_id}
            sent = {one: message for one, message in sent.items() if one >= min(seen)}
        for _ in range(2):
            come_again(server, way)
            for _ in range(10):
                message = sender.dispatch(HELLO, options=later())
                sent[message.message_id] = message
            while len(seen) < len(sent):
                message = next(watched).message
                assert message == sent[message.message_id]
                seen.add(message.message_id)
        cancelled = sender.cancel_message(first.message_id)
        assert next(by_id).message == cancelled
        assert next(watched).message == cancelled
        watched.close()
        by_id.close()


def test_a_watch_of_providers_begins_again_with_all_of_them(client_of: Connect, serve: Serve) -> None:
    server = serve(hurries=False)
    with client_of(server.address) as client:
        watched = client.watch_providers()
        every = [one.name for one in next(watched)]
        for way in ("shutdown", "kill"):
            come_again(server, way)
            assert [one.name for one in next(watched)] == every
        watched.close()


def test_calls_fail_if_at_all_as_ones_to_try_again(client_of: Connect, serve: Serve) -> None:
    server = serve(hurries=False)
    half = threading.Event()

    def send(number: int) -> None:
        for n in range(100):
            if number == 0 and n == 30:
                half.set()
            request_id = f"{number}-{n}"
            while True:  # with the same request id
                try:
                    message = client.dispatch(HELLO, request_id=request_id)
                except TryAgain:
                    continue
                assert (message.request_id, message.state) == (request_id, SENT)
                break

    with client_of(server.address) as client, ThreadPoolExecutor(7) as pool:
        coming = pool.submit(come_again, server, "shutdown", half)
        list(pool.map(send, range(6)))
        coming.result()
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(600,)]
    assert server.rows("SELECT count(*) FROM attempts") == [(600,)]
