"""Runs cases against each other, a round of each in turn, and tells whose CPU each round took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.figures import Case, Measurement
from tests.bench.jobs import SENT, Job, Round
from tests.bench.processes import BenchError, LoadGenerator, Server
from tests.bench.progress import say

EXPORT_DELAY_MS: Final = 500
"""After this a service exports what has gathered, in place of 5 s: so that the bench need not wait long for it."""

_POLL: Final = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """A case, the server it is for, and what is asked of that. Each message is to be answered with `answer`.

    Where the server `exports`, a round's CPU runs until its next one begins, so that exports afterwards are in it.
    `load` is for a server that speaks no gRPC. `beside` tells the CPU that something beside the server has used (s).
    """

    case: Case
    server: Server
    job: Job
    answer: str = SENT
    exports: bool = False
    load: LoadGenerator | None = None
    beside: Callable[[], float] | None = None


def run_rounds(runs: Sequence[Run], load: LoadGenerator, rounds: int) -> list[Measurement]:
    """That many rounds of each, and one ahead of them that warms everything up and is dropped.

    Interleaved, so that a noisy spell hits all cases alike.

    Raises:
        BenchError: a message was not answered as it should be.
    """
    done: list[tuple[Run, int, Round]] = []
    spans: list[list[float]] = []  # the server's CPU at a round's start and at its end
    last: dict[int, list[float]] = {}  # by server, those that have no end yet
    besides: list[float] = []
    for number in range(rounds + 1):
        for run in runs:
            say(f"round {number} of {rounds}: {run.case.title}")
            before = run.server.cpu()
            if earlier := last.pop(run.server.pid, None):
                earlier.append(before)
            spans.append([before])
            beside = run.beside() if run.beside else 0.0
            done.append((run, number, _run_once(run, load)))
            besides.append(run.beside() - beside if run.beside else 0.0)
            if run.exports:
                last[run.server.pid] = spans[-1]
            else:
                spans[-1].append(run.server.cpu())
    if last:
        time.sleep(2 * EXPORT_DELAY_MS / 1000)
    for server in {run.server.pid: run.server for run in runs}.values():
        if earlier := last.get(server.pid):
            earlier.append(server.cpu())
    return [
        Measurement(run.case.name, number, run.job.messages, after - before, one, beside)
        for (run, number, one), (before, after), beside in zip(done, spans, besides, strict=True)
        if number
    ]


def wait_until(holds: Callable[[], bool], timeout: float) -> float:
    """Wait for something that is looked for now and then; returns when it was seen, on `time.monotonic`.

    Raises:
        BenchError: it was not, for `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > end:
            raise BenchError(f"waited for {timeout:.0f} s, in vain")
        time.sleep(_POLL)
    return time.monotonic()


def _run_once(run: Run, load: LoadGenerator) -> Round:
    done = (run.load or load).run(run.job)
    if done.answers != {run.answer: run.job.messages}:
        raise BenchError(f"{run.case.title}: of {run.job.messages} messages all should be {run.answer}: {done.answers}")
    return done
