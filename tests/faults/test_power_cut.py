"""The power fails at any moment: what was acknowledged is there afterwards, and nothing that nobody asked for.

Below the store is the real SQLite, on a disk of ours: `tests.support.faults.power` says what a power cut may do to it.
A life of a store is recorded once and then cut at many moments; the next life begins with what one of them has left.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import pytest
from tests.support.faults.folders import checkpoints_after, put
from tests.support.faults.ledger import STORE, Found, Ledger, Verdict, reopened
from tests.support.faults.power import Platter, Recorder
from tests.support.faults.vfs import lies_on
from tests.support.faults.workload import Workload

from postwire.outbox.sqlite import SqliteOutbox

LIVES: Final = 3
"""How many lives a store has before a new one is made."""
CUTS: Final = 18
"""In each life, beside one in its opening and one in its closing."""
STEPS: Final = 20
"""Of each client, in a life."""

MOMENTS: Final = ("opening", "commit", "checkpoint", "closing", "between")


@dataclass(slots=True)
class Life:
    """A store from its opening to its end: what was done to its disk, and what those who used it were told."""

    disk: Recorder
    ledger: Ledger
    opened: int
    """How many steps the disk had done when it was open."""
    closing: int
    """And when it was about to be closed."""

    def moments(self, random: Random) -> list[int]:
        """When to cut it: anywhere, and in its opening and its closing, which are short."""
        last = len(self.disk.steps)
        chosen = {
            *random.sample(range(last + 1), CUTS),
            random.randint(0, self.opened),
            random.randint(self.closing, last),
        }
        return sorted(chosen)

    def moment(self, at: int, platter: Platter) -> str:
        """What was going on."""
        if at < self.opened:
            return "opening"
        if at > self.closing:
            return "closing"
        unsynced = platter.unsynced()
        if STORE in unsynced:
            return "checkpoint"
        return "commit" if unsynced else "between"


@dataclass(slots=True)
class Report:
    """What came of many cuts."""

    cuts: Counter[str] = field(default_factory=Counter)
    owned: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, moment: str, verdict: Verdict, where: str) -> None:
        self.cuts[moment] += 1
        self.owned += verdict.owned
        self.lost += [f"{where}: {one}" for one in verdict.lost]
        self.wrong += [f"{where}: {one}" for one in verdict.wrong]

    def __str__(self) -> str:
        moments = ", ".join(f"{self.cuts[one]} {one}" for one in MOMENTS)
        return (
            f"{self.cuts.total():,} power cuts ({moments}) on {self.owned:,} acknowledged writes: "
            f"{len(self.lost):,} lost, {len(self.wrong):,} wrong"
        )


async def live(folder: Path, disk: Recorder, random: Random, sync: str, before: Found | None) -> Life:
    ledger = Ledger(lambda: len(disk.steps), before)
    with checkpoints_after(random.choice((20, 100, 1_000))), lies_on(disk, folder):
        outbox = await SqliteOutbox.open(str(folder / STORE), sync=sync)
        opened = len(disk.steps)
        try:
            await Workload(outbox, ledger, random).run(STEPS)
        finally:
            closing = len(disk.steps)
            await outbox.close()
    return Life(disk, ledger, opened, closing)


async def cut(folder: Path, cuts: int, *, seed: int = 1, sync: str = "full", lies: bool = False) -> Report:
    """Cut the power so many times. A `seed` gives the same cuts again."""
    report = Report()
    files: dict[str, bytes] = {}
    before: Found | None = None
    for number in itertools.count():
        if report.cuts.total() >= cuts:
            break
        random = Random(f"{seed} {number}")
        if number % LIVES == 0:
            files, before = {}, None
        start = Platter.holding(files)
        life = await live(put(folder / "life", files), Recorder(start, lies=lies), random, sync, before)
        moments = life.moments(random)
        goes_on = random.choice(moments)
        for at, platter in life.disk.platters(moments, random):
            image = platter.after_cut(random)
            verdict, found = await reopened(put(folder / "cut", image) / STORE, life.ledger, at)
            report.add(life.moment(at, platter), verdict, f"seed {seed}, life {number}, after {at} steps")
            if at == goes_on and found:
                files, before = image, found
    return report


async def test_a_power_cut_loses_nothing_that_was_acknowledged(folder: Path, note: Callable[[str], None]) -> None:
    report = await cut(folder, 40)
    note(str(report))
    assert (report.lost, report.wrong) == ([], [])
    assert all(report.cuts[moment] for moment in ("commit", "checkpoint"))


@pytest.mark.long
async def test_two_thousand_power_cuts_lose_nothing_that_was_acknowledged(
    folder: Path, note: Callable[[str], None]
) -> None:
    report = await cut(folder, 2_000, seed=2)
    note(str(report))
    assert (report.lost, report.wrong) == ([], [])
    assert all(report.cuts[moment] for moment in MOMENTS)


# That the same cuts would find a loss.


async def test_without_a_sync_per_commit_the_last_commits_are_lost_and_nothing_else_is_wrong(
    folder: Path, note: Callable[[str], None]
) -> None:
    report = await cut(folder, 20, sync="normal")
    note(f"synchronous=normal: {report}")
    assert report.lost
    assert report.wrong == []


async def test_a_disk_that_says_it_has_synced_and_has_not_is_found_out(
    folder: Path, note: Callable[[str], None]
) -> None:
    report = await cut(folder, 10, lies=True)
    note(f"a disk that lies: {report}")
    assert report.lost
    assert report.wrong
