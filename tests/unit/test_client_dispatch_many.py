"""`dispatch_many` of both Python clients, against a gRPC server in this process that answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import grpc
import pytest
from tests.e2e.server import eventually
from tests.support.client_adapters import CLIENT_ADAPTERS, Feed, connect
from tests.support.scripted import (
    Refuse,
    ScriptedServer,
    accept,
    closed_port,
    deaf,
    ending,
    overloaded,
    rejecting,
    rejection,
    serving,
    silent,
)
from tests.support.waiting import PATIENCE, Limit

from postwire.v1.dispatch_service_pb2 import DispatchStreamResponse
from postwire_client import (
    Client,
    ClientClosed,
    Conflict,
    DispatchRequest,
    InvalidRequest,
    OutboundMessage,
    PostwireError,
    Sms,
    TryAgain,
    bulk,
    reopening,
)

Connect = Callable[..., Client]


@pytest.fixture(params=CLIENT_ADAPTERS)
def client_of(request: pytest.FixtureRequest) -> Connect:
    return lambda *args, **settings: connect(request.param, *args, **settings)


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def target(scripted: ScriptedServer) -> Iterator[str]:
    with serving(scripted) as address:
        yield address


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reopening, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(reopening, "LONGEST_PAUSE", 0.01)


def requests(number: int, first: int = 0) -> list[DispatchRequest]:
    """So many, whose request ids are their positions."""
    return [
        DispatchRequest(message=OutboundMessage(sms=Sms(to="+15005550100", body="x")), request_id=str(n))
        for n in range(first, first + number)
    ]


def ids(number: int) -> list[str]:
    return [str(n) for n in range(number)]


class Counted:
    """An iterable without an end that counts what is taken from it."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[DispatchRequest]:
        for n in count():
            self.taken += 1
            yield requests(1, n)[0]


# Sending.


