"""The same work in the design that a team would otherwise write. `tests.bench.peer` says what that leaves out."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Final

from tests.bench.bench import Bench, sampling
from tests.bench.figures import Case, costs, figure
from tests.bench.peer.processes import peer
from tests.bench.processes import BenchError, collector, postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import EXPORT_DELAY_MS, Run, run_rounds
from tests.bench.stores import check_stored

OURS: Final = Case("ours", "Dispatch, spans sampled at 1 %")
STREAM: Final = Case("ours-stream", "DispatchStream, through to outcome", OURS.name)
CELERY: Final = Case("celery", "Celery with Redis", OURS.name)
SAMPLED: Final = 0.01
FEWER: Final = 4
"""The peer is given so many times fewer messages a round: it takes many times as long for one."""


def measure(bench: Bench) -> Result:
    """See the module.

    Raises:
        NoPeer: it cannot be run here.
    """
    with ExitStack() as running:
        other = running.enter_context(peer(bench.folder / "peer"))
        spans = running.enter_context(collector(bench.folder / "collector.log"))
        environ = sampling(spans.address, SAMPLED, EXPORT_DELAY_MS)
        ours = running.enter_context(postwire_server("ours", bench.folder, environ))
        calls = bench.calls(ours)
        fewer = replace(calls, address=other.server.address, messages=max(1, calls.messages // FEWER))
        runs = [
            Run(OURS, ours, calls, exports=True),
            Run(CELERY, other.server, fewer, load=other.load),
            Run(STREAM, ours, bench.streams(ours, sampled=SAMPLED), exports=True),
        ]
        other.load.run(replace(fewer, messages=bench.scale.concurrency))  # it has booted when it has done that
        before = other.caller.cpu()
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
        by_caller = (other.caller.cpu() - before) / bench.total(fewer.messages)
        expected = bench.scale.concurrency + bench.total(fewer.messages)
        if (found := other.count()) != expected:
            raise BenchError(f"Redis is to hold {expected} messages, and holds {found}")
    sent = bench.total(bench.scale.messages + bench.scale.streamed)
    check_stored("ours", store_of("ours", bench.folder), messages=sent, sent=sent)
    ours_takes = median(one.cpu / one.messages for one in measurements if one.case == OURS.name)
    remark = (
        f"Of Celery's side the workers and Redis count. The process that calls `apply_async` and waits, in place of our"
        f" endpoint, takes {by_caller * 1e6:,.0f} µs a message more, which is {by_caller / ours_takes:.1f} × our CPU."
    )
    cases = [OURS, STREAM, CELERY]
    table = Table(
        f"The same work, {bench.scale.concurrency} at once", cases, measurements, by_cost=True, remarks=[remark]
    )
    return Result([figure("peer", costs(measurements, CELERY))], table)
