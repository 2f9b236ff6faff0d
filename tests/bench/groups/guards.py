"""What a message costs where guards count it, against where there are none."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from tests.bench.bench import Bench
from tests.bench.figures import Case, costs, figure
from tests.bench.processes import postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored

GUARDS: Final = """
[guards]
allow_prefixes = ["+1", "+44"]
max_per_prefix = { "+1" = "1000000000/1h", "+44" = "1000000000/1h" }
max_per_recipient = "1000000000/1h"
"""
"""Each message is in two counts, and all of them in the same two, so that nothing is refused and each is written."""


def measure(bench: Bench) -> Result:
    """See the module."""
    with ExitStack() as serving:
        free = serving.enter_context(postwire_server("no-guards", bench.folder))
        guarded = serving.enter_context(postwire_server("guards", bench.folder, config=GUARDS))
        runs = [
            Run(Case("no-guards", "Dispatch, no guards"), free, bench.calls(free)),
            Run(Case("guards", "Dispatch, guards", "no-guards"), guarded, bench.calls(guarded)),
            Run(Case("no-guards-stream", "DispatchStream, no guards"), free, bench.streams(free)),
            Run(Case("guards-stream", "DispatchStream, guards", "no-guards-stream"), guarded, bench.streams(guarded)),
        ]
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
    sent = bench.total(bench.scale.messages) + bench.total(bench.scale.streamed)
    for name in ("no-guards", "guards"):
        check_stored(name, store_of(name, bench.folder), messages=sent, sent=sent)
    figures = [figure(run.case.name, costs(measurements, run.case)) for run in runs if run.case.against]
    return Result(figures, Table("Guards", [run.case for run in runs], measurements, by_cost=True))
