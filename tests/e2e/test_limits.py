"""A provider at its limits is waited for, unless its route lets messages spill over; the urgent ones go first."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest
from tests.e2e.calls import (
    ACCEPTANCE,
    QUEUED,
    SENDING,
    SENT,
    TIMEOUT,
    dispatch,
    dispatch_all,
    explain,
    get,
    provider,
    sms,
    tried,
    until,
)
from tests.e2e.server import Server
from tests.e2e.toml import case, mock, of

from postwire.v1 import dispatch_service_pb2
from postwire.v1.message_pb2 import PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NORMAL, Message, OutboundMessage
from postwire.v1.provider_service_pb2 import DrainProviderRequest, ResumeProviderRequest

HANGS: Final = 'latency = "1h"\nattempt_timeout = "1h"'
RATE: Final = 20
BURST: Final = 2

ROUTES = (
    mock("spilling", HANGS, "max_concurrent = 2"),
    mock("full", HANGS, "max_concurrent = 1"),
    mock("shared", HANGS, "max_concurrent = 1"),
    mock("single", 'latency = "20ms"', "max_concurrent = 1"),
    mock("rated", f"rate = {RATE}", f"burst = {BURST}"),
    mock("seldom", "rate = 0.001"),
    mock("ranked", 'latency = "1ms"', "max_concurrent = 1"),
    mock("wide"),
    case("spilling", '["spilling", "wide"]', overflow=True),
    case("full", '["full", "wide"]'),
    case("shared", '[["shared", "wide"]]'),
    case("single", '["single", "wide"]'),
    case("rated", '["rated", "wide"]'),
    case("seldom", '["seldom", "wide"]', overflow=True),
    case("ranked", '["ranked"]'),
)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a route for each of the tests. What hangs in it is let go at the end."""
    folder = tmp_path_factory.mktemp("limited")
    (folder / "postwire.toml").write_text("\n".join(ROUTES), encoding="utf-8")
    with Server(folder, server__grace="0s") as running:
        yield running


def many(name: str, count: int) -> list[OutboundMessage]:
    return [of(name, sms()) for _ in range(count)]


def starts(messages: list[Message]) -> list[int]:
    """When the only attempts of messages started (ns since the epoch), in order."""
    return sorted(one.attempts[0].start_time.ToNanoseconds() for one in messages)


def obstacle(server: Server, name: str) -> dispatch_service_pb2.RouteObstacle.ValueType:
    return explain(server, of(name, sms())).candidates[0].obstacle


def test_one_that_has_its_hands_full_is_waited_for(limited: Server) -> None:
    sent = dispatch_all(limited, many("single", 6))
    # The calls have waited as well.
    assert [(one.state, tried(one)) for one in sent] == [(SENT, [("single", "success")])] * 6
    attempts = sorted((one.attempts[0] for one in sent), key=lambda one: one.start_time.ToNanoseconds())
    for before, after in itertools.pairwise(attempts):
        ended = before.start_time.ToNanoseconds() + before.duration.ToNanoseconds()
        assert after.start_time.ToNanoseconds() >= ended, "two at once"


def test_one_that_hangs_is_waited_for_too_and_what_waits_has_no_attempt(limited: Server) -> None:
    accepted = [dispatch(limited, one, wait_for=ACCEPTANCE) for one in many("full", 4)]
    assert [one.state for one in accepted] == [SENDING, QUEUED, QUEUED, QUEUED]
    assert tried(accepted[0]) == [("full", "unspecified")]
    for one in accepted[1:]:
        assert tried(one) == []
        # It is due, and a place may be free at any time. The clock of what is due is a little off that of the wall.
        apart = one.next_attempt_time.ToNanoseconds() - one.create_time.ToNanoseconds()
        assert abs(apart) < 1e9
    assert provider(limited, "full").in_flight == 1
    assert obstacle(limited, "full") == dispatch_service_pb2.ROUTE_OBSTACLE_CONCURRENCY_LIMIT
    assert [get(limited, one) for one in accepted] == accepted


def test_with_overflow_others_take_what_is_too_much(limited: Server) -> None:
    accepted = [dispatch(limited, one, wait_for=ACCEPTANCE) for one in many("spilling", 6)]
    assert [one.attempts[0].provider_name for one in accepted] == ["spilling"] * 2 + ["wide"] * 4
    for one in accepted[2:]:
        assert tried(until(limited, one, SENT)) == [("wide", "success")]
    assert provider(limited, "spilling").in_flight == 2
    assert [get(limited, one).state for one in accepted[:2]] == [SENDING] * 2


def test_within_a_tier_whoever_is_free_takes_it(limited: Server) -> None:
    accepted = [dispatch(limited, one, wait_for=ACCEPTANCE) for one in many("shared", 20)]
    assert Counter(one.attempts[0].provider_name for one in accepted) == {"shared": 1, "wide": 19}


def test_a_rate_is_kept_to_and_waited_for(limited: Server) -> None:
    sent = dispatch_all(limited, many("rated", 8))
    assert [(one.state, tried(one)) for one in sent] == [(SENT, [("rated", "success")])] * 8
    taken = starts(sent)
    for first, last in itertools.combinations(range(len(taken)), 2):
        # In any time no more than the rate lets through, and the burst. Half of one for what lies between a permit and
        # the start that is on record.
        assert taken[last] - taken[first] >= (last - first + 0.5 - BURST) / RATE * 1e9


def test_with_overflow_others_take_what_is_too_fast(limited: Server) -> None:
    sent = [dispatch(limited, one) for one in many("seldom", 4)]
    assert [tried(one) for one in sent] == [[("seldom", "success")], *[[("wide", "success")]] * 3]
    assert obstacle(limited, "seldom") == dispatch_service_pb2.ROUTE_OBSTACLE_RATE_LIMIT
    (seldom, _) = explain(limited, of("seldom", sms())).candidates
    assert seldom.eligible_time.ToNanoseconds() > sent[-1].update_time.ToNanoseconds() + 500e9


def test_what_is_urgent_comes_out_of_the_queue_first(limited: Server) -> None:
    limited.providers.DrainProvider(DrainProviderRequest(name="ranked"), timeout=TIMEOUT)
    ranks = [PRIORITY_LOW, PRIORITY_NORMAL, PRIORITY_HIGH] * 3
    queued = [(rank, dispatch(limited, of("ranked", sms()), priority=rank)) for rank in ranks]
    assert {one.state for _, one in queued} == {QUEUED}
    limited.providers.ResumeProvider(ResumeProviderRequest(name="ranked"), timeout=TIMEOUT)
    sent = [(rank, until(limited, one, SENT)) for rank, one in queued]
    sent.sort(key=lambda pair: pair[1].attempts[0].start_time.ToNanoseconds())
    assert [rank for rank, _ in sent] == [PRIORITY_HIGH] * 3 + [PRIORITY_NORMAL] * 3 + [PRIORITY_LOW] * 3
    # And whoever came first, of those that are alike.
    for rank in set(ranks):
        ids = [one.message_id for one_rank, one in sent if one_rank == rank]
        assert ids == sorted(ids)
