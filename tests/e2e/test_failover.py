"""With another provider on the channel, one that fails costs its messages an attempt, and soon not even that."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.calls import (
    AT_MOST_ONCE,
    FAILED,
    NO_RETRY,
    QUEUED,
    SENT,
    SUCCESS,
    TIMEOUT,
    UNCERTAIN,
    dispatch,
    email,
    explain,
    get,
    provider,
    request,
    sms,
    tried,
    until,
    until_eligible,
    update,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.toml import ERRORS, STAYS_CLOSED, THROTTLES, case, mock, of

from postwire.v1 import dispatch_service_pb2
from postwire.v1.message_pb2 import Message
from postwire.v1.provider_service_pb2 import BREAKER_STATE_OPEN, DrainProviderRequest

ROUTES = (
    mock("failing", ERRORS, STAYS_CLOSED),
    mock("failing-too", ERRORS, STAYS_CLOSED),
    mock("throttling", THROTTLES, 'retry_after = "1ms"'),
    mock("hesitant", THROTTLES, 'retry_after = "1h"'),
    mock("drained"),
    mock("good", STAYS_CLOSED),
    mock("better"),
    case("row", '["failing", "throttling", "good", "better"]'),
    case("row", '["failing", "throttling", "good", "better"]', channel="email"),
    case("pair", '["good", "better"]'),
    case("failing", '["failing", "failing-too"]'),
    case("drained", '["drained", "good"]'),
    case("hesitant", '["hesitant", "good"]'),
)


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a route for each of the tests, which does not try again what is back in its queue."""
    folder: Path = tmp_path_factory.mktemp("routed")
    (folder / "postwire.toml").write_text("\n".join(ROUTES), encoding="utf-8")
    with Server(folder, **NO_RETRY) as running:
        yield running


def send(server: Server, name: str, to: str = "+14155550132", **options: Any) -> Message:
    return dispatch(server, of(name, sms(to)), **options)


def test_one_call_goes_from_provider_to_provider_until_one_takes_the_message(routed: Server) -> None:
    sent = send(routed, "row")
    assert tried(sent) == [("failing", "error"), ("throttling", "rate_limited"), ("good", "success")]
    assert (sent.state, sent.provider_name, sent.outcome) == (SENT, "good", SUCCESS)
    assert [one.number for one in sent.attempts] == [1, 2, 3]
    assert sent.provider_message_id == sent.attempts[-1].provider_message_id != ""
    assert [one.provider_message_id for one in sent.attempts[:2]] == ["", ""]
    assert [one.error_code for one in sent.attempts] == ["mock_error", "mock_rate_limited", ""]
    for before, after in itertools.pairwise(sent.attempts):
        assert after.start_time.ToNanoseconds() >= before.start_time.ToNanoseconds() + before.duration.ToNanoseconds()
    assert get(routed, sent) == sent


def test_only_the_recipients_that_are_left_go_to_the_next_provider(routed: Server) -> None:
    until_eligible(routed, of("row", email()))
    to = ("success@simulator.postwire.test", "rejected@simulator.postwire.test", "ada@example.com")
    mixed = dispatch(routed, of("row", email(*to)))
    # One has his from the first, one will never have it, and one is the second's to serve.
    assert tried(mixed) == [("failing", "error"), ("throttling", "rate_limited"), ("good", "success")]
    assert [one.state for one in mixed.recipients] == [SENT, FAILED, SENT]
    assert mixed.state == FAILED


def test_what_was_refused_or_may_have_been_sent_goes_to_nobody_else(routed: Server) -> None:
    refused = send(routed, "pair", "+15005550001")
    assert (refused.state, tried(refused)) == (FAILED, [("good", "rejected")])
    unknown = send(routed, "pair", "+15005550004")
    assert (unknown.state, tried(unknown)) == (QUEUED, [("good", "uncertain")])
    assert unknown.next_attempt_time.ToNanoseconds() > unknown.update_time.ToNanoseconds()
    unknown = send(routed, "pair", "+15005550004", delivery_guarantee=AT_MOST_ONCE)
    assert (unknown.state, tried(unknown)) == (UNCERTAIN, [("good", "uncertain")])


def test_nobody_is_asked_twice_in_a_pass_and_nobody_too_often(routed: Server) -> None:
    failed = send(routed, "failing")
    assert (failed.state, tried(failed)) == (QUEUED, [("failing", "error"), ("failing-too", "error")])
    pinned = send(routed, "failing", provider_name="failing-too")
    assert (pinned.state, tried(pinned)) == (QUEUED, [("failing-too", "error")])
    spent = send(routed, "failing", max_attempts=1)
    assert (spent.state, tried(spent)) == (FAILED, [("failing", "error")])