def test_every_request_has_its_result_and_they_are_sent_in_frames(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    asked = requests(250)
    with client_of(target) as client:
        results = list(client.dispatch_many(asked, frame_size=100))
    assert [one.index for one in results] == list(range(250))
    assert all(one.request is asked[one.index] and one.error is None for one in results)
    assert [one.message.message_id for one in results if one.message] == [f"m-{n}" for n in range(250)]
    assert [len(frame) for frame in scripted.streams[0]] == [100, 100, 50]


def test_nothing_is_called_before_there_is_something_to_send(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    with client_of(target) as client:
        assert list(client.dispatch_many([])) == []
    assert scripted.streams == []
    with client_of(closed_port()) as client:
        assert list(client.dispatch_many([])) == []


def test_one_request_does_not_wait_for_others_to_come(client_of: Connect, target: str) -> None:
    with client_of(target) as client:
        feed = Feed(client)
        results = client.dispatch_many(feed.requests, frame_size=100)
        for n, request in enumerate(requests(3)):  # each of which depends on what became of the one before
            feed.put(request)
            assert next(results).index == n
        feed.end()
        assert list(results) == []


def test_a_request_id_is_made_where_none_is_given(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    asked = requests(3)
    asked[1].request_id = ""
    with client_of(target) as client:
        results = list(client.dispatch_many(asked))
    (made,) = {one.request.request_id for one in results} - {"0", "2"}
    assert len(made) == 36
    assert scripted.sent == ["0", made, "2"]
    assert asked[1].request_id == "", "the caller's own stays as it is"


def test_refusals_are_results_and_end_nothing(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.scripts = [
        rejecting(
            None,
            rejection(
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_MESSAGE",
                field_violations=[{"field": "message.sms.to", "description": "must be a number"}],
            ),
            rejection(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
        )
    ]
    with client_of(target) as client:
        results = list(client.dispatch_many(requests(4)))
    assert [one.error and type(one.error) for one in results] == [None, InvalidRequest, Conflict, None]
    assert [bool(one.message) for one in results] == [True, False, False, True]
    error = results[1].error
    assert error
    assert (error.reason, error.violations[0].field) == ("INVALID_MESSAGE", "message.sms.to")
    assert len(scripted.streams) == 1


def test_large_messages_share_no_frame_that_is_too_large(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    asked = requests(6)
    for request in asked:
        request.message.sms.body = "x" * (bulk.MAX_FRAME_BYTES // 3)
    asked[5].message.sms.body = "x" * (2 * bulk.MAX_FRAME_BYTES)
    with client_of(target) as client:
        assert len(list(client.dispatch_many(asked))) == 6
    assert [frame for frame in scripted.streams[0] if len(frame) > 2 or ("5" in frame and len(frame) > 1)] == []


# No more than the server takes.


@pytest.mark.parametrize("script", [silent, deaf])
@pytest.mark.parametrize(("frame_size", "window"), [(10, 35), (100, 100), (1_000, 7)])
def test_no_more_than_the_window_is_taken_while_nothing_is_answered(
    client_of: Connect, target: str, scripted: ScriptedServer, script: Any, frame_size: int, window: int
) -> None:
    scripted.scripts = [script]
    source = Counted()
    with client_of(target, retry=False) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, client.dispatch_many(source, frame_size=frame_size, window=window))
        eventually(lambda: source.taken >= window)
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result(PATIENCE)
    assert source.taken == window


def test_no_more_than_the_window_is_taken_while_nobody_reads_on(client_of: Connect, target: str) -> None:
    source = Counted()
    with client_of(target) as client:
        results = client.dispatch_many(source, frame_size=10, window=50)
        for read in range(1, 301):
            assert next(results).index == read - 1
            assert source.taken - read <= 50
        results.close()
        assert source.taken <= 350


def test_large_messages_are_not_piled_up_in_memory(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.scripts = [silent]
    request = requests(1)[0]
    request.message.sms.body = "x" * (bulk.MAX_UNANSWERED_BYTES // 8)
    taken = 0

    def large() -> Iterator[DispatchRequest]:
        nonlocal taken
        while True:
            taken += 1
            yield request

    with client_of(target) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, client.dispatch_many(large()))
        scripted.until(lambda: len(scripted.sent) == 8)
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result(PATIENCE)
    assert taken == 8


# Going on.


ENDS: dict[str, Refuse | None] = {
    "UNAVAILABLE": Refuse(grpc.StatusCode.UNAVAILABLE),
    "SHUTTING_DOWN": overloaded(code=grpc.StatusCode.UNAVAILABLE),
    "CANCELLED": Refuse(grpc.StatusCode.CANCELLED),
    "INTERNAL": Refuse(grpc.StatusCode.INTERNAL, text="Received RST_STREAM with error code 2"),
    "UNKNOWN": Refuse(grpc.StatusCode.UNKNOWN, text="Stream removed"),
    "OK": None,
}
"""How a stream may end that is opened again."""


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("answered", [0, 7])
def test_a_stream_that_breaks_is_opened_again_and_what_was_not_answered_is_sent_again(
    client_of: Connect, target: str, scripted: ScriptedServer, end: str, answered: int
) -> None:
    scripted.scripts = [ending(answered, ENDS[end]), ending(answered, ENDS[end]), accept]
    with client_of(target) as client:
        results = list(client.dispatch_many(requests(100), frame_size=10))
    assert sorted(one.index for one in results) == list(range(100))
    assert all(one.error is None for one in results)
    assert len(scripted.streams) == 3
    later = [one for stream in scripted.streams[1:] for frame in stream for one in frame]
    assert not set(later) & set(ids(answered)), "what was answered is not sent again"
    assert [one for frame in scripted.streams[2] for one in frame] == ids(100)[2 * answered :]


def test_without_retry_it_ends_and_says_why(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.scripts = [ending(3, Refuse(grpc.StatusCode.UNAVAILABLE, text="gone"))]
    with client_of(target, retry=False) as client:
        results = client.dispatch_many(requests(10))
        assert [next(results).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(TryAgain, match="gone"):
            next(results)
        with pytest.raises(StopIteration):
            next(results)
    assert len(scripted.streams) == 1


@pytest.mark.parametrize("retry", [True, False])
def test_a_fault_that_stays_ends_it(client_of: Connect, target: str, scripted: ScriptedServer, retry: bool) -> None:
    scripted.scripts = [ending(0, Refuse(grpc.StatusCode.INVALID_ARGUMENT))]
    with client_of(target, retry=retry) as client, pytest.raises(InvalidRequest):
        list(client.dispatch_many(requests(10)))
    assert len(scripted.streams) == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
def test_a_server_that_gets_no_further_is_given_up(
    client_of: Connect, target: str, scripted: ScriptedServer, code: grpc.StatusCode
) -> None:
    scripted.scripts = [ending(1, Refuse(code)), ending(0, Refuse(code))]
    with client_of(target) as client:
        results = client.dispatch_many(requests(10))
        assert next(results).index == 0
        with pytest.raises(PostwireError) as caught:
            next(results)
    assert caught.value.code is code
    assert len(scripted.streams) == 1 + reopening.MAX_TRIES


def test_a_server_that_is_not_there_is_an_error(client_of: Connect) -> None:
    with client_of(closed_port(), retry=False) as client, pytest.raises(TryAgain) as caught:
        list(client.dispatch_many(requests(1)))
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_what_could_not_be_taken_just_then_is_sent_again_over_the_same_stream(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    full = rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", delay_ms=1)
    scripted.scripts = [rejecting(None, full, full, None, full)]
    with client_of(target) as client:
        results = list(client.dispatch_many(requests(4)))
    assert sorted(one.index for one in results) == [0, 1, 2, 3]
    assert all(one.message for one in results)
    assert len(scripted.streams) == 1
    assert sorted(scripted.sent) == ["0", "1", "1", "1", "2", "2", "3"], (
        "the last of the five met the first to come again"
    )


@pytest.mark.parametrize("retry", [True, False])
def test_a_server_that_never_has_room_is_told_for_each_request(
    client_of: Connect, target: str, scripted: ScriptedServer, retry: bool
) -> None:
    full = rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", delay_ms=1)
    scripted.scripts = [rejecting(*[full] * 1_000)]
    with client_of(target, retry=retry) as client:
        results = list(client.dispatch_many(requests(5)))
    assert [type(one.error) for one in results] == [TryAgain] * 5
    assert {one.error.reason for one in results if one.error} == {"OVERLOADED"}
    assert len(scripted.sent) <= 5 * (1 + (reopening.MAX_TRIES if retry else 0))


def test_silence_breaks_a_stream_that_was_alive_and_is_an_error_on_a_new_one(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    def dying(scripted: ScriptedServer, frames: Any, context: Any) -> Iterator[Any]:
        answers = accept(scripted, frames, context)
        yield next(answers)
        yield from silent(scripted, frames, context)

    scripted.scripts = [dying, silent]
    with client_of(target) as client:
        limit = Limit(PATIENCE)
        results = client.dispatch_many(requests(20), frame_size=10, timeout=limit)
        assert [next(results).index for _ in range(10)] == list(range(10))
        limit.seconds = 0.1
        with pytest.raises(TryAgain) as caught:
            next(results)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(scripted.streams) <= 2


def test_time_in_which_nothing_is_to_be_answered_does_not_count(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    scripted.scripts = [accept, silent]
    with client_of(target, retry=False) as client, ThreadPoolExecutor(1) as pool:
        feed, limit = Feed(client), Limit(PATIENCE)
        results = client.dispatch_many(feed.requests, timeout=limit)
        feed.put(*requests(1))
        assert next(results).index == 0
        limit.seconds = 0.05
        waiting = pool.submit(next, results)
        with pytest.raises(TryAgain):  # in the same time
            next(client.dispatch_many(requests(1), timeout=0.1))
        limit.seconds = PATIENCE
        feed.put(*requests(1, 1))
        assert waiting.result(PATIENCE).index == 1
        feed.end()
        assert list(results) == []


def test_time_that_the_caller_takes_does_not_count(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    def one_by_one(scripted: ScriptedServer, frames: Any, context: Any) -> Iterator[Any]:
        for response in accept(scripted, frames, context):
            for result in response.results:
                yield DispatchStreamResponse(results=[result])

    scripted.scripts = [one_by_one, silent]
    with client_of(target, retry=False) as client:
        limit = Limit(PATIENCE)
        results = client.dispatch_many(requests(10), timeout=limit)
        for _ in range(3):
            next(results)
        limit.seconds = 0.05
        with pytest.raises(TryAgain):  # twice as long
            next(client.dispatch_many(requests(1), timeout=0.1))
        limit.seconds = PATIENCE
        assert len(list(results)) == 7
    assert len(scripted.streams) <= 2


# Ends.


def test_what_the_callers_own_iterable_raises_is_raised_after_what_came_before(client_of: Connect, target: str) -> None:
    def failing() -> Iterator[DispatchRequest]:
        yield from requests(3)
        raise LookupError("mine")

    with client_of(target) as client:
        results = client.dispatch_many(failing(), frame_size=2)
        assert [next(results).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(LookupError, match="mine"):
            next(results)


def test_what_is_no_request_is_an_error(client_of: Connect, target: str) -> None:
    wrong: Any = [OutboundMessage()]
    with client_of(target) as client, pytest.raises(TypeError, match="DispatchRequest, not OutboundMessage"):
        next(client.dispatch_many(wrong))


@pytest.mark.parametrize("wrong", [{"frame_size": 0}, {"frame_size": 1_001}, {"window": 0}], ids=str)
def test_sizes_that_cannot_be_are_refused_at_once(client_of: Connect, wrong: dict[str, int]) -> None:
    with client_of(closed_port()) as client, pytest.raises(ValueError, match=next(iter(wrong))):
        client.dispatch_many([], **wrong)


def test_to_close_the_iterator_ends_the_call(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    over = threading.Event()

    def noting(scripted: ScriptedServer, frames: Any, context: Any) -> Iterator[Any]:
        context.add_callback(over.set)
        return accept(scripted, frames, context)

    scripted.scripts = [noting]
    with client_of(target) as client:
        results = client.dispatch_many(Counted(), frame_size=1)
        next(results)
        results.close()
        assert over.wait(PATIENCE)
        with pytest.raises(StopIteration):
            next(results)
        assert len(list(client.dispatch_many(requests(3)))) == 3, "and the client goes on"


@pytest.mark.parametrize("state", ["waiting for answers", "waiting for requests", "pausing"])
def test_to_close_the_client_ends_it(
    client_of: Connect, target: str, scripted: ScriptedServer, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reopening, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(reopening, "LONGEST_PAUSE", 3600.0)
    scripted.scripts = [ending(0, Refuse(grpc.StatusCode.UNAVAILABLE)) if state == "pausing" else silent]
    with client_of(target) as client, ThreadPoolExecutor(1) as pool:
        feed = Feed(client)
        waiting = pool.submit(next, client.dispatch_many(feed.requests))
        if state != "waiting for requests":
            feed.put(*requests(1))
            scripted.until(lambda: scripted.streams)
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result(PATIENCE)
        feed.end()
