"""How long it takes to be back after a kill -9, with attempts under way and very many messages that are due.

Until the process serves, until the first of them is sent, and until all of them are, each from the start of the new
process. What was under way is not known to have been sent, so that it is tried again after a while, as any retry is.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import apsw
from tests.bench.bench import HOUR, Bench
from tests.bench.figures import Case, Measurement
from tests.bench.jobs import Round
from tests.bench.prefill import fill
from tests.bench.processes import BenchError, postwire_server, store_of
from tests.bench.progress import say
from tests.bench.report import Result, Table
from tests.bench.rounds import wait_until
from tests.bench.stores import count, has

UNDER_WAY: Final = 64
"""Attempts, as many as `max_concurrent` allows by default."""

TIMEOUT: Final = 600.0
CASE: Final = Case("recovery", "what waited, from start to all sent")
CONFIG: Final = '[providers.sms-mms]\nkind = "mock"\nchannels = ["sms"]\nlatency = "{latency}s"\n'
_SUCCESS: Final = "attempts WHERE outcome = 'success'"


def measure(bench: Bench) -> Result:
    """See the module."""
    waiting = bench.scale.recovered
    fill(bench, "filled", waiting, later=HOUR)
    _make_due(store_of("filled", bench.folder))
    measurements: list[Measurement] = []
    serving: list[float] = []
    first: list[float] = []
    for number in range(1, bench.scale.recoveries + 1):
        name = f"recovery-{number}"
        for file in bench.folder.glob("filled.db*"):
            shutil.copy(file, bench.folder / file.name.replace("filled", name))
        say(f"recovery {number} of {bench.scale.recoveries}: a kill with {UNDER_WAY} attempts under way")
        _kill_in_mid_send(bench, name)
        say(f"recovery {number} of {bench.scale.recoveries}: {waiting:,} messages")
        store = store_of(name, bench.folder)
        started = time.monotonic()
        with postwire_server(name, bench.folder, config=CONFIG.format(latency=0)) as server:
            serving.append(server.boot)
            first.append(wait_until(partial(has, store, _SUCCESS), TIMEOUT) - started)
            done = wait_until(partial(_is_settled, store), TIMEOUT) - started
            measurements.append(Measurement(CASE.name, number, waiting, server.cpu(), Round(done, None, None, {})))
        _check(store, waiting)
    remark = (
        f"After a kill -9 with {UNDER_WAY} attempts under way and {waiting - UNDER_WAY:,} messages due, it serves after"
        f" {_shown(serving)}; the first is sent after {_shown(first)}, all are after"
        f" {_shown([one.round.wall for one in measurements])}."
    )
    return Result([], Table("Recovery", [CASE], measurements, remarks=[remark]))


def _make_due(store: Path) -> None:
    """Let the hour be over for which the messages were put off."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.pragma("synchronous", "off")
        now = time.time_ns() // 1000
        connection.execute("UPDATE messages SET send_time = ?1, next_attempt_time = ?1", (now,))
    finally:
        connection.close()


def _kill_in_mid_send(bench: Bench, name: str) -> None:
    store = store_of(name, bench.folder)
    config = CONFIG.format(latency=HOUR)
    with postwire_server(name, bench.folder, config=config, ends_with=-signal.SIGKILL) as server:
        wait_until(lambda: count(store, "attempts") >= UNDER_WAY, TIMEOUT)
        os.kill(server.pid, signal.SIGKILL)


def _is_settled(store: Path) -> bool:
    return not has(store, "messages WHERE state IN ('queued', 'sending')")


def _check(store: Path, waiting: int) -> None:
    found = (count(store, "messages WHERE state = 'sent'"), count(store, "attempts"), count(store, _SUCCESS))
    if found != (expected := (waiting, waiting + UNDER_WAY, waiting)):
        raise BenchError(f"recovery: of messages sent, attempts and successes the store is to hold {expected}: {found}")


def _shown(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f}–{max(seconds):.2f})"