def test_a_drained_provider_is_passed_over_and_others_take_its_messages(routed: Server) -> None:
    routed.providers.DrainProvider(DrainProviderRequest(name="drained"), timeout=TIMEOUT)
    assert tried(send(routed, "drained")) == [("good", "success")]
    pinned = send(routed, "drained", provider_name="drained")
    assert (pinned.state, tried(pinned)) == (QUEUED, [])
    assert [
        (one.provider_name, one.tier, one.eligible, one.obstacle)
        for one in explain(routed, of("drained", sms())).candidates
    ] == [
        ("drained", 1, False, dispatch_service_pb2.ROUTE_OBSTACLE_DRAINED),
        ("good", 2, True, dispatch_service_pb2.ROUTE_OBSTACLE_UNSPECIFIED),
    ]


def test_a_provider_that_throttles_is_left_alone_for_as_long_as_it_asks(routed: Server) -> None:
    assert tried(send(routed, "hesitant")) == [("hesitant", "rate_limited"), ("good", "success")]
    for _ in range(5):
        assert tried(send(routed, "hesitant")) == [("good", "success")]
    cooling, _ = explain(routed, of("hesitant", sms())).candidates
    assert cooling.obstacle == dispatch_service_pb2.ROUTE_OBSTACLE_COOLING_DOWN
    pinned = send(routed, "hesitant", provider_name="hesitant")
    assert (pinned.state, tried(pinned)) == (QUEUED, [])
    assert pinned.next_attempt_time.ToNanoseconds() > pinned.create_time.ToNanoseconds() + 3500e9
    assert provider(routed, "hesitant").breaker.calls == 0, "it is healthy"


def test_a_pass_that_found_nobody_is_followed_by_others_until_the_attempts_are_spent(serve: Serve) -> None:
    server = serve(
        toml=mock("one", ERRORS, STAYS_CLOSED) + mock("two", ERRORS, STAYS_CLOSED),
        delivery__backoff_base="1ms",
        delivery__backoff_max="1ms",
    )
    for name in ("one", "two"):  # that have taken something, so that there is no end to their patience
        assert dispatch(server, sms("+15005550006"), provider_name=name).state == SENT
    both = [("one", "error"), ("two", "error")]
    assert tried(until(server, dispatch(server), FAILED)) == [*both, *both, ("one", "error")]
    assert tried(until(server, dispatch(server, max_attempts=6), FAILED)) == both * 3

    # One of them works again.
    message = dispatch(server, max_attempts=100)
    assert message.state == QUEUED
    update(server, "two", error_ratio=0)
    sent = until(server, message, SENT)
    assert tried(sent) == [*both * (len(sent.attempts) // 2 - 1), ("one", "error"), ("two", "success")]
    assert sent.message_id == message.message_id


def dispatched(server: Server, count: int, at_once: int = 100) -> Iterator[Message]:
    """The records of so many messages as their calls gave them, `at_once` of which are under way at any time."""
    under_way = [server.dispatch.Dispatch.future(request(), timeout=TIMEOUT) for _ in range(at_once)]
    for number in range(count):
        yield under_way[number % at_once].result().message
        if number < count - at_once:
            under_way[number % at_once] = server.dispatch.Dispatch.future(request(), timeout=TIMEOUT)


@pytest.mark.parametrize(
    ("count", "breaker"),
    [
        (500, 'breaker = { open_for = "50ms", open_for_max = "50ms" }'),
        pytest.param(20_000, "", marks=pytest.mark.long),
    ],
)
def test_nearly_every_message_is_sent_and_hardly_one_needs_another_attempt(
    serve: Serve, capsys: pytest.CaptureFixture[str], count: int, breaker: str
) -> None:
    server = serve(toml=mock("first", ERRORS, breaker) + mock("second"))
    before = [dispatch(server) for _ in range(10)]
    assert {tuple(tried(one)) for one in before} == {(("first", "error"), ("second", "success"))}
    assert provider(server, "first").breaker.state == BREAKER_STATE_OPEN

    answers = list(dispatched(server, count))
    assert len({one.message_id for one in answers}) == count
    # A few have met the one that fails while the other had its hands full: they are back in the queue.
    reported = [one if one.state == SENT else until(server, one, SENT) for one in answers]
    at_once = sum(one.state == SENT for one in answers)
    sent = sum(one.state == SENT for one in reported)
    attempts = sum(len(one.attempts) for one in reported)
    fared = Counter(f"{name} {outcome}" for one in reported for name, outcome in tried(one))
    with capsys.disabled():
        figures = ", ".join(f"{times} times {what}" for what, times in fared.items())
        print(f"\n{sent} of {count} SENT ({at_once} at once), {attempts / count:.4f} attempts a message: {figures}")  # noqa: T201
    assert sent >= 0.9999 * count
    assert attempts <= 1.1 * count

    # The provider that recovers gets its messages back.
    if breaker:
        update(server, "first", error_ratio=0)
        eventually(lambda: dispatch(server).provider_name == "first")
        assert {tuple(tried(dispatch(server))) for _ in range(10)} == {(("first", "success"),)}
    assert server.terminate() == 0
    assert server.rows("SELECT DISTINCT state FROM messages") == [("sent",)]
    assert server.log("internal_error") == []
