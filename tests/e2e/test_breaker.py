"""A provider that fails is left alone and asked again with care, and can be put out of service: nobody else notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import grpc
import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    FAILED,
    NO_RETRY,
    QUEUED,
    SENT,
    TIMEOUT,
    dispatch,
    dispatch_all,
    email,
    explain,
    get,
    in_flight,
    mms,
    provider,
    providers,
    refused,
    release,
    request,
    sms,
    tried,
    until,
    update,
)
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, attempts, transitions, values
from tests.e2e.server import Server, eventually

from postwire.v1 import dispatch_service_pb2, message_pb2
from postwire.v1 import provider_service_pb2 as pb
from postwire.v1.message_pb2 import Attempt, Message

CLOSED: Final = pb.BREAKER_STATE_CLOSED
OPEN: Final = pb.BREAKER_STATE_OPEN
HALF_OPEN: Final = pb.BREAKER_STATE_HALF_OPEN
FORCED_OPEN: Final = pb.BREAKER_STATE_FORCED_OPEN
ERROR: Final = message_pb2.OUTCOME_ERROR

MINIMUM: Final = 10
WINDOW: Final = 20
"""The defaults."""

STAYS_OPEN = {
    f"providers__{name}__breaker__{key}": "1h" for name in ("sms_mms", "email") for key in ("open_for", "open_for_max")
}


def breaker(server: Server, name: str) -> pb.Breaker:
    return provider(server, name).breaker


def fail(server: Server, count: int = MINIMUM) -> list[Message]:
    """Messages that `sms-mms` fails at, one after another, with one attempt each."""
    failed = [dispatch(server, max_attempts=1) for _ in range(count)]
    assert {(one.state, one.outcome, len(one.attempts)) for one in failed} == {(FAILED, ERROR, 1)}
    return failed


def changes(server: Server, name: str) -> list[str]:
    """How a provider's breaker has changed, from the log, which may lag a moment behind."""
    return [f"{line['from']} {line['to']}" for line in server.log("breaker") if line["provider_name"] == name]


def have_changed(server: Server, name: str, *wanted: str) -> None:
    """Return once a provider's breaker has changed as wanted, and not otherwise."""
    eventually(lambda: len(changes(server, name)) >= len(wanted))
    assert changes(server, name) == [*wanted]


# It opens.


def test_a_breaker_opens_within_a_window_of_calls_and_one(serve: Serve) -> None:
    server = serve(providers__sms_mms__error_ratio="1", **METRICS)
    opened = ("closed", "open", "sms-mms")
    calls = 0
    while opened not in transitions(server):
        # All the rest is as it is by default: each is tried again, and that counts as well.
        assert dispatch(server).state == QUEUED
        assert dispatch(server, email()).state == SENT
        calls += 1
        assert calls <= WINDOW + 1
    assert calls <= MINIMUM
    assert {labels[-1] for labels in transitions(server)} == {"sms-mms"}


def test_a_provider_that_fails_is_left_alone_and_nobody_else_notices(serve: Serve) -> None:
    server = serve(providers__sms_mms__error_ratio="1", **STAYS_OPEN, **NO_RETRY, **METRICS)
    for number in range(1, MINIMUM + 1):
        assert breaker(server, "sms-mms").state == CLOSED
        fail(server, 1)
        assert dispatch(server, email()).state == SENT
        seen = breaker(server, "sms-mms")
        assert (seen.calls, seen.failures, seen.failure_ratio) == (number, number, 1)
    seen = breaker(server, "sms-mms")
    assert seen.state == OPEN

    # What comes now waits for the first probe, without an attempt, whoever waits and however.
    parked = [dispatch(server), dispatch(server, mms()), dispatch(server, wait_for=ACCEPTANCE)]
    parked += dispatch_all(server, [sms()] * 5)
    for one in parked:
        assert (one.state, tried(one), one.provider_name, one.outcome) == (QUEUED, [], "", 0)
        assert abs(one.next_attempt_time.ToNanoseconds() - seen.next_probe_time.ToNanoseconds()) < 1e9
        assert one.next_attempt_time.ToNanoseconds() > one.create_time.ToNanoseconds() + 3600e9
    (candidate,) = explain(server).candidates
    assert (candidate.eligible, candidate.obstacle) == (False, dispatch_service_pb2.ROUTE_OBSTACLE_OPEN)
    assert abs(candidate.eligible_time.ToNanoseconds() - seen.next_probe_time.ToNanoseconds()) < 1e9

    # The other provider has seen nothing of it.
    assert [one.state for one in dispatch_all(server, [email()] * 20)] == [SENT] * 20
    other = breaker(server, "email")
    assert (other.state, other.failures, other.failure_ratio) == (CLOSED, 0, 0)
    assert not other.HasField("next_probe_time")
    assert attempts(server) == {
        ("sms", "error", "sms-mms"): MINIMUM,
        ("email", "success", "email"): MINIMUM + 20,
    }
    assert transitions(server) == {("closed", "open", "sms-mms"): 1}
    assert values(server, "postwire_breaker_rejections_total") == {("sms-mms",): len(parked), ("email",): 0}
    states = values(server, "postwire_breaker_state")
    assert {labels for labels, value in states.items() if value} == {("open", "sms-mms"), ("closed", "email")}
    assert len(states) == 8
    have_changed(server, "sms-mms", "closed open")
    have_changed(server, "email")

    # Nothing of theirs was written meanwhile, and a restart forgets what the breaker has seen.
    assert [get(server, one).revision for one in parked] == [1] * len(parked)
    server.restart(providers__sms_mms__error_ratio="0")
    for one in parked:
        assert tried(until(server, one, SENT)) == [("sms-mms", "success")]
    assert transitions(server) == {}


