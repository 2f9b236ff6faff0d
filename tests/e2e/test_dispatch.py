"""Messages over a real socket, through every channel, small and large."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    AT_MOST_ONCE,
    FAILED,
    NO_RETRY,
    OUTCOME,
    QUEUED,
    SENDING,
    SENT,
    SUCCESS,
    TIMEOUT,
    UNCERTAIN,
    dispatch,
    email,
    get,
    in_flight,
    mms,
    new_request_id,
    release,
    request,
    sms,
    until,
    until_eligible,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually

from postwire.core import canonical
from postwire.core.message import Email, Mms, Sms
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.message_pb2 import Attachment, Media, OutboundMessage

MIB = 1 << 20
CHANNELS = [
    pytest.param(sms(), message_pb2.CHANNEL_SMS, "sms-mms", id="sms"),
    pytest.param(mms(), message_pb2.CHANNEL_MMS, "sms-mms", id="mms"),
    pytest.param(email(), message_pb2.CHANNEL_EMAIL, "email", id="email"),
]


@pytest.mark.parametrize(("message", "channel", "provider"), CHANNELS)
def test_a_message_is_sent_by_the_provider_of_its_channel(
    server: Server, message: OutboundMessage, channel: message_pb2.Channel.ValueType, provider: str
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    asked = request(message)
    asked.message.labels["team"] = "billing"
    sent = server.dispatch.Dispatch(asked, timeout=TIMEOUT).message

    assert uuid.UUID(sent.message_id).version == 7
    assert sent.request_id == asked.request_id
    assert (sent.channel, sent.state, sent.outcome, sent.provider_name) == (channel, SENT, SUCCESS, provider)
    assert sent.labels == {"team": "billing"}
    created, updated = sent.create_time.ToDatetime(UTC), sent.update_time.ToDatetime(UTC)
    assert before < created <= updated < datetime.now(UTC) + timedelta(seconds=1)
    assert not sent.HasField("next_attempt_time")
    (attempt,) = sent.attempts
    assert (attempt.number, attempt.provider_name, attempt.outcome) == (1, provider, SUCCESS)
    assert attempt.provider_message_id == sent.provider_message_id != ""
    assert [(one.index, one.state, one.outcome) for one in sent.recipients] == (
        [(0, SENT, SUCCESS)] if channel == message_pb2.CHANNEL_EMAIL else []
    )
    assert get(server, sent) == sent


def test_a_request_id_that_is_left_out_is_assigned(server: Server) -> None:
    first, second = (
        server.dispatch.Dispatch(pb.DispatchRequest(message=sms()), timeout=TIMEOUT).message for _ in range(2)
    )
    assert first.request_id
    assert first.request_id != second.request_id
    assert first.message_id < second.message_id, "ids sort by the time of acceptance"


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for what goes wrong: it does not try again, its breakers stay closed, and throttling is soon over."""
    settings = {
        f"providers__{name}__{key}": value
        for name in ("sms_mms", "email")
        for key, value in {
            "breaker__window_calls": "1000",
            "breaker__minimum_calls": "1000",
            "retry_after": "1ms",
        }.items()
    }
    with Server(tmp_path_factory.mktemp("drilled"), **NO_RETRY, **settings) as running:
        yield running


SIMULATORS = [
    ("success", "+15005550006", "success", SENT, SENT),
    ("rejected", "+15005550001", "rejected", FAILED, FAILED),
    ("error", "+15005550002", "error", FAILED, QUEUED),
    # Does not count as an attempt, so the last one is still to come.
    ("rate_limited", "+15005550003", "rate-limited", QUEUED, QUEUED),
    ("uncertain", "+15005550004", "uncertain", UNCERTAIN, UNCERTAIN),
]


