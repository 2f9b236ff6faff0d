"""The inbox by both Python clients, against a gRPC server in this process that answers as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from tests.support.client_adapters import CLIENT_ADAPTERS, connect
from tests.support.scripted import Refuse, ScriptedServer, serving

from postwire.v1.inbox_service_pb2 import (
    ClearInboxRequest,
    ClearInboxResponse,
    ListInboxRequest,
    ListInboxResponse,
    WaitForMessageRequest,
    WaitForMessageResponse,
    WatchInboxRequest,
    WatchInboxResponse,
)
from postwire_client import Client, Conflict, InboxFilter, InboxMessage, TryAgain, calls, reopening

Connect = Callable[..., Client]

ADA = "+14155550132"
CODES = InboxFilter(to=ADA, match="code")


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


def taken(name: str) -> InboxMessage:
    return InboxMessage(inbox_message_id=name)


def test_listing_goes_from_page_to_page(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [
        ListInboxResponse(messages=[taken("c"), taken("b")], next_page_token="on"),
        ListInboxResponse(messages=[taken("a")]),
    ]
    with client_of(target) as client:
        listed = client.list_inbox(CODES, page_size=2)
        assert scripted.asked == [], "nothing before the first is wanted"
        assert [one.inbox_message_id for one in listed] == ["c", "b", "a"]
        assert scripted.asked == [
            ListInboxRequest(filter=CODES, page_size=2),
            ListInboxRequest(filter=CODES, page_size=2, page_token="on"),
        ]


def test_clearing_says_how_many_there_were(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [ClearInboxResponse(removed=7)]
    with client_of(target) as client:
        assert client.clear_inbox() == 7
    assert scripted.asked == [ClearInboxRequest()]


def test_a_server_in_production_is_a_conflict(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    info = ErrorInfo(reason="INBOX_DISABLED", domain="postwire")
    scripted.answers = [Refuse(grpc.StatusCode.FAILED_PRECONDITION, info)]
    with client_of(target) as client:
        for call in (client.clear_inbox, lambda: client.wait_for_message(ADA), lambda: next(client.watch_inbox())):
            with pytest.raises(Conflict) as caught:
                call()
            assert caught.value.reason == "INBOX_DISABLED"


def test_waiting_gives_the_message(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [WaitForMessageResponse(message=taken("a"))]
    since = datetime(2030, 1, 31, 12, tzinfo=UTC)
    with client_of(target, timeout=20.0) as client:
        assert client.wait_for_message(ADA, "code", since=since) == taken("a")
    asked = WaitForMessageRequest(to=ADA, match="code")
    asked.receive_time_from.FromDatetime(since)
    assert scripted.asked == [asked]
    assert 10 < scripted.time_left[0] <= 20.5


def test_what_a_server_gives_up_early_is_waited_for_again(
    client_of: Connect, target: str, scripted: ScriptedServer
) -> None:
    scripted.answers = [WaitForMessageResponse(), WaitForMessageResponse(), WaitForMessageResponse(message=taken("a"))]
    with client_of(target) as client:
        assert client.wait_for_message(ADA, timeout=300.0) == taken("a")
    assert scripted.asked == [WaitForMessageRequest(to=ADA)] * 3
    assert all(200 < one < 301 for one in scripted.time_left)


def test_what_has_not_come_in_time_is_none(
    client_of: Connect, target: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_ANSWERED_EARLY", 1000.0)
    scripted.answers = [WaitForMessageResponse()]
    with client_of(target) as client:
        assert client.wait_for_message(ADA, timeout=300.0) is None
    assert len(scripted.asked) == 1


@pytest.mark.parametrize(("asked", "left"), [(1.0, 0.11), (30.0, 0.4), (3600.0, 36.1)])
def test_what_is_left_where_the_server_answers_in_time_is_not_worth_another_call(asked: float, left: float) -> None:
    assert not calls.is_worth_waiting(left, asked)
    assert calls.is_worth_waiting(2.5 * left + 1, asked)


class Shown:
    """A watch that shows these messages, with signs of life between, and is then cut."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, context: Any) -> Iterator[WatchInboxResponse]:
        yield WatchInboxResponse()
        for name in self._names:
            yield WatchInboxResponse(message=taken(name))
            yield WatchInboxResponse()
        Refuse(grpc.StatusCode.UNAVAILABLE).end(context)


def test_watching_shows_messages_over_interruptions(
    client_of: Connect, target: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reopening, "FIRST_PAUSE", 0.001)
    scripted.answers = [Shown("a", "b"), Shown("c")]
    with client_of(target) as client:
        watched = client.watch_inbox(CODES)
        assert [next(watched).inbox_message_id for _ in range(3)] == ["a", "b", "c"]
        watched.close()
    assert scripted.asked == [WatchInboxRequest(filter=CODES)] * 2


def test_without_retry_a_watch_ends_where_it_is_cut(client_of: Connect, target: str, scripted: ScriptedServer) -> None:
    scripted.answers = [Shown("a")]
    with client_of(target, retry=False) as client:
        watched = client.watch_inbox()
        assert next(watched) == taken("a")
        with pytest.raises(TryAgain):
            next(watched)