def test_throttling_and_refusals_are_no_failures(serve: Serve) -> None:
    server = serve(providers__sms_mms__retry_after="1ms", **STAYS_OPEN, **NO_RETRY)
    for number in ("+15005550001", "+15005550003"):
        for _ in range(MINIMUM):
            eventually(lambda: explain(server).candidates[0].eligible)
            assert len(dispatch(server, sms(number)).attempts) == 1
    seen = breaker(server, "sms-mms")
    assert (seen.state, seen.calls, seen.failures) == (CLOSED, MINIMUM, 0), "who refuses has answered"


def test_a_provider_that_is_slow_is_left_alone_too(serve: Serve) -> None:
    slow = {"slow_call_ratio": "0.5", "slow_call_duration": "1ms", "minimum_calls": "3"}
    server = serve(
        providers__sms_mms__latency="20ms",
        **{f"providers__sms_mms__breaker__{key}": value for key, value in slow.items()},
        **STAYS_OPEN,
    )
    assert [dispatch(server).state for _ in range(4)] == [SENT, SENT, SENT, QUEUED]
    seen = breaker(server, "sms-mms")
    assert (seen.state, seen.calls, seen.slow_calls, seen.failures) == (OPEN, 3, 3, 0)


# It closes.


def spans(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """When the attempts that succeeded started and ended (ns since the epoch), in the order of their starts."""

    def span(attempt: Attempt) -> tuple[int, int]:
        start = attempt.start_time.ToNanoseconds()
        return start, start + attempt.duration.ToNanoseconds()

    return sorted(span(one.attempts[-1]) for one in messages)


def test_what_was_parked_goes_once_the_provider_works_again_and_probes_come_first(serve: Serve) -> None:
    both = {"error_ratio": "1", "breaker__open_for": "200ms"}
    server = serve(
        held=True,
        **{f"providers__{name}__{key}": value for name in ("sms_mms", "email") for key, value in both.items()},
        providers__email__breaker__probe_calls="2",
        providers__email__breaker__close_after="3",
        delivery__backoff_base="1ms",
        delivery__backoff_max="1ms",
        **METRICS,
    )
    failing = "error@simulator.postwire.test"
    dispatch_all(server, [sms("+15005550002"), email(failing)] * MINIMUM, max_attempts=1)
    eventually(lambda: {one.breaker.state for one in providers(server).values()} == {OPEN})
    for name in ("sms-mms", "email"):
        update(server, name, error_ratio=0, latency=3600)
    parked = {
        "sms-mms": dispatch_all(server, [sms()] * 12, wait_for=ACCEPTANCE),
        "email": dispatch_all(server, [email()] * 12, wait_for=ACCEPTANCE),
    }
    for name, probes in (("sms-mms", 1), ("email", 2)):
        eventually(lambda: provider(server, name).in_flight == probes)  # noqa: B023  # asked at once
        dispatch_all(server, [sms(), email()], wait_for=ACCEPTANCE)
        probed = provider(server, name)
        assert (probed.breaker.state, probed.in_flight) == (HALF_OPEN, probes), "and no more"
        release(server, name)
    sent = {name: [until(server, one, SENT) for one in messages] for name, messages in parked.items()}

    # One probe at a time, and one that succeeds is enough.
    assert {len(one.attempts) for one in sent["sms-mms"]} == {1}
    (_, end), *rest = spans(sent["sms-mms"])
    assert all(start >= end for start, _ in rest)
    # Two at a time, until three have succeeded.
    assert {len(one.attempts) for one in sent["email"]} == {1}
    taken = spans(sent["email"])
    for number, (start, _) in enumerate(taken):
        ended = sum(end <= start for _, end in taken[:number])
        assert number - ended < 2 or ended >= 3, "more probes at once than are allowed"

    for name in parked:
        have_changed(server, name, "closed open", "open half_open", "half_open closed")
        now = breaker(server, name)
        assert (now.state, now.failures) == (CLOSED, 0)
    assert set(transitions(server).values()) == {1}
    assert len(transitions(server)) == 6


def test_a_probe_that_fails_opens_it_again_for_longer(serve: Serve) -> None:
    server = serve(providers__sms_mms__error_ratio="1", providers__sms_mms__breaker__open_for="20ms", **NO_RETRY)
    fail(server)
    seen: list[int] = []
    for number in range(1, 4):
        eventually(lambda: explain(server).candidates[0].eligible)
        (probe,) = dispatch(server, max_attempts=1).attempts
        opened = breaker(server, "sms-mms")
        assert opened.state == OPEN
        seen.append(opened.next_probe_time.ToNanoseconds() - probe.start_time.ToNanoseconds())
        # At least as long as it has to be; how long the probe itself took is in it.
        assert seen[-1] >= 20e6 * 2**number
    update(server, "sms-mms", error_ratio=0)
    until(server, dispatch(server), SENT)
    probes = ["open half_open", "half_open open"] * 3
    have_changed(server, "sms-mms", "closed open", *probes, "open half_open", "half_open closed")


# Operators.


def named(server: Server, method: str, name: str) -> pb.Provider:
    """`DrainProvider`, `ResumeProvider` or `ResetBreaker`."""
    asked = getattr(pb, f"{method}Request")(name=name)
    shown: pb.Provider = getattr(server.providers, method)(asked, timeout=TIMEOUT).provider
    assert shown.name == name
    return shown


def watch(server: Server) -> Iterator[pb.WatchProvidersResponse]:
    return server.providers.WatchProviders(pb.WatchProvidersRequest(), timeout=TIMEOUT * 3)


def until_reported(reported: Iterator[pb.WatchProvidersResponse], good: Callable[[pb.Provider], object]) -> pb.Provider:
    """Return the next provider that somebody who watches is told of, and that is as wanted."""
    return next(one for response in reported for one in response.providers if good(one))


def test_a_provider_that_is_drained_takes_nothing_until_it_is_resumed(serve: Serve) -> None:
    server = serve(held=True, providers__sms_mms__latency="1h")
    under_way = server.dispatch.Dispatch.future(request(), timeout=TIMEOUT)
    eventually(lambda: in_flight(server) == 1)
    for _ in range(2):
        assert named(server, "DrainProvider", "sms-mms").breaker.state == FORCED_OPEN
    release(server)
    assert under_way.result().message.state == SENT, "what is under way is left to end"
    parked = dispatch(server)
    assert (parked.state, tried(parked)) == (QUEUED, [])
    assert not parked.HasField("next_attempt_time"), "nobody knows"
    (candidate,) = explain(server).candidates
    assert (candidate.eligible, candidate.obstacle) == (False, dispatch_service_pb2.ROUTE_OBSTACLE_DRAINED)
    assert not candidate.HasField("eligible_time")
    assert dispatch(server, email()).state == SENT

    # It stays so over restarts in good order and others, and nothing is written of what waits.
    server.restart(providers__sms_mms__latency="0s")
    assert breaker(server, "sms-mms").state == FORCED_OPEN
    server.kill()
    server.start()
    assert breaker(server, "sms-mms").state == FORCED_OPEN
    assert breaker(server, "email").state == CLOSED
    assert get(server, parked) == parked

    resumed = named(server, "ResumeProvider", "sms-mms").breaker
    assert (resumed.state, resumed.calls) == (CLOSED, 0)
    assert tried(until(server, parked, SENT)) == [("sms-mms", "success")]
    have_changed(server, "sms-mms", "closed forced_open", "forced_open closed")
    server.restart()
    assert breaker(server, "sms-mms").state == CLOSED
    assert dispatch(server).state == SENT


def test_a_breaker_is_reset_and_resuming_one_in_service_changes_nothing(serve: Serve) -> None:
    server = serve(providers__sms_mms__error_ratio="1", **STAYS_OPEN, **NO_RETRY)
    fail(server, MINIMUM)
    parked = dispatch(server)
    before = named(server, "ResumeProvider", "sms-mms").breaker
    assert (before.state, before.failures) == (OPEN, MINIMUM)
    update(server, "sms-mms", error_ratio=0)
    after = named(server, "ResetBreaker", "sms-mms").breaker
    assert (after.state, after.calls, after.failures) == (CLOSED, 0, 0)
    assert tried(until(server, parked, SENT)) == [("sms-mms", "success")]
    have_changed(server, "sms-mms", "closed open", "open closed")

    named(server, "DrainProvider", "sms-mms")
    error = refused(lambda: named(server, "ResetBreaker", "sms-mms"))
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_DRAINED")
    assert breaker(server, "sms-mms").state == FORCED_OPEN


@pytest.mark.parametrize("method", ["DrainProvider", "ResumeProvider", "ResetBreaker"])
def test_a_provider_that_is_not_there_cannot_be_steered(server: Server, method: str) -> None:
    error = refused(lambda: named(server, method, "nobody"))
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "PROVIDER_NOT_FOUND")
    error = refused(lambda: named(server, method, ""))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")
    assert error.fields == ["name"]


