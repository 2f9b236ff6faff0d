"""The disk fails, the server is killed before it could recover, and the next one starts on what the system shows it.

After an fsync that has failed, part of that is only in the system's memory, and no later fsync writes it. Whatever the
next server shows to anyone has to survive a power cut all the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import pytest
from tests.support.faults.faulty import FAULTS, Faulty
from tests.support.faults.folders import checkpoints_after, files_of, put
from tests.support.faults.ledger import STORE, Ledger, find, reopened
from tests.support.faults.power import Recorder
from tests.support.faults.vfs import lies_on
from tests.support.faults.workload import Workload

from postwire.outbox.base import OutboxError
from postwire.outbox.sqlite import SqliteOutbox, boots, schema, writer

STEPS: Final = 4
"""Of each client, in each of the two lives."""
CUTS: Final = 4
"""In each second life."""


@pytest.fixture(autouse=True)
def _never_recover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PROBE_INTERVAL", 3600.0)


@dataclass(slots=True)
class Report:
    """What came of many faults."""

    killed: Counter[str] = field(default_factory=Counter)
    cuts: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        killed = ", ".join(f"{count} {how}" for how, count in sorted(self.killed.items()))
        return (
            f"{self.killed.total():,} servers killed after a disk fault ({killed}), their successors through "
            f"{self.cuts:,} power cuts: {len(self.problems):,} wrong"
        )


async def killed(folder: Path, disk: Faulty, ledger: Ledger, random: Random) -> tuple[dict[str, bytes], str]:
    """A life that ends with its first fault. Returns the files as they can be read then, and where the fault was."""
    with lies_on(disk, folder):
        try:
            outbox = await SqliteOutbox.open(str(folder / STORE))
        except OutboxError:
            files = files_of(folder)
            disk.is_gone = True
            return files, "while it opened"
        is_away = asyncio.Event()
        outbox.on_availability(lambda _: is_away.set())
        work = asyncio.create_task(Workload(outbox, ledger, random).run(STEPS))
        away = asyncio.create_task(is_away.wait())
        await asyncio.wait([work, away], return_when=asyncio.FIRST_COMPLETED)
        for task in (work, away):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        files = files_of(folder)
        disk.is_gone = True
        await outbox.close()
        return files, "in a commit" if is_away.is_set() else "in a checkpoint"


async def fail(folder: Path, fault: str, first: int, seed: int, report: Report) -> bool:
    """Have the call with the number `first` fail, and so on. Returns False where there was none."""
    where = f"{fault}, seed {seed}, call {first}"
    random = Random(where)
    disk = Faulty(FAULTS[fault], first)
    ledger = Ledger(lambda: len(disk.steps))
    with checkpoints_after(random.choice((20, 1_000))):
        files, how = await killed(put(folder / "first", {}), disk, ledger, random)
    if not disk.failed:
        return False
    report.killed[how] += 1
    second = Recorder(disk.platter(random))
    store = put(folder / "second", files) / STORE
    with lies_on(second, store.parent):
        outbox = await SqliteOutbox.open(str(store))
        opened = len(second.steps)
        found = await find(outbox, store)
        verdict = ledger.check_messages(found, len(disk.steps) + 1)
        report.problems += [f"{where}, killed: {one}" for one in verdict.lost + verdict.wrong]
        ledger = Ledger(lambda: len(second.steps), found)
        await Workload(outbox, ledger, random).run(STEPS)
        end = len(second.steps)
        await outbox.close()
    moments = [opened, *sorted(random.sample(range(opened + 1, end), CUTS - 1))]
    for at, platter in second.platters(moments, random):
        files = platter.after_cut(random)
        verdict, _ = await reopened(put(folder / "cut", files) / STORE, ledger, at)
        report.problems += [f"{where}, cut after {at} steps: {one}" for one in verdict.lost + verdict.wrong]
        report.cuts += 1
    return True


async def fail_each(folder: Path, fault: str, seeds: int, stride: int = 1) -> Report:
    """Have each `stride`th call of some lives fail."""
    report = Report()
    for seed in range(seeds):
        first = 0
        while await fail(folder, fault, first, seed, report):
            first += stride
    return report


@pytest.mark.parametrize(
    ("fault", "seeds", "stride"),
    [
        ("failing fsync", 1, 1),
        ("disk full", 1, 50),
        pytest.param("failing fsync", 40, 1, marks=pytest.mark.long),
        pytest.param("disk full", 3, 1, marks=pytest.mark.long),
    ],
)
async def test_what_a_fault_has_left_is_on_disk_before_anything_is_put_behind_it(
    folder: Path, note: Callable[[str], None], fault: str, seeds: int, stride: int
) -> None:
    report = await fail_each(folder, fault, seeds, stride)
    note(f"{fault}: {report}")
    assert report.problems == []
    assert {"while it opened", "in a commit"} <= report.killed.keys()


async def test_a_log_that_is_taken_as_it_is_read_is_lost_with_what_is_behind_it(
    folder: Path, note: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_renew_log", lambda _: None)
    # As with somebody who reads: else the boot folds the log into the file, and adds nothing behind it.
    monkeypatch.setattr(boots, "truncate_log", lambda _: False)
    report = Report()
    first = 0
    while not report.problems and await fail(folder, "failing fsync", first, 1, report):
        first += 1
    note(f"without the log written again: {report}")
    assert any("revision" in problem for problem in report.problems)
