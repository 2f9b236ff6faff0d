"""`send_time`, `expire_time` and `priority` over the wire: when a message goes out, until when, and who is first."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from tests.e2e.calls import (
    ACCEPTANCE,
    NO_RETRY,
    QUEUED,
    SENDING,
    SENT,
    TIMEOUT,
    dispatch,
    dispatch_ahead,
    dispatch_all,
    email,
    get,
    in_flight,
    mms,
    refused,
    sms,
    update,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.streams import Watch, in_time
from tests.e2e.toml import mock

from postwire.v1.dispatch_service_pb2 import CancelMessageRequest, ListMessagesRequest
from postwire.v1.message_pb2 import (
    MESSAGE_STATE_EXPIRED,
    MESSAGE_STATE_UNCERTAIN,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    PRIORITY_NORMAL,
    Message,
)

SOON = 0.5
"""Seconds: long enough to come to a test's next step, and short enough to wait for."""


YEAR_10000 = 253_402_300_800
"""Seconds."""


def nanoseconds(stamp: Timestamp) -> int:
    return stamp.ToNanoseconds()


def settled(server: Server, *messages: Message) -> list[Message]:
    """The messages once they are settled, as a watch of them shows."""
    ends: dict[str, Message] = {}
    with Watch(server, *(one.message_id for one in messages)) as watch:
        while len(ends) < len(messages):
            shown = watch.next()
            if shown.state not in (QUEUED, SENDING):
                ends[shown.message_id] = shown
    return [ends[one.message_id] for one in messages]


# Later.


@pytest.mark.parametrize("content", [sms, mms, email])
def test_a_scheduled_message_goes_out_at_its_time_and_not_before(server: Server, content: Any) -> None:
    # Though it waits for the outcome, it is answered.
    accepted = dispatch_ahead(server, content(), send_after=1, is_early=lambda one: one.state == QUEUED)
    assert (accepted.state, len(accepted.attempts)) == (QUEUED, 0)
    send_time = nanoseconds(accepted.next_attempt_time)
    (sent,) = settled(server, accepted)
    assert sent.state == SENT
    assert nanoseconds(sent.attempts[0].start_time) >= send_time
    assert not sent.HasField("next_attempt_time")


def test_a_time_that_has_gone_is_now(server: Server) -> None:
    assert dispatch(server, send_time=in_time(hours=-1)).state == SENT
    assert dispatch(server, send_time=Timestamp()).state == SENT


def test_what_is_scheduled_goes_out_in_the_order_of_its_times_and_over_a_restart(serve: Serve) -> None:
    server = serve()
    times = [in_time(hours=1, seconds=0.02 * number) for number in (3, 0, 4, 1, 2)]
    messages = [dispatch(server, send_time=one, wait_for=ACCEPTANCE) for one in times]
    server.kill()
    server.write("UPDATE messages SET next_attempt_time = next_attempt_time - 3600 * 1000000")  # as if it were over
    server.start()
    ends = settled(server, *messages)
    assert {one.state for one in ends} == {SENT}
    starts = [nanoseconds(one.attempts[0].start_time) for one in ends]
    assert sorted(range(5), key=starts.__getitem__) == [1, 3, 4, 0, 2]


def test_what_came_due_while_nobody_served_goes_out_at_once(serve: Serve) -> None:
    server = serve()
    message = dispatch(server, send_time=in_time(seconds=SOON), wait_for=ACCEPTANCE)
    server.kill()
    eventually(lambda: nanoseconds(in_time()) > nanoseconds(message.next_attempt_time))
    server.start()
    (sent,) = settled(server, message)
    assert sent.state == SENT


def test_what_is_scheduled_counts_its_time_from_then(server: Server) -> None:
    send_time = in_time(hours=10)
    message = dispatch(server, send_time=send_time)
    assert nanoseconds(message.expire_time) // 1000 == nanoseconds(in_time_of(send_time, hours=4)) // 1000


def in_time_of(stamp: Timestamp, *, hours: int) -> Timestamp:
    later = Timestamp()
    later.FromNanoseconds(stamp.ToNanoseconds() + hours * 3_600_000_000_000)
    return later


def test_what_expires_after_9999_is_refused_and_what_expires_in_it_can_be_listed_as_json(server: Server) -> None:
    refusal = refused(lambda: dispatch(server, send_time=Timestamp(seconds=YEAR_10000 - 1)))
    assert (refusal.reason, refusal.fields) == ("INVALID_MESSAGE", ["options.send_time"])
    late, last = Timestamp(seconds=YEAR_10000 - 2), Timestamp(seconds=YEAR_10000 - 1)
    scheduled = [
        dispatch(server, send_time=Timestamp(seconds=YEAR_10000 - 4 * 3600 - 1)),
        dispatch(server, send_time=late, expire_time=last),
    ]
    listed = server.dispatch.ListMessages(ListMessagesRequest(page_size=2), timeout=TIMEOUT)
    assert [one["expireTime"] for one in json_format.MessageToDict(listed)["messages"]] == ["9999-12-31T23:59:59Z"] * 2
    assert {one.message_id for one in listed.messages} == {one.message_id for one in scheduled}
    for one in scheduled:
        server.dispatch.CancelMessage(CancelMessageRequest(message_id=one.message_id), timeout=TIMEOUT)


