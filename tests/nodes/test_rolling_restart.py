"""Three nodes are replaced one after another, by ones with other rules, while messages come."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.nodes.chaos import LocalChaos
from tests.nodes.conftest import with_postgres
from tests.nodes.reading import keep_moves, moves
from tests.support.waiting import PATIENCE

from postwire.core.outcome import Outcome

RATE = 200.0
"""Messages a second that are sent, as far as the machine goes. What it comes to is a figure, and no verdict."""

FRAME, MOST = 20, 12
"""How many messages go in a frame, and how many frames are open at once at the most: more than come at that rate in the
time in which one is answered, and no more than a machine that is slower gets done before their callers give them up."""

PER_NODE = 400
"""How many messages are acknowledged before the next node is replaced."""

PATIENT = 25.0
"""Seconds that an attempt may take: more than any takes on a busy machine, and less than the grace."""


@pytest.fixture
async def chaos(tmp_path: Path) -> AsyncIterator[LocalChaos]:
    made = with_postgres(lambda: LocalChaos(tmp_path, grace="30s", attempt=PATIENT))
    try:
        await made.start(callers=MOST, rate=RATE, frame=FRAME, lane="left")
        yield made
    finally:
        await made.stop()


@pytest.mark.long
async def test_nodes_are_replaced_under_load_and_nothing_is_lost_or_uncertain(
    chaos: LocalChaos, record_property: Callable[[str, object], None]
) -> None:
    await keep_moves(chaos.url)
    started = time.monotonic()
    for node in chaos.cluster.nodes:
        await _acknowledged(chaos, PER_NODE)
        assert await node.terminate() == 0
        chaos.start_node(node, "right")
        await node.ready()
    await _acknowledged(chaos, PER_NODE)
    took = time.monotonic() - started
    made = len(chaos.ledger.acknowledged)
    record = await chaos.settle()
    functools.partial(record_property, "figure")(
        f"rolling restart: {made / took:,.0f} messages/s; {chaos.summary(record)}"
    )
    assert chaos.verify(record) == {}
    assert chaos.strange() == []
    # Whoever drains lets what is under way come to its end: no more is uncertain than providers have said.
    said = {(one.message_id, one.attempt): set(one.answers.values()) for one in chaos.all_handed()}
    cut = [
        f"{message_id}: {attempt}, answered with {said.get((message_id, attempt.number))}"
        for message_id, kept in record.messages.items()
        for attempt in kept.attempts
        if attempt.outcome is Outcome.UNCERTAIN and Outcome.UNCERTAIN not in said.get((message_id, attempt.number), ())
    ]
    assert cut == []
    # What waits for the rule that is no more is moved, once, and nothing else is: what new nodes know and old ones do
    # not is left to those that serve it.
    moved = await moves(chaos.url)
    sources = {source for _, source, _ in moved}
    assert len(sources) == 1
    assert not sources & {target for _, _, target in moved}
    assert len({message_id for message_id, _, _ in moved}) == len(moved)


async def _acknowledged(chaos: LocalChaos, more: int) -> None:
    """Return once so many more messages are acknowledged."""
    enough = len(chaos.ledger.acknowledged) + more
    async with asyncio.timeout(PATIENCE):
        while len(chaos.ledger.acknowledged) < enough:  # noqa: ASYNC110  processes tell nobody
            await asyncio.sleep(0.05)
