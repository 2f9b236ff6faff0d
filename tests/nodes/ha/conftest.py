"""Nodes on a database that fails over by itself: `make test-ha` alone.

Where something is missing its name is given, and the tests are skipped.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.nodes.chaos import Chaos
from tests.nodes.ha.packages import install, missing
from tests.nodes.ha.patroni import Patroni

_numbers = itertools.count(1)


class FailingOver(Chaos):
    """Nodes on a cluster. Each goes its own ways to the members."""

    def __init__(self, folder: Path, patroni: Patroni, database: str) -> None:
        super().__init__(folder, patroni.url(database), nodes=2)
        self.patroni = patroni
        self._database = database

    def url_for(self, name: str) -> str:
        """See `Chaos.url_for`."""
        return self.patroni.way_of(f"{self._database}-{name}", self._database)

    def ways_of(self, node: str, members: tuple[int, ...]) -> list[str]:
        """The names of the proxies from a node to members."""
        return [f"{self._database}-{node}-{member}" for member in members]

    def longest_pause(self, after: int) -> tuple[float, float]:
        """For how long (s) nothing was acknowledged, at the most, and how long after a time (ns) that began."""
        times = sorted(one.time for one in self.ledger.acknowledged if one.time >= after - 1_000_000_000)
        pauses = [(b - a, a) for a, b in itertools.pairwise(times)]
        longest, begun = max(pauses, default=(0, after))
        return longest / 1e9, (begun - after) / 1e9


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("ha")


@pytest.fixture(scope="session")
def patroni() -> Iterator[Patroni]:
    if lacking := missing():
        pytest.skip(lacking)
    made = Patroni(install())
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes a line for the summary."""
    return functools.partial(record_property, "figure")


@pytest.fixture
async def chaos(tmp_path: Path, patroni: Patroni) -> AsyncIterator[FailingOver]:
    patroni.healthy()
    name = f"ha_{next(_numbers)}"
    connection = await asyncpg.connect(patroni.url())
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    made = FailingOver(tmp_path, patroni, name)
    try:
        await made.start(callers=4)
        yield made
    finally:
        await made.stop()
