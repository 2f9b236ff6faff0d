"""`WatchMessages` over a real socket: what is shown, going on with a token, and every way in which a watch ends."""

from __future__ import annotations

import base64
import signal
import threading
import time
from pathlib import Path
from typing import Any

import apsw
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.e2e.calls import (
    ACCEPTANCE,
    AT_MOST_ONCE,
    FAILED,
    QUEUED,
    SENDING,
    SENT,
    TIMEOUT,
    UNCERTAIN,
    dispatch,
    dispatch_all,
    email,
    get,
    mms,
    refused,
    release,
    sms,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server
from tests.e2e.streams import Watch, in_time, later, sent_through

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.dispatch_service_pb2 import MessageFilter, WatchMessagesRequest
from postwire.v1.message_pb2 import CHANNEL_EMAIL, CHANNEL_MMS, MESSAGE_STATE_CANCELLED, Message

NOBODY = "018bcfe5-6800-7000-8000-000000000000"
UNKNOWN: Any = 99
HEARTBEAT_INTERVAL = 15.0
"""Seconds of silence after which there is a sign of life."""


def waiting(server: Server, count: int = 1) -> list[Message]:
    """Messages that are sent in an hour."""
    return [one.message for one in sent_through(server, later(count))]


def cancel(server: Server, message: Message) -> Message:
    asked = pb.CancelMessageRequest(message_id=message.message_id)
    return server.dispatch.CancelMessage(asked, timeout=TIMEOUT).message


def watch_refused(server: Server, **fields: Any) -> Any:
    """How a watch is refused that cannot begin."""
    return refused(lambda: next(server.dispatch.WatchMessages(WatchMessagesRequest(**fields), timeout=TIMEOUT)))


# By ids.


def test_ids_begin_with_the_messages_as_they_are_and_go_on_with_what_changes(server: Server) -> None:
    sent, (queued, other) = dispatch(server), waiting(server, 2)
    with Watch(server, sent.message_id, queued.message_id, queued.message_id) as watch:
        first = [watch.next(), watch.next()]
        assert sorted(first, key=lambda one: one.message_id) == [sent, queued]
        cancel(server, other)
        cancelled = cancel(server, queued)
        assert watch.next() == cancelled
        assert cancelled.revision > queued.revision


def test_a_message_is_shown_on_its_way_and_its_revision_rises(serve: Serve) -> None:
    quickly = {"delivery__backoff_base": "10ms", "delivery__backoff_max": "10ms"}
    server = serve(held=True, providers__sms_mms__latency="1h", **quickly)
    with Watch(server).begin() as watch:
        accepted = dispatch(server, sms("+15005550002"), wait_for=ACCEPTANCE, max_attempts=2)
        shown = [watch.next()]
        release(server)
        shown += watch.until(lambda one: one.state == FAILED)
    assert shown[0] == accepted
    assert {one.message_id for one in shown} == {accepted.message_id}
    revisions = [one.revision for one in shown]
    assert revisions == sorted(set(revisions))
    assert {one.state for one in shown[:-1]} <= {SENDING, QUEUED}
    assert [len(one.attempts) for one in shown][-1] == 2
    assert shown[-1] == get(server, accepted)


def test_many_changes_that_nobody_read_come_as_few(serve: Serve) -> None:
    server = serve(delivery__backoff_base="1ms", delivery__backoff_max="1ms")
    with Watch(server).begin() as watch:
        messages = dispatch_all(server, [sms("+15005550003")] * 5, expire_time=in_time(seconds=1), wait_for=ACCEPTANCE)
        ends: dict[str, Message] = {}
        last: dict[str, int] = {}
        while len(ends) < 5:
            message = watch.next()
            assert message.revision > last.get(message.message_id, 0)
            last[message.message_id] = message.revision
            if message.state not in (QUEUED, SENDING):
                ends[message.message_id] = message
    assert ends.keys() == {one.message_id for one in messages}
    assert all(get(server, one) == one for one in ends.values())


def test_a_thousand_messages_can_be_watched(server: Server) -> None:
    messages = waiting(server, 1_000)
    with Watch(server, *(one.message_id for one in messages)) as watch:
        assert sorted(one.message_id for one in (watch.next() for _ in messages)) == [
            one.message_id for one in messages
        ]
        cancelled = cancel(server, messages[500])
        assert watch.next() == cancelled


# By a filter.


def test_a_filter_shows_what_is_new_and_nothing_else(server: Server) -> None:
    old = waiting(server)[0]
    with Watch(server).begin() as every, Watch(server, channels=[CHANNEL_EMAIL]).begin() as emails:
        texts, mail = dispatch(server), dispatch(server, email())
        assert every.until(lambda one: one == mail)[-2:] != [old, mail]
        assert emails.until(lambda one: one == mail)[0].channel == CHANNEL_EMAIL
        cancelled = cancel(server, old)
        assert every.until(lambda one: one == cancelled)[-1].message_id == old.message_id
    assert texts.state == SENT


@pytest.mark.parametrize(
    "chosen",
    [
        {"channels": [CHANNEL_MMS]},
        {"labels": {"team": "auth"}},
        {"states": [MESSAGE_STATE_CANCELLED]},
        {"provider_names": ["nobody", "email"]},
    ],
    ids=str,
)
def test_a_filter_narrows_the_choice(server: Server, chosen: dict[str, Any]) -> None:
    wanted: dict[str, Message] = {}
    with Watch(server, **chosen).begin() as watch:
        for content in (mms(), sms(), email()):
            dispatch(server, content)
        labelled = sms()
        labelled.labels["team"] = "auth"
        wanted["labels"] = dispatch(server, labelled)
        wanted["channels"] = dispatch(server, mms())
        wanted["provider_names"] = dispatch(server, email())
        wanted["states"] = cancel(server, waiting(server)[0])
        (kind,) = chosen
        shown = watch.until(lambda one: one == wanted[kind])
    listed = server.dispatch.ListMessages(
        pb.ListMessagesRequest(filter=MessageFilter(**chosen), page_size=1000), timeout=TIMEOUT
    )
    assert {one.message_id for one in shown} <= {one.message_id for one in listed.messages}


# Going on.


def test_a_watch_goes_on_without_a_gap_over_a_restart(serve: Serve) -> None:
    server = serve()
    with Watch(server).begin() as watch:
        first = waiting(server)[0]
        assert watch.next() == first
        token = watch.token
    missed = waiting(server, 3)
    server.restart()
    late = waiting(server, 2)
    with Watch(server, token=token) as again:
        shown = [again.next() for _ in range(5)]
        assert shown == [*missed, *late]
        cancelled = cancel(server, first)
        assert again.next() == cancelled
    with Watch(server, first.message_id, late[0].message_id, token=token) as by_id:
        assert by_id.until(lambda one: one == cancelled) == [late[0], cancelled]


def test_a_watch_goes_on_after_a_kill(serve: Serve) -> None:
    server = serve()
    with Watch(server).begin() as watch:
        messages = waiting(server, 20)
        seen = [watch.next() for _ in range(7)]
        token = watch.token
    server.kill()
    server.start()
    with Watch(server, token=token) as again:
        seen += [again.next() for _ in range(13)]
    assert seen == messages


def test_wherever_it_is_cut_off_every_message_is_seen_in_the_end(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="5ms")
    sent: list[Message] = []
    last: dict[str, Message] = {}
    token = ""
    with Watch(server).begin() as watch:
        token = watch.token
    for number in range(12):
        sent += dispatch_all(server, [sms()] * 10)
        with Watch(server, token=token) as watch:
            for _ in range(1 + number % 5):
                message = watch.next()
                last[message.message_id] = message
            token = watch.token
    with Watch(server, token=token) as watch:
        while len(last) < len(sent) or any(one.state != SENT for one in last.values()):
            message = watch.next()
            last[message.message_id] = message
    assert sorted(last) == sorted(one.message_id for one in sent)


def test_a_token_that_is_too_old_is_told(serve: Serve) -> None:
    server = serve()
    with Watch(server).begin() as watch:
        token = watch.token
    waiting(server, 10)
    assert server.terminate() == 0
    connection = apsw.Connection(str(server.store))  # as a server does, after a million changes
    connection.execute("DELETE FROM changes WHERE change <= (SELECT max(change) - 5 FROM changes)")
    connection.close()
    server.start()
    error = watch_refused(server, resume_token=token)
    assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")
    assert error.retry_delay is None


def test_a_token_of_another_store_is_told(server: Server, tmp_path: Path) -> None:
    with Watch(server).begin() as watch:
        waiting(server, 3)
        watch.next()
        token = watch.token
    with Server(tmp_path) as other:
        waiting(other, 200)
        with Watch(other).begin() as watch:
            tokens = {server: watch.token, other: token}
        for asked, foreign in tokens.items():
            error = watch_refused(asked, resume_token=foreign)
            assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")


# Refusals.


GARBAGE = ["x", "====", "Y2hhbmdlIDU=", base64.b64encode(b"\xff" * 30).decode(), "\u00fc", "a" * 10_000]


@pytest.mark.parametrize("token", GARBAGE, ids=lambda token: ascii(token[:20]))
def test_garbage_is_no_token(server: Server, token: str) -> None:
    error = watch_refused(server, resume_token=token)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE")
    assert error.fields == ["resume_token"]


def test_a_page_token_is_no_resume_token_nor_the_other_way_round(server: Server) -> None:
    waiting(server, 3)
    page = server.dispatch.ListMessages(pb.ListMessagesRequest(page_size=1), timeout=TIMEOUT)
    assert watch_refused(server, resume_token=page.next_page_token).fields == ["resume_token"]
    with Watch(server).begin() as watch:
        asked = pb.ListMessagesRequest(page_token=watch.token)
    assert refused(lambda: server.dispatch.ListMessages(asked, timeout=TIMEOUT)).fields == ["page_token"]


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an id that is none": ({"message_ids": [NOBODY, "x", ""]}, ["message_ids[1]", "message_ids[2]"]),
    "an id in capitals": ({"message_ids": [NOBODY.upper()]}, ["message_ids[0]"]),
    "too many": ({"message_ids": [NOBODY] * 1_001}, ["message_ids"]),
    "ids and a filter": ({"message_ids": [NOBODY], "filter": MessageFilter()}, ["filter"]),
    "a channel that is none": ({"filter": MessageFilter(channels=[UNKNOWN])}, ["filter.channels[0]"]),
    "states that are none": (
        {"filter": MessageFilter(states=[SENT, UNKNOWN, UNKNOWN])},
        ["filter.states[1]", "filter.states[2]"],
    ),
    "several": ({"message_ids": ["x"], "resume_token": "x"}, ["message_ids[0]", "resume_token"]),
    "all of it": (
        {"message_ids": ["x"], "filter": MessageFilter(create_time_to=Timestamp(seconds=-1)), "resume_token": "x"},
        ["message_ids[0]", "filter", "filter.create_time_to", "resume_token"],
    ),
    "too many choices": ({"filter": MessageFilter(provider_names=["p"] * 101)}, ["filter.provider_names"]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told_by_field(server: Server, wrong: str) -> None:
    fields, expected = WRONG[wrong]
    error = watch_refused(server, **fields)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE")
    assert error.fields == expected


def test_an_id_of_no_message_is_told(server: Server) -> None:
    known = dispatch(server)
    for ids in ([NOBODY], [known.message_id, NOBODY]):
        error = watch_refused(server, message_ids=ids)
        assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND")


# Ends.


def test_a_shutdown_ends_every_watch_at_once(serve: Serve) -> None:
    server = serve(server__grace="1h")
    message = waiting(server)[0]
    with Watch(server).begin() as every, Watch(server, message.message_id).begin() as by_id:
        server.send_signal(signal.SIGTERM)
        for watch in (every, by_id):
            end = watch.end()
            assert (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            assert end.retry_delay
    assert server.wait() == 0
    assert server.log("internal_error") == []


def test_who_goes_away_leaves_nothing_that_would_hold_up_the_end(serve: Serve) -> None:
    server = serve(server__grace="1h")
    for _ in range(30):
        with Watch(server).begin():
            pass
    with Watch(server).begin() as unread:
        dispatch_all(server, [sms()] * 50)
        unread.call.cancel()
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    assert server.log("internal_error") == []


def test_a_watch_of_an_uncertain_message_shows_how_it_was_resolved(server: Server) -> None:
    message = dispatch(server, sms("+15005550004"), delivery_guarantee=AT_MOST_ONCE)
    assert message.state == UNCERTAIN
    with Watch(server, message.message_id).begin() as watch:
        asked = pb.ResolveMessageRequest(message_id=message.message_id, resolution=pb.RESOLUTION_SENT)
        resolved = server.dispatch.ResolveMessage(asked, timeout=TIMEOUT).message
        assert watch.next() == resolved
        assert resolved.state == SENT


@pytest.mark.long
def test_silence_is_broken_by_a_sign_of_life_though_others_change_all_the_while(server: Server) -> None:
    asked = WatchMessagesRequest(filter=MessageFilter(provider_names=["nobody"]))
    heartbeats = server.dispatch.WatchMessages(asked, timeout=2 * HEARTBEAT_INTERVAL)
    first, start = next(heartbeats), time.monotonic()
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.wait(0.1):
            dispatch(server)

    others = threading.Thread(target=go_on)
    others.start()
    try:
        response = next(heartbeats)
    finally:
        is_over.set()
        others.join()
    assert not response.HasField("message")
    assert response.resume_token != first.resume_token, "it does not fall behind"
    assert time.monotonic() - start >= HEARTBEAT_INTERVAL - 1
    heartbeats.cancel()
