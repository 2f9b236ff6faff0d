"""How long a caller waits, and how much is done, by how many calls are under way: `Dispatch`, and echo beside it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from tests.bench.bench import Bench, sampling
from tests.bench.figures import Case
from tests.bench.processes import collector, echo_server, postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import EXPORT_DELAY_MS, Run, run_rounds
from tests.bench.stores import check_stored

CALLERS: Final = (1, 8, 64, 256)
SAMPLED: Final = 0.01
CALLS_EACH: Final = 200
"""At most, in a round: a single caller waits for every fsync, so that as many calls as of many would take minutes."""


def measure(bench: Bench) -> Result:
    """See the module."""
    runs: list[Run] = []
    with ExitStack() as running:  # the service ends before its collector does
        echo = running.enter_context(echo_server(bench.folder / "echo.log"))
        spans = running.enter_context(collector(bench.folder / "collector.log"))
        environ = sampling(spans.address, SAMPLED, EXPORT_DELAY_MS)
        server = running.enter_context(postwire_server("latency", bench.folder, environ))
        for callers in CALLERS:
            messages = min(bench.scale.messages, CALLS_EACH * callers)
            calls = replace(bench.calls(server), messages=messages, concurrency=callers)
            runs += [
                Run(
                    Case(f"echo-{callers}", f"echo, {callers} at once", series="echo", at=callers),
                    echo,
                    replace(calls, address=echo.address),
                ),
                Run(
                    Case(f"dispatch-{callers}", f"Dispatch, {callers} at once", f"echo-{callers}", "Dispatch", callers),
                    server,
                    calls,
                    exports=True,
                ),
            ]
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
    sent = sum(bench.total(run.job.messages) for run in runs if run.server is server)
    check_stored("latency", store_of("latency", bench.folder), messages=sent, sent=sent)
    return Result([], Table("Latency, spans sampled at 1 %", [run.case for run in runs], measurements))