# Too late.


def test_what_is_not_sent_in_time_expires(serve: Serve) -> None:
    server = serve(toml=mock("only", "error_ratio = 1"), **NO_RETRY)
    message = dispatch_ahead(server, expire_after=1, is_early=lambda one: one.state == QUEUED and one.attempts)
    assert (message.state, len(message.attempts)) == (QUEUED, 1)
    (expired,) = settled(server, message)
    assert (expired.state, len(expired.attempts)) == (MESSAGE_STATE_EXPIRED, 1)
    assert nanoseconds(expired.update_time) >= nanoseconds(message.expire_time)
    assert not expired.HasField("next_attempt_time")
    update(server, "only", error_ratio=0.0)
    assert get(server, message) == expired, "and it stays so"


def test_what_may_have_been_sent_is_uncertain_when_its_time_is_over(serve: Serve) -> None:
    server = serve(**NO_RETRY)
    message = dispatch_ahead(
        server, sms("+15005550004"), expire_after=1, is_early=lambda one: one.state == QUEUED and one.attempts
    )
    assert message.state == QUEUED
    (end,) = settled(server, message)
    assert end.state == MESSAGE_STATE_UNCERTAIN


def test_what_waits_for_its_turn_expires_without_an_attempt(serve: Serve) -> None:
    server = serve(toml=mock("only", 'latency = "1h"', "max_concurrent = 1"), server__grace="0s")
    dispatch(server, wait_for=ACCEPTANCE)
    eventually(lambda: in_flight(server) == 1)
    answer = dispatch_ahead(server, expire_after=1)
    assert (answer.state, len(answer.attempts)) == (MESSAGE_STATE_EXPIRED, 0), "whoever waits is told"


def test_what_expired_while_nobody_served_is_expired_at_boot(serve: Serve) -> None:
    server = serve()
    message = dispatch(server, send_time=in_time(hours=1), expire_time=in_time(hours=2), wait_for=ACCEPTANCE)
    server.kill()
    server.write("UPDATE messages SET next_attempt_time = next_attempt_time - 3 * 3600 * 1000000")
    server.write("UPDATE messages SET expire_time = expire_time - 3 * 3600 * 1000000")  # as if they were over
    server.start()
    (end,) = settled(server, message)
    assert (end.state, len(end.attempts)) == (MESSAGE_STATE_EXPIRED, 0)


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ({"expire_time": -1}, "options.expire_time"),
        ({"expire_time": 60, "send_time": 60}, "options.send_time"),
        ({"expire_time": 60, "send_time": 3600}, "options.send_time"),
    ],
    ids=str,
)
def test_times_that_do_not_go_together_are_refused(server: Server, times: dict[str, int], field: str) -> None:
    base = in_time()
    stamps: dict[str, Any] = {name: Timestamp(seconds=base.seconds + seconds) for name, seconds in times.items()}
    error = refused(lambda: dispatch(server, **stamps))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")
    assert error.fields == [field]


# First.


def test_high_goes_before_normal_and_normal_before_low_out_of_a_backlog(serve: Serve) -> None:
    server = serve(toml=mock("only", 'latency = "1h"', "max_concurrent = 1"), delivery__attempt_timeout="1h")
    holder = dispatch(server, wait_for=ACCEPTANCE, max_attempts=1)
    eventually(lambda: in_flight(server) == 1)
    # So few that none is passed over for so long that it has its turn before those of a higher priority.
    priorities = [PRIORITY_LOW, PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_LOW] * 2
    messages = [dispatch(server, wait_for=ACCEPTANCE, priority=one) for one in priorities]
    unspecified = dispatch_all(server, [sms()] * 3, wait_for=ACCEPTANCE)
    # What its provider has begun is left as it is: the next boot finds it, and the backlog.
    server.kill()
    server.start(providers__only__latency="1ms", **NO_RETRY)
    ends = settled(server, *messages, *unspecified)
    assert {one.state for one in ends} == {SENT}
    ranks = {PRIORITY_HIGH: 0, PRIORITY_NORMAL: 1, PRIORITY_LOW: 2}
    expected = [ranks[one] for one in priorities] + [1] * 3
    by_start = sorted(range(len(ends)), key=lambda index: nanoseconds(ends[index].attempts[0].start_time))
    assert [expected[index] for index in by_start] == sorted(expected)
    # Within a priority, those who came first go first.
    for rank in range(3):
        of_rank = [index for index in by_start if expected[index] == rank]
        assert of_rank == sorted(of_rank)
    assert get(server, holder).attempts[0].error_code == "orphaned"
