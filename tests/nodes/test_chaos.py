"""Nodes are killed, ended, stopped and started, and their database crashes: nothing is lost, or sent in silence."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.nodes.callers import ROOM
from tests.nodes.chaos import LocalChaos
from tests.nodes.conftest import with_postgres
from tests.nodes.reading import on_record
from tests.support.waiting import PATIENCE

SECONDS = 6.0
"""How long `make test` does so. Each seed is another course of events."""

LONG = 300.0


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes a line for the summary."""
    return functools.partial(record_property, "figure")


@pytest.fixture
async def chaos(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[LocalChaos]:
    made = with_postgres(lambda: LocalChaos(tmp_path, seed=getattr(request, "param", 1)))
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest.mark.parametrize("chaos", [1], indirect=True)
@pytest.mark.parametrize("seconds", [SECONDS, pytest.param(LONG, marks=pytest.mark.long)], ids=["seconds", "minutes"])
async def test_whatever_is_done_to_nodes_and_their_database_nine_things_hold(
    chaos: LocalChaos, note: Callable[[str], None], seconds: float
) -> None:
    await chaos.go_on(seconds)
    record = await chaos.settle()
    note(f"nodes: {chaos.summary(record)}")
    assert chaos.verify(record) == {}
    assert chaos.strange() == []


@pytest.mark.long
async def test_the_leader_removes_what_is_weeks_old_whoever_leads(chaos: LocalChaos) -> None:
    async with asyncio.timeout(PATIENCE):
        while not chaos.ledger.aged:
            await chaos.age(at_rest_for=2.0)
            await asyncio.sleep(ROOM)
    for node in chaos.cluster.nodes:  # one of which leads: who follows it begins to walk
        await node.kill()
        chaos.start_node(node)
    async with asyncio.timeout(PATIENCE):
        while (await on_record(chaos.url)).messages.keys() & chaos.ledger.aged:  # noqa: ASYNC110  nodes tell nobody
            await asyncio.sleep(ROOM)
    assert chaos.verify(await chaos.settle()) == {}
    assert chaos.strange() == []
