"""`DispatchStream`, 100 messages a frame, beside echo: accepted for later, and through to their outcome.

One message in a hundred is traced. A stream is sampled whole, so its caller decides: see `tests.bench.jobs.Streams`.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from tests.bench.bench import FRAME, HOUR, Bench, sampling
from tests.bench.figures import Case, figure, ratios
from tests.bench.groups.dispatch import ECHO
from tests.bench.jobs import QUEUED, SENT
from tests.bench.processes import BenchError, Collector, collector, echo_server, postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import EXPORT_DELAY_MS, Run, run_rounds
from tests.bench.stores import check_stored

SAMPLED: Final = 0.01
ACCEPT: Final = Case("accept", "DispatchStream, acceptance", ECHO.name)
OUTCOME: Final = Case("outcome", "DispatchStream, outcome", ECHO.name)
WIDE: Final = Case("wide", "the same, max_concurrent 1000", ECHO.name)
SERVICES: Final[dict[Case, dict[str, str]]] = {
    ACCEPT: {},
    OUTCOME: {},
    WIDE: {"POSTWIRE_PROVIDERS__SMS_MMS__MAX_CONCURRENT": "1000"},
}
"""With what is set for them."""


def measure(bench: Bench) -> Result:
    """See the module."""
    sent = bench.total(bench.scale.streamed)
    collectors: dict[Case, Collector] = {}
    with ExitStack() as running:  # each service ends before its collector does
        echo = running.enter_context(echo_server(bench.folder / "echo.log"))
        runs = [Run(ECHO, echo, bench.calls(echo))]
        for case, settings in SERVICES.items():
            collectors[case] = running.enter_context(collector(bench.folder / "collector.log"))
            environ = sampling(collectors[case].address, SAMPLED, EXPORT_DELAY_MS) | settings
            server = running.enter_context(postwire_server(case.name, bench.folder, environ))
            later, answer = (HOUR, QUEUED) if case is ACCEPT else (0, SENT)
            job = bench.streams(server, later=later, sampled=SAMPLED)
            runs.append(Run(case, server, job, answer, exports=True))
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
    for case in SERVICES:
        check_stored(case.title, store_of(case.name, bench.folder), messages=sent, sent=0 if case is ACCEPT else sent)
        _check_spans(bench, case, collectors[case].spans)
    figures = [figure(case.name, ratios(measurements, case)) for case in (ACCEPT, OUTCOME)]
    title = (
        f"DispatchStream, {bench.scale.streamed:,} a round, {FRAME} a frame, {bench.scale.connections} streams at once"
    )
    return Result(figures, Table(title, (ECHO, *SERVICES), measurements))


def _check_spans(bench: Bench, case: Case, spans: int) -> None:
    traced = bench.total(round(bench.scale.streamed * SAMPLED))
    streams = bench.total(1) if traced else 0
    # One for each traced stream, one for each attempt below it, and one more where that had to wait for its turn.
    least, most = (streams, streams) if case is ACCEPT else (streams + traced, streams + 2 * traced)
    if not least <= spans <= most:
        raise BenchError(f"{case.title}: expected {least} to {most} spans, but {spans} reached the collector")