@pytest.mark.parametrize(("outcome", "number", "mailbox", "state_of_last", "state"), SIMULATORS)
def test_a_simulator_recipient_forces_its_outcome_and_the_call_is_ok(
    drilled: Server,
    outcome: str,
    number: str,
    mailbox: str,
    state_of_last: message_pb2.MessageState.ValueType,
    state: message_pb2.MessageState.ValueType,
) -> None:
    wanted = message_pb2.Outcome.Value(f"OUTCOME_{outcome.upper()}")
    for message in (sms(number), mms(number), email(f"{mailbox}@simulator.postwire.test")):
        for max_attempts, state_after in ((1, state_of_last), (5, state)):
            until_eligible(drilled, message)
            done = dispatch(drilled, message, max_attempts=max_attempts, delivery_guarantee=AT_MOST_ONCE)
            assert done.outcome == wanted
            (attempt,) = done.attempts
            assert (attempt.outcome, attempt.error_code) == (
                wanted,
                "" if outcome == "success" else f"mock_{outcome}",
            )
            assert bool(attempt.detail) is (outcome != "success")
            assert done.state == state_after
            # What is not settled says when it goes on.
            assert done.HasField("next_attempt_time") is (state_after == QUEUED)
            if state_after == QUEUED:
                assert done.next_attempt_time.ToNanoseconds() > done.update_time.ToNanoseconds()
            assert get(drilled, done) == done


def test_what_may_have_been_sent_is_tried_again_unless_its_caller_wants_it_at_most_once(drilled: Server) -> None:
    uncertain = dispatch(drilled, sms("+15005550004"))
    assert (uncertain.state, uncertain.outcome) == (QUEUED, message_pb2.OUTCOME_UNCERTAIN)
    assert dispatch(drilled, sms("+15005550004"), max_attempts=1).state == UNCERTAIN


def test_each_recipient_of_an_email_has_a_status_of_its_own(server: Server) -> None:
    to = ("success@simulator.postwire.test", "rejected@simulator.postwire.test")
    done = dispatch(server, email(*to, bcc=["ada@example.com"]))
    assert [one.index for one in done.recipients] == [0, 1, 2]
    assert [one.state for one in done.recipients] == [SENT, FAILED, SENT]
    assert done.state == FAILED
    assert done.recipients[1].error_code == "mock_rejected"
    assert "@" not in str(done)


TEXT = "Grüße, Ελλάδα, مرحبا, שלום, 你好, नमस्ते, 🎉👩🏽‍🚀🏳️‍🌈, e\u0301, \u202eabc\u202c"


