"""The watches of both Python clients, against a gRPC server in this process that answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from tests.support.client_adapters import CLIENT_ADAPTERS, connect
from tests.support.scripted import Refuse, ScriptedServer, closed_port, overloaded, serving
from tests.support.waiting import PATIENCE, Limit

from postwire.v1.admin_service_pb2 import Backlog, WatchStatsRequest, WatchStatsResponse
from postwire.v1.dispatch_service_pb2 import WatchMessagesRequest, WatchMessagesResponse
from postwire.v1.provider_service_pb2 import ListProvidersResponse, WatchProvidersRequest, WatchProvidersResponse
from postwire_client import (
    Client,
    ClientClosed,
    Message,
    MessageChange,
    MessageFilter,
    NotFound,
    PostwireError,
    Provider,
    TryAgain,
    reopening,
    watching,
)
from postwire_client.lifetime import Lifetime

Connect = Callable[..., Client]

SMS, EMAIL = Provider(name="sms-mms"), Provider(name="email")


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


def providers(*changed: Provider) -> WatchProvidersResponse:
    return WatchProvidersResponse(providers=changed)


def change(number: int) -> WatchMessagesResponse:
    return WatchMessagesResponse(message=Message(message_id=f"m-{number}"), resume_token=f"t-{number}")


def heartbeat(number: int) -> WatchMessagesResponse:
    return WatchMessagesResponse(resume_token=f"t-{number}")


class Shown:
    """A watch that tells of these changes, and then ends in this way, or not before its caller wants."""

    def __init__(self, *responses: Any, end: Refuse | str | None = None) -> None:
        self.over = threading.Event()
        self._responses = responses
        self._end = end

    def __call__(self, context: Any) -> Iterator[Any]:
        context.add_callback(self.over.set)
        yield from self._responses
        if isinstance(self._end, Refuse):
            self._end.end(context)
        elif self._end is None:
            self.over.wait(PATIENCE)


# Providers.


def test_watching_gives_every_change_and_has_no_deadline(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    shown = Shown(providers(SMS, EMAIL), providers(EMAIL))
    scripted.answers = [shown]
    with client_of(target, timeout=20.0) as client:
        watched = client.watch_providers()
        assert scripted.asked == [], "nothing before the first is wanted"
        assert [next(watched), next(watched)] == [[SMS, EMAIL], [EMAIL]]
        assert scripted.asked == [WatchProvidersRequest()]
        assert scripted.time_left[0] > 1e9, "no deadline"
        watched.close()  # as the end of a loop over it does
        assert shown.over.wait(PATIENCE), "who breaks off ends the call"
        scripted.answers = [ListProvidersResponse()]
        assert client.list_providers() == [], "and the client goes on"


def test_without_retry_a_watch_that_the_server_ends_is_over(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    scripted.answers = [Shown(providers(EMAIL), end="in good order")]
    with client_of(target, retry=False) as client:
        assert list(client.watch_providers()) == [[EMAIL]]


@pytest.mark.parametrize(
    "end",
    ["in good order", Refuse(grpc.StatusCode.UNAVAILABLE), Refuse(grpc.StatusCode.CANCELLED), overloaded()],
    ids=["OK", "UNAVAILABLE", "CANCELLED", "OVERLOADED"],
)
def test_with_retry_it_goes_on_and_begins_with_every_provider_again(
    client_of: Connect, target: str, scripted: ScriptedServer, end: Refuse | str
) -> None:
    scripted.answers = [
        Shown(providers(SMS, EMAIL), providers(SMS), end=end),
        Refuse(grpc.StatusCode.UNAVAILABLE),
        Shown(providers(SMS, EMAIL)),
    ]
    with client_of(target) as client:
        watched = client.watch_providers()
        assert [next(watched) for _ in range(3)] == [[SMS, EMAIL], [SMS], [SMS, EMAIL]]
    assert len(scripted.asked) == 3


def test_a_watch_whose_first_answer_does_not_come_is_given_up(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    for timeouts in ({"timeout": 0.05}, {}):
        shown, before = Shown(), len(scripted.asked)
        scripted.answers = [shown]
        with client_of(target, timeout=20.0 if timeouts else 0.05) as client, pytest.raises(TryAgain) as caught:
            next(client.watch_providers(**timeouts))
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(scripted.asked) == before or shown.over.wait(PATIENCE), (
            "if the call came so far, its end does as well"
        )


def test_signs_of_life_are_not_shown(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [Shown(providers(SMS), providers(), providers(), providers(EMAIL), end="in good order")]
    with client_of(target, retry=False) as client:
        assert list(client.watch_providers()) == [[SMS], [EMAIL]]


def test_a_watch_of_providers_without_a_sign_of_life_is_interrupted(
    client_of: Connect, target: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SILENCE", 0.05)
    scripted.answers = [Shown(providers(SMS)), Shown(providers(EMAIL))]
    with client_of(target) as client:
        watched = client.watch_providers()
        assert [next(watched), next(watched)] == [[SMS], [EMAIL]]


def test_after_the_first_answer_its_timeout_counts_no_more(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    scripted.answers = [Shown(providers(SMS)), Shown()]
    with client_of(target, retry=False) as client, ThreadPoolExecutor(1) as pool:
        limit = Limit(PATIENCE)
        watched = client.watch_providers(timeout=limit)
        assert next(watched) == [SMS]
        limit.seconds = 0.05
        waiting = pool.submit(next, watched)
        with pytest.raises(TryAgain):  # in the same time
            next(client.watch_providers(timeout=0.1))
        assert not waiting.done()
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result(PATIENCE)


def test_without_retry_a_watch_that_breaks_off_raises(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    scripted.answers = [Shown(providers(SMS), end=Refuse(grpc.StatusCode.UNAVAILABLE, text="gone"))]
    with client_of(target, retry=False) as client:
        watched = client.watch_providers()
        assert next(watched) == [SMS]
        with pytest.raises(TryAgain, match="gone"):
            next(watched)
        with pytest.raises(StopIteration):
            next(watched)


# How much is sent.


def figures(*starts: int, backlog: bool = False) -> WatchStatsResponse:
    response = WatchStatsResponse(backlog=Backlog(due=1) if backlog else None)
    for start in starts:
        response.intervals.add().start_time.FromSeconds(start)
    response.time.FromSeconds(100)
    return response


def test_figures_are_shown_as_they_change_and_again_after_an_interruption_but_no_signs_of_life(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    first, beat, due, again = figures(5, backlog=True), figures(), figures(backlog=True), figures(5, 10)
    scripted.answers = [Shown(first, beat, due, end="in good order"), Shown(again)]
    with client_of(target) as client:
        watched = client.watch_stats()
        assert [next(watched) for _ in range(3)] == [first, due, again]
    assert scripted.asked == [WatchStatsRequest()] * 2


# Messages.


def test_messages_come_with_their_tokens_and_signs_of_life_are_not_shown(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    scripted.answers = [Shown(heartbeat(0), change(1), heartbeat(2), heartbeat(3), change(4))]
    chosen = MessageFilter(labels={"team": "auth"})
    with client_of(target) as client:
        watched = client.watch_messages(chosen=chosen, resume_token="t-0")
        shown = [next(watched), next(watched)]
        watched.close()
        next(client.watch_messages(["m-1", "m-4"]))
    assert shown == [(Message(message_id="m-1"), "t-1"), (Message(message_id="m-4"), "t-4")]
    assert isinstance(shown[0], MessageChange)
    assert shown[0].message.message_id == "m-1"
    assert shown[0].resume_token == "t-1"
    assert scripted.asked == [
        WatchMessagesRequest(filter=chosen, resume_token="t-0"),
        WatchMessagesRequest(message_ids=["m-1", "m-4"]),
    ]


@pytest.mark.parametrize(
    "end",
    ["in good order", Refuse(grpc.StatusCode.UNAVAILABLE), Refuse(grpc.StatusCode.INTERNAL, text="RST_STREAM")],
    ids=["OK", "UNAVAILABLE", "INTERNAL"],
)
def test_with_retry_it_goes_on_behind_what_it_has_heard(
    client_of: Connect, target: str, scripted: ScriptedServer, end: Refuse | str
) -> None:
    scripted.answers = [
        Refuse(grpc.StatusCode.UNAVAILABLE),
        Shown(change(1), heartbeat(2), end=end),
        Refuse(grpc.StatusCode.UNAVAILABLE),
        Shown(change(3), end=end),
        Shown(change(4)),
    ]
    with client_of(target) as client:
        watched = client.watch_messages(["a", "b"])
        assert [next(watched).resume_token for _ in range(3)] == ["t-1", "t-3", "t-4"]
    assert [request.resume_token for request in scripted.asked] == ["", "", "t-2", "t-2", "t-3"]
    assert {tuple(request.message_ids) for request in scripted.asked} == {("a", "b")}


def test_silence_in_the_middle_is_an_interruption_like_another(
    client_of: Connect, target: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SILENCE", 0.05)
    scripted.answers = [Shown(change(1)), Shown(change(2))]
    with client_of(target) as client:
        watched = client.watch_messages()
        assert [next(watched).resume_token for _ in range(2)] == ["t-1", "t-2"]
    assert [request.resume_token for request in scripted.asked] == ["", "t-1"]


def test_a_sign_of_life_is_awaited_for_longer_than_two_of_them_take() -> None:
    assert watching.SILENCE > 2 * watching.HEARTBEAT_INTERVAL


def test_time_that_the_caller_takes_does_not_count(
    client_of: Connect, target: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = Limit(PATIENCE)
    monkeypatch.setattr(watching, "SILENCE", limit)
    scripted.answers = [Shown(change(1), change(2)), Shown()]
    with client_of(target, retry=False) as client:
        watched = client.watch_messages()
        assert next(watched).resume_token == "t-1"
        limit.seconds = 0.05
        with pytest.raises(TryAgain):  # twice as long
            next(client.watch_messages(timeout=0.1))
        limit.seconds = PATIENCE
        assert next(watched).resume_token == "t-2"
        limit.seconds = 0.05
        with pytest.raises(TryAgain):  # and now it does
            next(watched)
    assert len(scripted.asked) <= 2


def test_each_stream_has_the_same_time_for_its_first_answer() -> None:
    watch = watching.MessageWatch([], None, "", timeout=7.0, reopening=reopening.Reopening(retry=True))
    for _ in range(2):
        watch.opened()
        assert watch.silence == 7.0
        watch.heard(heartbeat(1))
        assert watch.silence == watching.SILENCE


@pytest.mark.parametrize(
    ("refusal", "cls"),
    [
        (Refuse(grpc.StatusCode.NOT_FOUND, ErrorInfo(reason="MESSAGE_NOT_FOUND", domain="postwire")), NotFound),
        (
            Refuse(grpc.StatusCode.OUT_OF_RANGE, ErrorInfo(reason="RESUME_TOKEN_EXPIRED", domain="postwire")),
            PostwireError,
        ),
    ],
    ids=["NOT_FOUND", "OUT_OF_RANGE"],
)
def test_what_stays_wrong_is_raised(
    client_of: Connect, target: str, scripted: ScriptedServer, refusal: Refuse, cls: type[PostwireError]
) -> None:
    scripted.answers = [Shown(change(1), end=Refuse(grpc.StatusCode.UNAVAILABLE)), refusal]
    with client_of(target) as client:
        watched = client.watch_messages()
        next(watched)
        with pytest.raises(cls) as caught:
            next(watched)
    assert caught.value.reason in {"MESSAGE_NOT_FOUND", "RESUME_TOKEN_EXPIRED"}
    assert len(scripted.asked) == 2


def test_a_server_that_stays_away_is_an_error_in_the_end(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    scripted.answers = [Shown(change(1), end=Refuse(grpc.StatusCode.UNAVAILABLE)), Refuse(grpc.StatusCode.UNAVAILABLE)]
    with client_of(target) as client:
        watched = client.watch_messages()
        next(watched)
        with pytest.raises(TryAgain):
            next(watched)
    assert len(scripted.asked) == 1 + reopening.MAX_TRIES
    with client_of(closed_port(), retry=False) as client, pytest.raises(TryAgain):
        next(client.watch_messages())


@pytest.mark.parametrize("state", ["waiting", "pausing"])
def test_to_close_the_client_ends_it(
    client_of: Connect, target: str, scripted: ScriptedServer, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reopening, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(reopening, "LONGEST_PAUSE", 3600.0)
    first = Refuse(grpc.StatusCode.UNAVAILABLE) if state == "pausing" else Shown()
    scripted.answers = [first, ListProvidersResponse()]
    with client_of(target) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, client.watch_messages())
        scripted.until(lambda: scripted.asked)
        for _ in range(20):  # in this time, nothing is tried again
            client.list_providers()
        client.close()
        with pytest.raises(ClientClosed):
            waiting.result(PATIENCE)
    assert [one for one in scripted.asked if isinstance(one, WatchMessagesRequest)] == scripted.asked[:1]


def test_to_close_the_client_just_before_a_pause_ends_it(
    client_of: Connect, target: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.answers = [Refuse(grpc.StatusCode.UNAVAILABLE)]
    with client_of(target) as client:
        lifetime = getattr(client, "client", client)._lifetime

        def pause(*_: object) -> float:
            lifetime.end()
            return 3600.0

        monkeypatch.setattr(reopening.Reopening, "pause", pause)
        with pytest.raises(ClientClosed):
            next(client.watch_messages())


def test_who_asks_too_late_is_told_that_it_is_over() -> None:
    lifetime, heard = Lifetime(), []
    with lifetime.notifying(lambda: heard.append("while it ends")):
        lifetime.end()
    with lifetime.notifying(lambda: heard.append("after its end")):
        pass
    lifetime.end()
    assert heard == ["while it ends", "after its end"]
