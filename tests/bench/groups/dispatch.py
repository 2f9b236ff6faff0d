"""`Dispatch`, outcome waited for, beside echo: without telemetry, with every span exported, and with 1 % of them."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Final

from tests.bench.bench import Bench, sampling
from tests.bench.figures import Case, figure, ratios
from tests.bench.processes import BenchError, Collector, collector, echo_server, postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import EXPORT_DELAY_MS, Run, run_rounds
from tests.bench.stores import check_stored

ECHO: Final = Case("echo", "echo")
SERVICES: Final = {
    Case("plain", "Dispatch, telemetry off", ECHO.name): 0.0,
    Case("traced", "Dispatch, every span exported", ECHO.name): 1.0,
    Case("sampled", "Dispatch, spans sampled at 1 %", ECHO.name): 0.01,
}
"""With the share of calls whose spans are recorded and exported to a collector."""

SPANS_A_MESSAGE: Final = 2
"""The call's, and the attempt's."""


def measure(bench: Bench) -> Result:
    """See the module."""
    dispatched = bench.total(bench.scale.messages)
    collectors: dict[Case, Collector] = {}
    with ExitStack() as running:  # each service ends before its collector does
        echo = running.enter_context(echo_server(bench.folder / "echo.log"))
        runs = [Run(ECHO, echo, bench.calls(echo))]
        for case, share in SERVICES.items():
            environ: dict[str, str] = {}
            if share:
                collectors[case] = running.enter_context(collector(bench.folder / "collector.log"))
                environ = sampling(collectors[case].address, share, EXPORT_DELAY_MS)
            server = running.enter_context(postwire_server(case.name, bench.folder, environ))
            runs.append(Run(case, server, bench.calls(server), exports=bool(share)))
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
    # What the services left behind is counted, so that none can have saved itself the work.
    for case, share in SERVICES.items():
        check_stored(case.title, store_of(case.name, bench.folder), messages=dispatched, sent=dispatched)
        if share:
            _check_spans(case, share, collectors[case].spans, dispatched)
    figures = [figure(case.name, ratios(measurements, case)) for case, share in SERVICES.items() if share]
    title = f"Dispatch, {bench.scale.messages:,} a round, {bench.scale.concurrency} at once"
    return Result(figures, Table(title, (ECHO, *SERVICES), measurements))


def _check_spans(case: Case, share: float, spans: int, dispatched: int) -> None:
    expected = SPANS_A_MESSAGE * dispatched * share
    # Where spans are sampled, chance has a say: more than six standard deviations are none.
    margin = 6 * SPANS_A_MESSAGE * math.sqrt(dispatched * share * (1 - share))
    if abs(spans - expected) > margin:
        raise BenchError(f"{case.title}: expected {expected:.0f} spans, but {spans} reached the collector")