def test_large_and_foreign_content_arrives_as_it_was_sent(serve: Serve) -> None:
    server = serve(store__content_retention="1h")
    photo = bytes(range(256)) * (4 * MIB // 256)
    pdf = b"%PDF" + b"\x00\xff\r\n" * (31 * MIB // 4 - 256)
    hundred = [f"reader{number}@example.com" for number in range(100)]
    messages = {
        "sms": sms(body=TEXT),
        "mms": mms(body=TEXT, media=[Media(data=photo, content_type="image/png", file_name="Straße 🎉.png")]),
        "hundred": email(*hundred, subject=TEXT, headers={"X-Campaign": TEXT}),
        "foreign": email("δοκιμή@παράδειγμα.test", "用户@例子.test", sender="Zoë 🎉 <zoë@example.com>"),
        "large": email(attachments=[Attachment(file_name="книга.pdf", content_type="application/pdf", data=pdf)]),
    }
    sent = {name: dispatch(server, message) for name, message in messages.items()}
    assert {message.state for message in sent.values()} == {SENT}
    assert [one.state for one in sent["hundred"].recipients] == [SENT] * 100
    assert server.terminate() == 0

    stored = {
        str(uuid.UUID(bytes=message_id)): canonical.decode_message(content).content
        for message_id, content in server.rows("SELECT message_id, content FROM messages JOIN contents USING (key)")
    }
    content = {name: stored[message.message_id] for name, message in sent.items()}
    assert isinstance(content["sms"], Sms)
    assert content["sms"].body == TEXT
    assert isinstance(content["mms"], Mms)
    assert content["mms"].body == TEXT
    assert content["mms"].media[0].file_name == "Straße 🎉.png"
    assert content["mms"].media[0].data == photo
    assert isinstance(content["hundred"], Email)
    assert content["hundred"].to == tuple(hundred)
    assert content["hundred"].subject == content["hundred"].headers["X-Campaign"] == TEXT
    assert isinstance(content["foreign"], Email)
    assert content["foreign"].to == ("δοκιμή@παράδειγμα.test", "用户@例子.test")
    assert content["foreign"].sender == "Zoë 🎉 <zoë@example.com>"
    assert isinstance(content["large"], Email)
    assert content["large"].attachments[0].data == pdf
    # Nobody's data in the log.
    for secret in ("Grüße", "Gr\\u00fc", "reader7", "4155550132", "книга"):
        assert secret not in server.log_text()


def test_acceptance_is_answered_before_the_provider_is(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h")
    accepted = dispatch(server, sms(), wait_for=ACCEPTANCE)
    assert accepted.state == SENDING
    assert accepted.outcome == message_pb2.OUTCOME_UNSPECIFIED
    (attempt,) = accepted.attempts
    assert attempt.provider_name == "sms-mms"
    assert not attempt.HasField("duration")
    assert get(server, accepted) == accepted
    release(server)
    assert until(server, accepted, SENT).revision > accepted.revision


def test_a_repeat_that_waits_joins_the_message_under_way(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h")
    request_id = new_request_id()
    accepted = dispatch(server, sms(), request_id=request_id, wait_for=ACCEPTANCE)
    waiting = server.dispatch.Dispatch.future(request(request_id=request_id, wait_for=OUTCOME), timeout=TIMEOUT)
    assert dispatch(server, sms(), request_id=request_id, wait_for=ACCEPTANCE) == accepted
    release(server)
    done = waiting.result().message
    assert (done.message_id, done.state, len(done.attempts)) == (accepted.message_id, SENT, 1)


def test_a_caller_that_gives_up_in_mid_send_changes_nothing(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h")
    asked = request()
    call = server.dispatch.Dispatch.future(asked, timeout=TIMEOUT)
    eventually(lambda: in_flight(server) == 1)
    assert call.cancel()

    waiting = server.dispatch.Dispatch.future(asked, timeout=TIMEOUT)  # the same request id: waits for the same message
    release(server)
    done = waiting.result().message
    assert (done.state, done.outcome, len(done.attempts)) == (SENT, SUCCESS, 1)
    assert in_flight(server) == 0
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages") == [(1,)]
    assert server.log("internal_error") == []
    assert [line["outcome"] for line in server.log("attempt")] == ["success"]


def test_a_caller_that_hangs_up_in_mid_send_changes_nothing(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h")
    asked = request()
    channel = server.channel()
    call = channel.unary_unary(
        "/postwire.v1.DispatchService/Dispatch",
        request_serializer=pb.DispatchRequest.SerializeToString,
        response_deserializer=pb.DispatchResponse.FromString,
    ).future(asked, timeout=TIMEOUT)
    eventually(lambda: in_flight(server) == 1)
    channel.close()
    eventually(call.done)

    waiting = server.dispatch.Dispatch.future(asked, timeout=TIMEOUT)
    release(server)
    done = waiting.result().message
    assert (done.state, done.outcome, len(done.attempts)) == (SENT, SUCCESS, 1)


def test_a_caller_short_of_time_is_answered_before_its_deadline(serve: Serve) -> None:
    """One of several, because a slow machine may hold up an answer on its way: they have different deadlines."""
    server = serve(providers__sms_mms__latency="1h")
    calls = [server.dispatch.Dispatch.future(request(), timeout=0.5 + number / 3) for number in range(7)]
    answer = next(call.result().message for call in calls if not call.exception())
    assert answer.state == SENDING
    assert answer.outcome == message_pb2.OUTCOME_UNSPECIFIED
    assert get(server, answer) == answer
    server.kill()  # or its shutdown would wait for the provider


@pytest.mark.long
@pytest.mark.parametrize("timeout", [10.01, 20.01])
def test_a_deadline_that_was_rounded_up_on_its_way_is_met_too(serve: Serve, timeout: float) -> None:
    server = serve(providers__sms_mms__latency="1h", providers__sms_mms__attempt_timeout="1h")
    assert server.dispatch.Dispatch(request(), timeout=timeout).message.state == SENDING
    server.kill()


def test_a_caller_waits_no_longer_than_the_server_allows(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="1h", server__max_wait="100ms")
    assert server.dispatch.Dispatch(request(), timeout=TIMEOUT).message.state == SENDING
    server.kill()


def test_a_provider_that_hangs_is_given_up(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="1h", providers__sms_mms__attempt_timeout="100ms")
    done = dispatch(server, sms(), max_attempts=1, delivery_guarantee=AT_MOST_ONCE)
    assert done.state == UNCERTAIN
    assert done.attempts[0].outcome == message_pb2.OUTCOME_UNCERTAIN
    assert done.attempts[0].error_code == "timeout"
    assert done.attempts[0].duration.ToTimedelta() > timedelta(milliseconds=90)
    assert dispatch(server, email()).state == SENT
