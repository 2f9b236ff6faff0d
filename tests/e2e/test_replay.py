"""Same seeds, same run: outcomes by provider and attempt, whoever calls in whatever order; weights and backoff too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final

from tests.e2e.calls import QUEUED, SENDING, SENT, TIMEOUT, dispatch, email, get, mms, sms, tried, update
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.e2e.toml import STAYS_CLOSED, mock, rule
from tests.support.otlp import Collector

from postwire.core.splitmix import SplitMix64, stream
from postwire.v1.dispatch_service_pb2 import ListMessagesRequest, MessageFilter
from postwire.v1.message_pb2 import Message

RATIOS: Final = {"error": 0.2, "rate_limited": 0.05, "uncertain": 0.1, "rejected": 0.15}
SHARES: Final = [f"{outcome}_ratio = {ratio}" for outcome, ratio in RATIOS.items()]


def drawn(seed: int) -> Iterator[str]:
    """What a mock with `RATIOS` makes of its attempts, one after another."""
    draws = SplitMix64(seed)
    while True:
        u, edge = draws.next_unit(), 0.0
        for outcome, ratio in RATIOS.items():
            edge += ratio
            if u < edge:
                yield outcome
                break
        else:
            yield "success"


def rush(server: Server, count: int) -> Counter[str]:
    """Callers of all channels, side by side, until all of theirs is settled. How many attempts each provider had."""
    contents = (sms, mms, email, sms)

    def call(number: int) -> list[Message]:
        return [dispatch(server, contents[(number + one) % 4]()) for one in range(count)]

    with ThreadPoolExecutor(6) as pool:
        sent = [one for messages in pool.map(call, range(6)) for one in messages]
    unsettled = ListMessagesRequest(filter=MessageFilter(states=[QUEUED, SENDING]))
    eventually(lambda: not server.dispatch.ListMessages(unsettled, timeout=TIMEOUT).messages)
    return Counter(name for one in sent for name, _ in tried(get(server, one)))


def test_each_provider_has_its_outcomes_in_the_same_order_run_after_run(serve: Serve) -> None:
    with Collector() as collector:
        soon = 'retry_after = "1ms"'
        server = serve(
            toml=mock("alpha", "seed = 11", *SHARES, STAYS_CLOSED, soon)
            + mock("beta", "seed = 22", *SHARES, STAYS_CLOSED, soon)
            + rule("sms", '["alpha", "beta"]')
            + rule("mms", '[["alpha", "beta"]]')
            + rule("email", '["beta", "alpha"]'),
            telemetry__otlp_endpoint=collector.endpoint,
            delivery__backoff_base="1ms",
            delivery__backoff_max="1ms",
        )
        first = rush(server, 12)
        server.restart()
        second = rush(server, 6)
        update(server, "beta", seed=33)
        third = rush(server, 6)
        assert server.terminate() == 0

        # Spans are told in the order in which attempts ended, and the mock answers at once.
        spans = [one.attributes for one in collector.spans() if one.name.startswith("attempt ")]
        seen = {
            name: [one["postwire.outcome"] for one in spans if one["postwire.provider.name"] == name]
            for name in ("alpha", "beta")
        }
    # A boot starts at the first draw, and so does a new seed; whoever has none goes on where he was.
    assert seen["alpha"] == [
        *islice(drawn(11), first["alpha"]),
        *islice(drawn(11), second["alpha"] + third["alpha"]),
    ]
    assert seen["beta"] == [
        *islice(drawn(22), first["beta"]),
        *islice(drawn(22), second["beta"]),
        *islice(drawn(33), third["beta"]),
    ]
    assert set(seen["alpha"]) == set(seen["beta"]) == {*RATIOS, "success"}, "or this proves little"


def reported(messages: Sequence[Message]) -> list[tuple[list[tuple[str, str]], int]]:
    """What replays of each message: its attempts, and for how long (µs) it waits for the next, if it does."""
    return [
        (tried(one), one.next_attempt_time.ToMicroseconds() - one.update_time.ToMicroseconds())
        if one.state == QUEUED
        else (tried(one), 0)
        for one in messages
    ]


def predicted(delivery_seed: int, count: int) -> list[tuple[list[tuple[str, str]], int]]:
    """The same, worked out from the seeds."""
    weights, backoff = stream(delivery_seed, "weights sms#1"), stream(delivery_seed, "backoff")
    outcomes = {"alpha": drawn_errors(11), "beta": drawn_errors(22)}
    runs = []
    for _ in range(count):
        order = ["alpha", "beta"] if weights.next_unit() < 2 / 3 else ["beta", "alpha"]
        attempts = [(order[0], next(outcomes[order[0]]))]
        if attempts[0][1] == "error":
            attempts.append((order[1], next(outcomes[order[1]])))
        waits = attempts[-1][1] == "error"
        runs.append((attempts, int(backoff.next_unit() * 3600 * 1e6) if waits else 0))
    return runs


def drawn_errors(seed: int) -> Iterator[str]:
    draws = SplitMix64(seed)
    while True:
        yield "error" if draws.next_unit() < 0.5 else "success"


def test_weights_and_backoff_replay_with_the_seed_of_delivery(serve: Serve) -> None:
    count = 40
    server = serve(
        toml=mock("alpha", "seed = 11", "error_ratio = 0.5", STAYS_CLOSED)
        + mock("beta", "seed = 22", "error_ratio = 0.5", STAYS_CLOSED)
        + rule("sms", "[{ alpha = 2, beta = 1 }]"),
        delivery__backoff_base="1h",
        delivery__backoff_max="1h",
        delivery__seed="5",
    )
    run = reported([dispatch(server) for _ in range(count)])
    assert run == predicted(5, count)
    assert len({len(attempts) for attempts, _ in run}) == 2
    assert sum(waits > 0 for _, waits in run) > 3
    server.restart(delivery__seed="6")
    assert reported([dispatch(server) for _ in range(count)]) == predicted(6, count) != run
    assert SENT in {dispatch(server).state for _ in range(10)}
