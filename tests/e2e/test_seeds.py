"""Same seed, same outcomes: per provider, by attempt, run after run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from tests.e2e.calls import (
    AT_MOST_ONCE,
    NO_RETRY,
    dispatch,
    dispatch_all,
    email,
    get,
    provider,
    sms,
    until_eligible,
    update,
)
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually

from postwire.v1 import message_pb2
from postwire.v1.message_pb2 import OutboundMessage

DRAWS = 25
RATIOS = {"error_ratio": 0.2, "rate_limited_ratio": 0.2, "uncertain_ratio": 0.2, "rejected_ratio": 0.2}
MASK = (1 << 64) - 1


def expected(seed: int) -> Iterator[int]:
    """What the design says a seed draws with `RATIOS`: SplitMix64, written down once more."""
    outcomes = ("ERROR", "RATE_LIMITED", "UNCERTAIN", "REJECTED", "SUCCESS")
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        x = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        x ^= x >> 31
        yield message_pb2.Outcome.Value(f"OUTCOME_{outcomes[int((x >> 11) * 2**-53 * 5)]}")


def first(seed: int, count: int = DRAWS) -> list[int]:
    return [outcome for outcome, _ in zip(expected(seed), range(count), strict=False)]


def outcome_of(server: Server, message: OutboundMessage) -> int:
    """The outcome of a message's only attempt: what was throttled is not tried again while a test runs."""
    until_eligible(server, message)  # it may have throttled the one before
    (attempt,) = dispatch(server, message, max_attempts=1, delivery_guarantee=AT_MOST_ONCE).attempts
    return attempt.outcome


def draw(server: Server, message: OutboundMessage, count: int = DRAWS) -> list[int]:
    return [outcome_of(server, message) for _ in range(count)]


def settings(provider: str, seed: int | None, ratios: Mapping[str, float] = RATIOS) -> dict[str, str]:
    # The breaker is kept out of it: with a fifth of successes it would open. And so is throttling, as far as can be.
    values = {
        "breaker__minimum_calls": "100000",
        "breaker__window_calls": "100000",
        "retry_after": "1ms",
        **{name: str(ratio) for name, ratio in ratios.items()},
        **({} if seed is None else {"seed": str(seed)}),
    }
    return NO_RETRY | {f"providers__{provider}__{name}": value for name, value in values.items()}


def test_the_same_seed_draws_the_same_outcomes_whatever_else_happens(serve: Serve) -> None:
    server = serve(**settings("sms_mms", 42) | settings("email", 42))
    assert draw(server, sms()) == first(42)
    assert len(set(first(42))) == 5, "or this proves little"

    server.restart()
    seen = []
    for number in range(DRAWS):
        if number % 3:
            outcome_of(server, email())
        outcome_of(server, sms("+15005550002"))  # forced: uses no draw
        seen.append(outcome_of(server, sms()))
    assert seen == first(42)

    server.restart(**settings("sms_mms", 43))
    assert draw(server, sms()) == first(43) != first(42)
    assert draw(server, email()) == first(42)


def test_callers_side_by_side_share_out_the_same_draws(serve: Serve) -> None:
    server = serve(**settings("sms_mms", 2**64 - 1))
    sent = dispatch_all(server, [sms()] * DRAWS, max_attempts=1, delivery_guarantee=AT_MOST_ONCE)
    # Some come while the provider has throttled another: they wait, and have their attempt and their draw then.
    for one in sent:
        eventually(lambda: get(server, one).outcome)  # noqa: B023  # called at once
    assert sorted(get(server, one).outcome for one in sent) == sorted(first(2**64 - 1))
    assert {len(get(server, one).attempts) for one in sent} == {1}


def test_an_update_seeds_anew_and_lasts_until_the_server_stops(serve: Serve) -> None:
    server = serve(**settings("sms_mms", 1))
    draw(server, sms(), 5)
    for seed in (7, 0, 7):
        updated = update(server, "sms-mms", seed=seed)
        assert (updated.seed, updated.seeded) == (seed, True)
        assert draw(server, sms(), 20) == first(seed, 20)
    update(server, "sms-mms", error_ratio=1, rate_limited_ratio=0, uncertain_ratio=0, rejected_ratio=0)
    assert set(draw(server, sms(), 5)) == {message_pb2.OUTCOME_ERROR}
    assert draw(server, email(), 5) == [message_pb2.OUTCOME_SUCCESS] * 5

    server.restart()
    assert draw(server, sms(), 20) == first(1, 20)


def test_a_provider_without_a_seed_says_which_one_it_took(serve: Serve) -> None:
    server = serve(**settings("sms_mms", None, {}), providers__email__seed="42")
    seeds = {}
    for line in server.log("provider"):
        shown = provider(server, line["provider_name"])
        assert (shown.seed, shown.seeded) == (line["seed"], line["seeded"])
        seeds[shown.name] = (shown.seed, shown.seeded)
    assert seeds["email"] == (42, True)
    assert seeds["sms-mms"][1] is False

    # The logged seed makes the run repeatable.
    update(server, "sms-mms", **RATIOS)
    assert draw(server, sms(), 20) == first(seeds["sms-mms"][0], 20)


@pytest.mark.parametrize("seed", ["-1", str(2**64), "1.5"])
def test_a_seed_of_more_than_64_bits_stops_the_boot(serve: Serve, seed: str) -> None:
    with pytest.raises(AssertionError, match=r"providers\.email\.seed"):
        serve(providers__email__seed=seed)
