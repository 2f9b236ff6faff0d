"""What comes out of the queue again: later, at its time, after the next boot; or not any more."""

from __future__ import annotations

import signal
import time
from typing import Any, Final

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.e2e.calls import (
    ACCEPTANCE,
    AT_MOST_ONCE,
    FAILED,
    NO_RETRY,
    QUEUED,
    SENDING,
    SENT,
    TIMEOUT,
    UNCERTAIN,
    dispatch,
    dispatch_ahead,
    email,
    get,
    in_flight,
    provider,
    release,
    request,
    sms,
    tried,
    until,
    update,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.toml import ERRORS, STAYS_CLOSED, mock

from postwire.v1 import message_pb2
from postwire.v1.dispatch_service_pb2 import ListMessagesRequest, MessageFilter
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest

EXPIRED: Final = message_pb2.MESSAGE_STATE_EXPIRED
SOON: Final = {"delivery__backoff_base": "20ms", "delivery__backoff_max": "20ms"}
RATIOS: Final = ("error_ratio", "rate_limited_ratio", "uncertain_ratio", "rejected_ratio")


def patient(serve: Serve, **settings: Any) -> Server:
    """A server with one provider, which has taken a message: a few that fail are nothing to worry about then."""
    server = serve(toml=mock("one", STAYS_CLOSED, 'retry_after = "1ms"'), **settings)
    assert dispatch(server, sms("+15005550006")).state == SENT
    return server


def ends(server: Server, outcome: str) -> None:
    """Have all attempts end so from now on."""
    update(server, "one", **{ratio: float(ratio == f"{outcome}_ratio") for ratio in RATIOS})


def drain(server: Server) -> None:
    server.providers.DrainProvider(DrainProviderRequest(name="one"), timeout=TIMEOUT)


def resume(server: Server) -> None:
    server.providers.ResumeProvider(ResumeProviderRequest(name="one"), timeout=TIMEOUT)


def soon(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(time.time_ns() // 1000 + int(seconds * 1e6))
    return moment


def outcomes(message: Message) -> list[str]:
    return [outcome for _, outcome in tried(message)]


def test_what_failed_is_tried_again_until_it_is_sent_or_its_attempts_are_spent(serve: Serve) -> None:
    server = patient(serve, **SOON)
    ends(server, "error")
    assert outcomes(until(server, dispatch(server, max_attempts=3), FAILED)) == ["error"] * 3
    assert outcomes(until(server, dispatch(server), FAILED)) == ["error"] * 5, "the default"
    waiting = dispatch(server, max_attempts=100)
    assert (waiting.state, waiting.outcome) == (QUEUED, message_pb2.OUTCOME_ERROR)
    ends(server, "success")
    sent = until(server, waiting, SENT)
    assert outcomes(sent) == ["error"] * (len(sent.attempts) - 1) + ["success"]
    assert [one.number for one in sent.attempts] == list(range(1, len(sent.attempts) + 1))
    assert sent.revision > waiting.revision
    assert sent.create_time == waiting.create_time

    # To be throttled is not to be tried.
    ends(server, "rate_limited")
    throttled = dispatch(server, max_attempts=1)
    eventually(lambda: len(get(server, throttled).attempts) > 3)
    ends(server, "success")
    sent = until(server, throttled, SENT)
    assert outcomes(sent) == ["rate_limited"] * (len(sent.attempts) - 1) + ["success"]


def test_what_may_have_been_sent_is_never_denied(serve: Serve) -> None:
    server = patient(serve, held=True, **SOON)
    ends(server, "uncertain")
    assert outcomes(until(server, dispatch(server, max_attempts=2), UNCERTAIN)) == ["uncertain"] * 2
    for outcome, state in (("rejected", UNCERTAIN), ("error", UNCERTAIN), ("success", SENT)):
        ends(server, "uncertain")
        update(server, "one", latency=3600)
        message = dispatch(server, max_attempts=3, wait_for=ACCEPTANCE)
        drain(server)  # so that it ends, and is not tried again yet
        release(server, "one")
        assert outcomes(until(server, message, QUEUED)) == ["uncertain"]
        ends(server, outcome)
        resume(server)
        assert dispatch(server, sms("+15005550006")).state == SENT  # see `patient`
        ended = until(server, message, state)
        assert outcomes(ended) == ["uncertain", *[outcome] * (2 if outcome == "error" else 1)]
    # Not even when its time runs out.
    ends(server, "uncertain")
    message = dispatch_ahead(
        server, max_attempts=100, expire_after=0.5, is_early=lambda one: one.state == QUEUED and one.attempts
    )
    assert message.state == QUEUED
    drain(server)
    assert set(outcomes(until(server, message, UNCERTAIN))) == {"uncertain"}


def test_a_message_waits_for_its_time(serve: Serve) -> None:
    server = patient(serve)
    hour = dispatch(server, send_time=(at := soon(3600)))
    assert (hour.state, tried(hour), hour.next_attempt_time) == (QUEUED, [], at)
    assert hour.expire_time.ToNanoseconds() == hour.next_attempt_time.ToNanoseconds() + 4 * 3600 * 10**9
    moments: list[dict[str, Any]] = [{}, {"wait_for": ACCEPTANCE}, {"provider_name": "one"}]
    for options in moments:
        moment = dispatch_ahead(server, send_after=0.2, is_early=lambda one: one.state == QUEUED, **options)
        assert (moment.state, tried(moment)) == (QUEUED, [])
        sent = until(server, moment, SENT)
        assert sent.attempts[0].start_time.ToNanoseconds() >= moment.next_attempt_time.ToNanoseconds()
    assert dispatch(server, send_time=soon(-5)).state == SENT
    assert get(server, hour) == hour


def test_a_time_that_runs_out_ends_the_wait(serve: Serve) -> None:
    server = patient(serve, providers__one__max_concurrent="1", server__grace="0s")
    drain(server)
    parked = dispatch_ahead(server, expire_after=0.2, is_early=lambda one: one.state == QUEUED)
    assert parked.state == QUEUED
    expired = until(server, parked, EXPIRED)
    assert tried(expired) == []
    assert not expired.HasField("next_attempt_time")
    several = dispatch_ahead(server, email("ada@example.com", "eve@example.com"), expire_after=0.2)
    assert [one.state for one in until(server, several, EXPIRED).recipients] == [EXPIRED] * 2
    resume(server)

    # Its time is all that an attempt has. That it was short tells nothing of the provider.
    update(server, "one", latency=3600)
    calls = provider(server, "one").breaker.calls
    late = dispatch_ahead(server, expire_after=1, is_early=lambda one: one.attempts)
    answer = until(server, late, UNCERTAIN)
    assert outcomes(answer) == ["uncertain"]
    assert answer.attempts[0].error_code == "timeout"
    assert provider(server, "one").breaker.calls == calls
    # A caller that waits for its turn is told as well.
    dispatch(server, wait_for=ACCEPTANCE)
    eventually(lambda: in_flight(server) == 1)
    waited = dispatch_ahead(server, expire_after=0.2)
    assert (waited.state, tried(waited)) == (EXPIRED, [])


def test_what_waits_is_sent_by_the_next_boot(serve: Serve) -> None:
    server = serve(toml=mock("one", STAYS_CLOSED) + mock("two"), providers__one__error_ratio="1", **SOON)
    pinned: dict[str, Any] = {"provider_name": "one", "max_attempts": 100}
    failed = [dispatch(server, **pinned), dispatch(server, email(), **pinned)]
    assert {(one.state, one.outcome) for one in failed} == {(QUEUED, message_pb2.OUTCOME_ERROR)}
    server.providers.DrainProvider(DrainProviderRequest(name="two"), timeout=TIMEOUT)
    parked = dispatch(server, provider_name="two")
    assert (parked.state, tried(parked)) == (QUEUED, [])
    later = dispatch(server, send_time=soon(0.3), provider_name="one", max_attempts=100)
    server.restart(providers__one__error_ratio="0")
    for one in failed:
        sent = until(server, one, SENT)
        assert outcomes(sent) == ["error"] * (len(sent.attempts) - 1) + ["success"]
    assert until(server, later, SENT).create_time == later.create_time
    assert get(server, parked) == parked
    server.providers.ResumeProvider(ResumeProviderRequest(name="two"), timeout=TIMEOUT)
    assert tried(until(server, parked, SENT)) == [("two", "success")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_what_is_due_again_while_nobody_is_there_goes_once_somebody_is(serve: Serve, number: signal.Signals) -> None:
    server = serve(toml=mock("one", ERRORS, STAYS_CLOSED), **NO_RETRY)
    waiting = dispatch(server)
    assert (waiting.state, outcomes(waiting)) == (QUEUED, ["error"])
    server.send_signal(number)
    assert server.wait() in (0, -signal.SIGKILL)
    # As if the hour were over.
    server.write("UPDATE messages SET next_attempt_time = next_attempt_time - 3600 * 1000000")
    server.start(providers__one__error_ratio="0")
    assert outcomes(until(server, waiting, SENT)) == ["error", "success"]


def test_callers_that_wait_for_their_turn_are_answered_when_the_server_stops(serve: Serve) -> None:
    server = serve(toml=mock("one", 'latency = "300ms"', "max_concurrent = 1"))
    calls = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(3)]
    eventually(lambda: len(queued(server)) == 2)
    assert in_flight(server) == 1
    assert server.terminate() == 0
    answers = [call.result().message for call in calls]
    assert sorted(one.state for one in answers) == sorted([SENT, QUEUED, QUEUED])
    server.start()
    for one in answers:
        assert outcomes(until(server, one, SENT)) == ["success"]
    assert server.log("internal_error") == []


def queued(server: Server) -> list[Message]:
    asked = ListMessagesRequest(filter=MessageFilter(states=[QUEUED]))
    return list(server.dispatch.ListMessages(asked, timeout=TIMEOUT).messages)


def test_what_may_be_sent_only_once_is_not_tried_again(serve: Serve) -> None:
    server = patient(serve, **SOON)
    ends(server, "error")
    failing = dispatch(server, delivery_guarantee=AT_MOST_ONCE)
    assert failing.state in (QUEUED, SENDING), "it was surely not sent"
    ends(server, "uncertain")
    ended = until(server, failing, UNCERTAIN)
    assert outcomes(ended) == ["error"] * (len(ended.attempts) - 1) + ["uncertain"]
