"""What the fsync behind every commit costs: with `store.sync` as it is by default, and with the other it can be."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from tests.bench.bench import Bench
from tests.bench.figures import Case
from tests.bench.processes import postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored

ALONE = 10
"""One caller at a time is asked to make so many times fewer calls."""


def measure(bench: Bench) -> Result:
    """See the module."""
    runs: list[Run] = []
    few = max(1, bench.scale.messages // ALONE)
    with ExitStack() as serving:
        full, normal = (
            serving.enter_context(postwire_server(sync, bench.folder, {"POSTWIRE_STORE__SYNC": sync}))
            for sync in ("full", "normal")
        )
        for server, sync in ((full, "full"), (normal, "normal")):
            alone = replace(bench.calls(server), messages=few, concurrency=1)
            for name, title, job in (
                ("alone", "Dispatch, 1 caller", alone),
                ("dispatch", f"Dispatch, {bench.scale.concurrency} callers", bench.calls(server)),
                ("stream", "DispatchStream", bench.streams(server)),
            ):
                against = "" if sync == "full" else f"{name}-full"
                runs.append(Run(Case(f"{name}-{sync}", f"{title}, sync = {sync}", against), server, job))
        runs.sort(key=lambda run: run.case.name)
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
    sent = bench.total(few + bench.scale.messages + bench.scale.streamed)
    for sync in ("full", "normal"):
        check_stored(sync, store_of(sync, bench.folder), messages=sent, sent=sent)
    return Result([], Table("What an fsync costs", [run.case for run in runs], measurements, by_cost=True))