def test_who_watches_sees_every_provider_and_then_what_changes(serve: Serve) -> None:
    server = serve(providers__sms_mms__latency="1h", server__grace="0s", **NO_RETRY)
    reported: Any = watch(server)
    first = next(reported)
    assert list(first.providers) == list(providers(server).values())
    assert [one.name for one in first.providers] == ["sms-mms", "email"]

    # Only what has changed, one thing after another.
    named(server, "DrainProvider", "email")
    (drained,) = next(reported).providers
    assert (drained.name, drained.breaker.state) == ("email", FORCED_OPEN)
    named(server, "ResumeProvider", "email")
    (resumed,) = next(reported).providers
    assert (resumed.name, resumed.breaker.state) == ("email", CLOSED)
    update(server, "email", seed=7)
    (seeded,) = next(reported).providers
    assert (seeded.name, seeded.seed, seeded.seeded) == ("email", 7, True)
    dispatch(server, wait_for=ACCEPTANCE)
    (busy,) = next(reported).providers
    assert (busy.name, busy.in_flight) == ("sms-mms", 1)
    for _ in range(MINIMUM):
        dispatch(server, email("error@simulator.postwire.test"), max_attempts=1)
    opened = until_reported(reported, lambda one: one.breaker.state == OPEN)
    assert (opened.name, opened.breaker.failures) == ("email", MINIMUM)
    assert opened.breaker.HasField("next_probe_time")

    # Others come and go as they like.
    others: list[Any] = [watch(server) for _ in range(5)]
    for other in others:
        assert len(next(other).providers) == 2
        other.cancel()
    channel = server.channel()
    gone: Any = channel.unary_stream(
        "/postwire.v1.ProviderService/WatchProviders",
        request_serializer=pb.WatchProvidersRequest.SerializeToString,
        response_deserializer=pb.WatchProvidersResponse.FromString,
    )(pb.WatchProvidersRequest())
    next(gone)
    channel.close()
    update(server, "email", seed=8)
    until_reported(reported, lambda one: one.seed == 8)
    reported.cancel()
    assert server.terminate() == 0
    assert server.log("internal_error") == server.log("library") == []


def test_who_watches_is_let_go_at_the_end_in_good_order(serve: Serve) -> None:
    server = serve(server__grace="1h")
    watching: list[Any] = [watch(server) for _ in range(3)]
    for reported in watching:
        next(reported)
    assert server.terminate() == 0
    for reported in watching:
        assert list(reported) == []
        assert reported.code() is grpc.StatusCode.OK
    assert server.log("internal_error") == server.log("library") == []
