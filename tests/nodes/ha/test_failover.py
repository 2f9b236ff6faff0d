"""The leader of the database goes, in five ways: nothing acknowledged is lost, and writes go on by themselves."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from tests.nodes.ha.conftest import FailingOver
from tests.nodes.ha.patroni import Patroni

BEFORE = AFTER = 5.0
"""Seconds of load."""


@contextmanager
def leader_killed(patroni: Patroni) -> Iterator[None]:
    patroni.signal(patroni.pids(_leader(patroni), server_only=True), signal.SIGKILL)
    yield


@contextmanager
def host_killed(patroni: Patroni) -> Iterator[None]:
    leader = _leader(patroni)
    patroni.signal(patroni.pids(leader), signal.SIGKILL)
    yield
    patroni.start_member(leader)


@contextmanager
def host_stopped(patroni: Patroni) -> Iterator[None]:
    pids = patroni.pids(_leader(patroni))
    patroni.signal(pids, signal.SIGSTOP)
    yield
    patroni.signal(pids, signal.SIGCONT)


@contextmanager
def standby_killed(patroni: Patroni) -> Iterator[None]:
    standby = patroni.standby()
    patroni.signal(patroni.pids(standby), signal.SIGKILL)
    yield
    patroni.start_member(standby)


@contextmanager
def switchover(patroni: Patroni) -> Iterator[None]:
    patroni.switch_over()
    yield


def _leader(patroni: Patroni) -> int:
    leader = patroni.leader()
    assert leader
    return leader


@pytest.mark.parametrize("fault", [leader_killed, host_killed, host_stopped, standby_killed, switchover])
async def test_nothing_is_lost_whatever_becomes_of_the_leader(
    chaos: FailingOver, note: Callable[[str], None], fault: Callable[[Patroni], AbstractContextManager[None]]
) -> None:
    patroni = chaos.patroni
    await asyncio.sleep(BEFORE)
    at, leader = time.time_ns(), _leader(patroni)
    with_fault = await asyncio.to_thread(_entered, fault, patroni)
    before = len(chaos.ledger.acknowledged)
    try:
        # Patroni keeps its word for at least as long as its leader has the key: only then another may lead.
        await chaos.acknowledged_again(since=time.time_ns() + 2_000_000_000)
        await asyncio.sleep(AFTER)
    finally:
        await asyncio.to_thread(with_fault.__exit__, None, None, None)
    await asyncio.to_thread(patroni.healthy)
    await asyncio.sleep(AFTER)
    record = await chaos.settle()
    pause, begun = chaos.longest_pause(at)
    note(
        f"{fault.__name__}: pg{leader}, then pg{patroni.leader()}; nothing acknowledged for {pause:.1f} s, beginning "
        f"{begun:.1f} s after the fault, {len(chaos.ledger.acknowledged) - before:,} acknowledged after it; "
        f"{chaos.summary(record)}"
    )
    assert chaos.verify(record) == {}
    assert chaos.strange() == []


def _entered(
    fault: Callable[[Patroni], AbstractContextManager[None]], patroni: Patroni
) -> AbstractContextManager[None]:
    entered = fault(patroni)
    entered.__enter__()
    return entered
