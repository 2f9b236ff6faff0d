"""The disk fails a call, each that a store makes in turn: never a success without durability, and never a wedge.

The script is the same in every run: a store is made, used and closed, and all of that once more. What is refused is
repeated until it is done, as callers are told to do.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import pytest
from tests.support.faults.faulty import FAULTS, Faulty
from tests.support.faults.folders import checkpoints_after, files_of, put
from tests.support.faults.ledger import STORE, Ledger, reopened
from tests.support.faults.vfs import lies_on
from tests.support.faults.workload import MAX_REFUSED, Workload

from postwire.core.errors import StoreUnavailable
from postwire.core.listing import MessageFilter
from postwire.core.message import DEFAULT_TENANT
from postwire.outbox.base import OutboxError, QueueKey
from postwire.outbox.sqlite import SqliteOutbox, writer

DEADLINE: Final = 30.0
"""In seconds. A script takes a fraction of one; what takes longer is wedged."""
STEPS: Final = 3
"""Of each client, between an opening and a closing."""
TIMES: Final = (1, 8)
"""How many calls fail, one after another."""


@pytest.fixture(autouse=True)
def _probe_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PROBE_INTERVAL", 0.001)


@dataclass(slots=True)
class Run:
    """What came of one script: how often the store refused to open, a write or a read, and how often it was away."""

    refused: Counter[str] = field(default_factory=Counter)
    away: int = 0
    problems: list[str] = field(default_factory=list)


async def opened(path: Path, run: Run) -> SqliteOutbox:
    """Open a store, and again where that fails, as whoever supervises a server does."""
    for _ in range(MAX_REFUSED):
        try:
            return await SqliteOutbox.open(str(path))
        except OutboxError as error:
            if "in use" in str(error):
                raise AssertionError("the one before has not let go of it") from error
            run.refused["open"] += 1
    raise AssertionError("the store does not open any more")


async def look(outbox: SqliteOutbox, run: Run) -> None:
    """Ask for all that can be asked for."""
    reads: list[Callable[[], Awaitable[object]]] = [
        outbox.stats,
        lambda: outbox.heads([QueueKey(DEFAULT_TENANT, "q")], 0, 100),
        outbox.next_expiry,
        lambda: outbox.orphans(100),
        lambda: outbox.list(MessageFilter(), 100, None, DEFAULT_TENANT),
        lambda: outbox.scan_queued((), 100),
    ]
    for read in reads:
        for _ in range(MAX_REFUSED):
            try:
                await read()
                break
            except StoreUnavailable:
                run.refused["read"] += 1
        else:
            raise AssertionError("the store cannot be read any more")


async def use(outbox: SqliteOutbox, ledger: Ledger, random: Random, run: Run) -> None:
    """Write and read, and see that the store says when it is away, and that it is back."""
    heard: list[bool] = []
    outbox.on_availability(heard.append)
    workload = Workload(outbox, ledger, random)
    await workload.run(STEPS)
    await look(outbox, run)
    run.refused["write"] += workload.refused
    run.away += len(heard) // 2
    if heard != [False, True] * (len(heard) // 2) or bool(heard) != bool(workload.refused) or not outbox.available:
        run.problems.append(f"{workload.refused} writes were refused, and what was heard of it is {heard}")


async def play(folder: Path, disk: Faulty) -> Run:
    """Play the script, and look at what a crash, a power cut and an orderly end leave of the store."""
    run, random = Run(), Random(1)
    ledger = Ledger(lambda: len(disk.steps))
    store = put(folder / "store", {}) / STORE
    ends: dict[str, dict[str, bytes]] = {}
    with checkpoints_after(20), lies_on(disk, store.parent):
        for _ in range(2):
            outbox = await opened(store, run)
            try:
                async with asyncio.timeout(DEADLINE):
                    await use(outbox, ledger, random, run)
            except TimeoutError:
                run.problems.append("the store is wedged")
                return run
            finally:
                ends["crash"] = files_of(store.parent)
                ends["power cut"] = disk.platter(random).after_cut(random)
                await outbox.close()
    ends["close"] = files_of(store.parent)
    ends["power cut after the close"] = disk.platter(random).after_cut(random)
    for end, files in ends.items():
        verdict, _ = await reopened(put(folder / "end", files) / STORE, ledger, len(disk.steps))
        run.problems += [f"{end}: {problem}" for problem in verdict.lost + verdict.wrong]
    return run


async def play_with_faults(folder: Path, most: int | None = None) -> str:
    """Play the script with each fault at each call that it may befall, or at `most` of them. Returns the figures."""
    dry = Faulty()
    assert await play(folder, dry) == Run()
    runs, refused, problems = Counter[str](), Counter[str](), list[str]()
    quiet = away = 0
    for name, fault in FAULTS.items():
        for times in TIMES:
            calls = dry.calls[fault.kind]
            for first in range(0, calls, -(-calls // (most or calls))):
                run = await play(folder, disk := Faulty(fault, first, times))
                assert disk.failed, "the script has changed"
                runs[name] += 1
                refused += run.refused
                quiet += not run.refused.total()
                away += run.away
                problems += [f"{name}, {times} from call {first} on: {problem}" for problem in run.problems]
    assert problems == []
    assert set(refused) == {"open", "write", "read"}
    assert away
    return (
        f"{runs.total():,} scripts with a fault each ({', '.join(f'{runs[name]} {name}' for name in FAULTS)}), "
        f"{dry.calls.total():,} calls in each: {quiet:,} were told of nothing, {refused['write']:,} writes, "
        f"{refused['read']:,} reads and {refused['open']:,} openings refused, {away:,} times away and back; none wrong"
    )


async def test_a_disk_fault_at_any_call_loses_nothing_and_wedges_nothing(
    folder: Path, note: Callable[[str], None]
) -> None:
    note(await play_with_faults(folder, 2))


@pytest.mark.long
async def test_a_disk_fault_at_each_call_loses_nothing_and_wedges_nothing(
    folder: Path, note: Callable[[str], None]
) -> None:
    note(await play_with_faults(folder))
