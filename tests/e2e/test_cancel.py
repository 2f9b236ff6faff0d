"""Taking messages back and resolving them over a real socket, and what else can be settled without a provider."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.e2e.calls import (
    ACCEPTANCE,
    AT_MOST_ONCE,
    FAILED,
    NO_RETRY,
    OUTCOME,
    QUEUED,
    SENDING,
    SENT,
    TIMEOUT,
    UNCERTAIN,
    Refused,
    dispatch,
    email,
    get,
    in_flight,
    refused,
    release,
    request,
    sms,
    until,
    update,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.streams import Stream, Watch, in_time, later, sent_through
from tests.e2e.toml import ERRORS, mock

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1.message_pb2 import MESSAGE_STATE_CANCELLED as CANCELLED
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest

NOBODY = "018bcfe5-6800-7000-8000-000000000000"
ERROR, THROTTLED, MAYBE = "+15005550002", "+15005550003", "+15005550004"


def cancel(server: Server, message: Message | str) -> Message:
    message_id = message if isinstance(message, str) else message.message_id
    return server.dispatch.CancelMessage(pb.CancelMessageRequest(message_id=message_id), timeout=TIMEOUT).message


def resolve(server: Server, message: Message | str, resolution: Any = pb.RESOLUTION_SENT) -> Message:
    message_id = message if isinstance(message, str) else message.message_id
    asked = pb.ResolveMessageRequest(message_id=message_id, resolution=resolution)
    return server.dispatch.ResolveMessage(asked, timeout=TIMEOUT).message


def not_queued(error: Refused) -> bool:
    return (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MESSAGE_NOT_QUEUED")


def not_uncertain(error: Refused) -> bool:
    return (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MESSAGE_NOT_UNCERTAIN")


# Taking back.


def test_a_scheduled_message_is_taken_back_and_again_is_ok(server: Server) -> None:
    (accepted,) = sent_through(server, later())
    cancelled = cancel(server, accepted.message)
    assert cancelled.state == CANCELLED
    assert cancelled.revision > accepted.message.revision
    assert not cancelled.HasField("next_attempt_time")
    assert not cancelled.attempts
    assert [cancel(server, cancelled) for _ in range(3)] == [cancelled] * 3
    assert get(server, cancelled) == cancelled


def test_a_parked_message_is_taken_back_and_its_provider_never_sees_it(serve: Serve) -> None:
    server = serve()
    server.providers.DrainProvider(DrainProviderRequest(name="sms-mms"), timeout=TIMEOUT)
    parked, other = dispatch(server), dispatch(server)
    assert (parked.state, other.state) == (QUEUED, QUEUED)
    assert cancel(server, parked).state == CANCELLED
    server.providers.ResumeProvider(ResumeProviderRequest(name="sms-mms"), timeout=TIMEOUT)
    assert until(server, other, SENT).attempts
    assert get(server, parked).state == CANCELLED
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM attempts") == [(1,)]


@pytest.mark.parametrize(("to", "state"), [(ERROR, CANCELLED), (THROTTLED, CANCELLED), (MAYBE, UNCERTAIN)])
def test_what_an_attempt_may_have_sent_is_not_said_to_be_cancelled(serve: Serve, to: str, state: int) -> None:
    server = serve(**NO_RETRY)
    message = dispatch(server, sms(to))
    assert (message.state, len(message.attempts)) == (QUEUED, 1)
    assert cancel(server, message).state == state
    assert get(server, message).state == state


def test_what_is_being_sent_or_settled_is_not_taken_back(serve: Serve) -> None:
    server = serve(held=True)
    sent, failed = dispatch(server), dispatch(server, sms("+15005550001"))
    assert (sent.state, failed.state) == (SENT, FAILED)
    update(server, "sms-mms", latency=3600)
    sending = dispatch(server, wait_for=ACCEPTANCE)
    assert sending.state == SENDING
    for message in (sent, failed, sending):
        assert not_queued(refused(lambda: cancel(server, message)))  # noqa: B023  # called at once
    release(server)
    assert until(server, sending, SENT).message_id == sending.message_id


def test_of_a_race_with_the_queue_exactly_one_wins(serve: Serve) -> None:
    server = serve()
    server.providers.DrainProvider(DrainProviderRequest(name="sms-mms"), timeout=TIMEOUT)
    messages = [one.message for one in sent_through(server, [request(wait_for=ACCEPTANCE) for _ in range(200)])]
    server.providers.ResumeProvider(ResumeProviderRequest(name="sms-mms"), timeout=TIMEOUT)
    asked = [pb.CancelMessageRequest(message_id=one.message_id) for one in reversed(messages)]
    calls = [server.dispatch.CancelMessage.future(one, timeout=TIMEOUT) for one in asked]
    won = {call.result().message.message_id for call in calls if not call.exception()}
    for message in messages:
        until(server, message, CANCELLED if message.message_id in won else SENT)
    assert server.terminate() == 0
    assert server.rows("SELECT count(*) FROM messages WHERE state = 'cancelled'") == [(len(won),)]
    assert server.rows("SELECT count(*), count(DISTINCT message_id) FROM attempts") == [(200 - len(won),) * 2]
    assert server.rows(
        "SELECT count(*) FROM attempts JOIN messages USING (message_id) WHERE messages.state = 'cancelled'"
    ) == [(0,)]


def test_whoever_waits_for_it_is_answered(serve: Serve) -> None:
    slow = mock("only", 'latency = "1h"', "max_concurrent = 1")
    server = serve(toml=slow, server__grace="0s")
    dispatch(server, wait_for=ACCEPTANCE)
    eventually(lambda: in_flight(server) == 1)
    asked = request()
    call = server.dispatch.Dispatch.future(asked, timeout=TIMEOUT)
    with Stream(server) as stream, Watch(server).begin() as watch:
        eventually(lambda: _known(server, asked))
        asked.options.wait_for = OUTCOME
        stream.send([asked])
        waiting = _known(server, asked)
        assert waiting
        cancelled = cancel(server, waiting)
        assert call.result().message == cancelled
        (result,) = stream.results(1)
        assert result.message == cancelled
        assert watch.until(lambda one: one.state == CANCELLED)[-1] == cancelled


def _known(server: Server, asked: pb.DispatchRequest) -> Message | None:
    """The message of a request id, if it is in the store by now."""
    listed = server.dispatch.ListMessages(pb.ListMessagesRequest(), timeout=TIMEOUT).messages
    return next((one for one in listed if one.request_id == asked.request_id), None)


def test_what_was_taken_back_stays_so_over_a_restart(serve: Serve) -> None:
    server = serve()
    send_time, then = in_time(seconds=0.9), Timestamp()
    then.FromNanoseconds(send_time.ToNanoseconds() + 1_000_000)
    asked = request(wait_for=ACCEPTANCE, send_time=send_time)
    cancelled = cancel(server, server.dispatch.Dispatch(asked, timeout=TIMEOUT).message)
    server.kill()
    server.start()
    assert get(server, cancelled) == cancelled
    assert server.dispatch.Dispatch(asked, timeout=TIMEOUT).message == cancelled
    # One that was to go out behind it does, and it does not.
    late = dispatch(server, wait_for=ACCEPTANCE, send_time=then)
    with Watch(server, late.message_id) as watch:
        watch.until(lambda one: one.state == SENT)
    assert get(server, cancelled) == cancelled


# Resolving.


@pytest.mark.parametrize(("resolution", "state"), [(pb.RESOLUTION_SENT, SENT), (pb.RESOLUTION_FAILED, FAILED)])
def test_an_uncertain_message_is_resolved_once(server: Server, resolution: Any, state: int) -> None:
    message = dispatch(server, sms(MAYBE), delivery_guarantee=AT_MOST_ONCE)
    assert message.state == UNCERTAIN
    resolved = resolve(server, message, resolution)
    assert resolved.state == state
    assert resolved.revision > message.revision
    assert list(resolved.attempts) == list(message.attempts), "the attempt is what it was"
    assert get(server, message) == resolved
    assert not_uncertain(refused(lambda: resolve(server, message, resolution)))


@pytest.mark.parametrize(("resolution", "state"), [(pb.RESOLUTION_SENT, SENT), (pb.RESOLUTION_FAILED, FAILED)])
def test_of_an_email_the_recipients_that_are_uncertain_are_resolved(
    server: Server, resolution: Any, state: int
) -> None:
    simulators = [f"{name}@simulator.postwire.test" for name in ("success", "uncertain", "success")]
    message = dispatch(server, email(*simulators), delivery_guarantee=AT_MOST_ONCE)
    assert [one.state for one in message.recipients] == [SENT, UNCERTAIN, SENT]
    assert message.state == UNCERTAIN
    resolved = resolve(server, message, resolution)
    assert [one.state for one in resolved.recipients] == [SENT, state, SENT]
    assert resolved.state == state


def test_what_is_not_uncertain_is_not_resolved(serve: Serve) -> None:
    server = serve(**NO_RETRY)
    (queued,) = sent_through(server, later())
    for message in (dispatch(server), dispatch(server, sms(MAYBE)), queued.message, cancel(server, queued.message)):
        assert not_uncertain(refused(lambda: resolve(server, message)))  # noqa: B023  # called at once
        assert get(server, message).state != UNCERTAIN


# Refusals.


@pytest.mark.parametrize("call", [cancel, resolve], ids=["cancel", "resolve"])
def test_a_message_that_is_not_there_is_told(server: Server, call: Any) -> None:
    error = refused(lambda: call(server, NOBODY))
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND")


@pytest.mark.parametrize("message_id", ["", "x", NOBODY.upper(), NOBODY + "0", "\u00fc"])
@pytest.mark.parametrize("call", [cancel, resolve], ids=["cancel", "resolve"])
def test_an_id_that_is_none_is_told_by_field(server: Server, call: Any, message_id: str) -> None:
    error = refused(lambda: call(server, message_id))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")
    assert error.fields == ["message_id"]


@pytest.mark.parametrize("resolution", [pb.RESOLUTION_UNSPECIFIED, 99])
def test_a_resolution_has_to_be_one(server: Server, resolution: Any) -> None:
    message = dispatch(server, sms(MAYBE), delivery_guarantee=AT_MOST_ONCE)
    error = refused(lambda: resolve(server, message, resolution))
    assert (error.code, error.reason, error.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_MESSAGE",
        ["resolution"],
    )
    assert get(server, message).state == UNCERTAIN
    assert refused(lambda: resolve(server, "x", resolution)).fields == ["resolution", "message_id"]


def test_after_failed_attempts_it_is_taken_back_with_what_is_on_record(serve: Serve) -> None:
    server = serve(toml=mock("bad", ERRORS), **NO_RETRY)
    message = dispatch(server)
    cancelled = cancel(server, message)
    assert cancelled.state == CANCELLED
    assert list(cancelled.attempts) == list(message.attempts)
    assert cancelled.outcome == message.outcome
