"""From the core's values to the contract's messages: all that is known, nothing that is not, and nobody's data."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf import json_format, timestamp_pb2
from tests.support import build
from tests.support.clock import START
from tests.support.providers import route

from postwire.api import convert
from postwire.core import lifecycle
from postwire.core.message import (
    MAX_TIME,
    Attempt,
    Channel,
    Email,
    MessageRecord,
    MessageState,
    RecipientStatus,
)
from postwire.core.obstacles import Obstacle
from postwire.core.outcome import Outcome
from postwire.core.receipts import MessageReceipt, ReceiptState
from postwire.delivery import Candidate, Explanation
from postwire.v1 import dispatch_service_pb2 as dispatch_pb
from postwire.v1 import message_pb2 as pb


def test_a_message_of_an_earlier_release_that_expires_after_9999_can_be_read() -> None:
    for late in (1, 100 * 365 * 86_400_000_000):
        message = convert.message_to(replace(build.accepted(), expire_time=MAX_TIME + late))
        assert json_format.MessageToDict(message)["expireTime"] == "9999-12-31T23:59:59.999999Z"


def test_every_word_of_the_core_has_its_name_in_the_contract() -> None:
    assert {convert.CHANNELS[one] for one in Channel} == set(pb.Channel.values()) - {0}
    for state in MessageState:
        message = convert.message_to(replace(build.accepted(), state=state))
        assert pb.MessageState.Name(message.state) == f"MESSAGE_STATE_{state.name}"
    for channel in Channel:
        message = convert.message_to(replace(build.accepted(), channel=channel))
        assert pb.Channel.Name(message.channel) == f"CHANNEL_{channel.name}"
    for outcome in Outcome:
        attempt = Attempt(1, "p", 1, outcome, 1)
        message = convert.message_to(replace(build.accepted(), attempts=(attempt,)))
        assert pb.Outcome.Name(message.outcome) == f"OUTCOME_{outcome.reported.name}"
        assert message.attempts[0].outcome == message.outcome
    assert {one.reported.name for one in Outcome} == {name.removeprefix("OUTCOME_") for name in pb.Outcome.keys()[1:]}


def test_a_record_is_shown_in_full() -> None:
    record = MessageRecord(
        message_id="m-1",
        request_id="r-1",
        channel=Channel.EMAIL,
        state=MessageState.SENDING,
        create_time=1_700_000_000_000_001,
        update_time=1_700_000_001_500_000,
        expire_time=1_700_000_100_000_000,
        attempts=(
            Attempt(1, "a", 1_700_000_000_000_001, Outcome.ERROR, 1_500_000, "v-1", "c-1", "d-1", "ab" * 16),
            Attempt(2, "b", 1_700_000_001_500_000, trace_id="cd" * 16),
        ),
        recipients=(
            RecipientStatus(0, MessageState.SENT, Outcome.SUCCESS),
            RecipientStatus(1, MessageState.SENDING, None, "c-2"),
        ),
        labels={"team": "auth"},
        next_attempt_time=1_700_000_002_000_000,
        revision=9,
    )

    def time(seconds: int, microseconds: int = 0) -> timestamp_pb2.Timestamp:
        return timestamp_pb2.Timestamp(seconds=1_700_000_000 + seconds, nanos=microseconds * 1000)

    expected = pb.Message(
        message_id="m-1",
        request_id="r-1",
        channel=pb.CHANNEL_EMAIL,
        state=pb.MESSAGE_STATE_SENDING,
        provider_name="b",
        provider_message_id="",
        outcome=pb.OUTCOME_ERROR,
        attempts=[
            pb.Attempt(
                number=1,
                provider_name="a",
                outcome=pb.OUTCOME_ERROR,
                start_time=time(0, 1),
                provider_message_id="v-1",
                error_code="c-1",
                detail="d-1",
                trace_id="ab" * 16,
            ),
            pb.Attempt(number=2, provider_name="b", start_time=time(1, 500_000), trace_id="cd" * 16),
        ],
        recipients=[
            pb.RecipientStatus(index=0, state=pb.MESSAGE_STATE_SENT, outcome=pb.OUTCOME_SUCCESS),
            pb.RecipientStatus(index=1, state=pb.MESSAGE_STATE_SENDING, error_code="c-2"),
        ],
        create_time=time(0, 1),
        update_time=time(1, 500_000),
        next_attempt_time=time(2),
        expire_time=time(100),
        labels={"team": "auth"},
        revision=9,
        error_code="c-1",
    )
    expected.attempts[0].duration.seconds = 1
    expected.attempts[0].duration.nanos = 500_000_000
    assert convert.message_to(record) == expected


def test_what_has_not_happened_yet_is_absent() -> None:
    message = convert.message_to(build.accepted())
    assert message.outcome == pb.OUTCOME_UNSPECIFIED
    assert message.provider_name == "sms-mms"
    assert not message.HasField("next_attempt_time")
    assert not message.attempts[0].HasField("duration")
    assert not message.recipients


def test_an_attempt_that_took_no_time_has_ended_all_the_same() -> None:
    message = convert.message_to(build.ended(build.accepted(), after=0))
    assert message.attempts[0].HasField("duration")
    assert message.provider_message_id == "vendor-1"


def test_no_content_reaches_the_record() -> None:
    canary = "Zq9canary7"
    command = build.command(
        Email(to=(f"{canary}@a.test",), subject=canary, text=canary, headers={"X-A": canary}), request_id="r"
    )
    record = build.ended(build.accepted(command))
    assert canary not in str(convert.message_to(record))
    assert canary not in repr(command) + repr(record) + repr(build.new_message(command))


def test_an_attempt_of_which_nobody_knows_how_long_it_took_says_so() -> None:
    record, _ = lifecycle.close_attempt(
        build.accepted(), lifecycle.ORPHANED, build.POLICY, now=START + 1, duration=None
    )
    (attempt,) = convert.message_to(record).attempts
    assert attempt.outcome == pb.OUTCOME_UNCERTAIN
    assert not attempt.HasField("duration")


def test_a_message_that_waits_says_until_when() -> None:
    message = convert.message_to(build.accepted(provider_name=""))
    assert message.state == pb.MESSAGE_STATE_QUEUED
    assert message.next_attempt_time.ToMicroseconds() == START
    assert (message.provider_name, len(message.attempts)) == ("", 0)


@pytest.mark.parametrize("obstacle", [None, *Obstacle])
def test_a_candidate_says_what_is_in_its_way(obstacle: Obstacle | None) -> None:
    time = None if obstacle is None else START + 5_000_001
    explanation = Explanation(
        route("a", {"b": 3}, key="sms#2", overflow=True), (), (Candidate("b", 2, 3, obstacle, time),)
    )
    wire = convert.explanation_to(explanation)
    assert (wire.route_key, wire.overflow) == ("sms#2", True)
    (candidate,) = wire.candidates
    assert (candidate.provider_name, candidate.tier, candidate.weight) == ("b", 2, 3)
    assert candidate.eligible == (obstacle is None)
    name = "UNSPECIFIED" if obstacle is None else obstacle.value.upper()
    assert dispatch_pb.RouteObstacle.Name(candidate.obstacle) == f"ROUTE_OBSTACLE_{name}"
    assert candidate.HasField("eligible_time") == (obstacle is not None)
    if obstacle:
        assert candidate.eligible_time.ToMicroseconds() == START + 5_000_001


def test_a_route_says_by_which_rule_and_why() -> None:
    found = replace(route("b"), rule="routes.sms[2]")
    met = ((("prefixes",), "+44"), (("labels", "team"), 'a "b"'), (("labels", "x.y"), ""))
    wire = convert.explanation_to(Explanation(found, met, ()))
    assert wire.rule == "routes.sms[2]"
    assert list(wire.matched_on) == ['prefixes = "+44"', 'labels.team = "a \\"b\\""', 'labels."x.y" = ""']


def test_candidates_stay_in_their_order() -> None:
    candidates = tuple(Candidate(name, tier, 1, None, None) for tier, name in enumerate("bac", 1))
    wire = convert.explanation_to(Explanation(route("b", "a", "c"), (), candidates))
    assert [one.provider_name for one in wire.candidates] == ["b", "a", "c"]
    assert not wire.overflow


def test_what_was_reported_is_shown() -> None:
    receipts = tuple(
        MessageReceipt("a", at, state, f"c-{at}", START + at, at or None) for at, state in enumerate(ReceiptState)
    )
    attempts = (Attempt(1, "a", START, Outcome.UNCERTAIN, 5, error_code="timeout", receipt_overdue=True),)
    record = replace(build.accepted(), state=MessageState.DELIVERED, attempts=attempts, receipts=receipts)
    shown = convert.message_to(record)
    assert [(one.provider_name, one.attempt_number, one.error_code) for one in shown.receipts] == [
        ("a", at, f"c-{at}") for at in range(5)
    ]
    assert [pb.ReceiptState.Name(one.state).removeprefix("RECEIPT_STATE_") for one in shown.receipts] == [
        one.name for one in ReceiptState
    ]
    assert [one.HasField("recipient_index") for one in shown.receipts] == [False, True, True, True, True]
    assert shown.attempts[0].receipt_overdue
    assert shown.error_code == "", "the time-out is not why it was delivered"
    assert convert.message_to(replace(record, state=MessageState.UNCERTAIN)).error_code == "timeout"
    assert convert.message_to(replace(record, state=MessageState.UNDELIVERED, error_code="x")).error_code == "x"
