"""How long a caller waits, against a version before: the checkout that `--before` names, with this interpreter."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.bench.bench import Bench
from tests.bench.figures import Case, Measurement, figure
from tests.bench.processes import BenchError, postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored

CALLERS: Final = (1, 8, 64)
ALONE: Final = 10
"""A single caller makes so many times fewer calls in a round."""

ROUNDS: Final = 2
"""So many times as many rounds as elsewhere: a latency varies more than CPU does."""


def measure(bench: Bench) -> Result:
    """See the module."""
    package = Path(bench.scale.before).resolve() / "server"
    if not (bench.scale.before and (package / "postwire").is_dir()):
        raise BenchError("--before FOLDER is to name a checkout of a version before")
    runs: list[Run] = []
    with ExitStack() as serving:
        old = serving.enter_context(postwire_server("before", bench.folder, {"PYTHONPATH": str(package)}))
        new = serving.enter_context(postwire_server("now", bench.folder))
        for callers in CALLERS:
            messages = max(1, bench.scale.messages // (ALONE if callers == 1 else 1))
            for name, server in (("before", old), ("now", new)):
                against = "" if server is old else f"before-{callers}"
                case = Case(f"{name}-{callers}", f"{callers} at once, {name}", against)
                runs.append(Run(case, server, replace(bench.calls(server), messages=messages, concurrency=callers)))
        measurements = run_rounds(runs, bench.load, ROUNDS * bench.scale.rounds)
    sent = sum(one.messages for one in measurements if one.case.startswith("now-"))
    sent += sum(run.job.messages for run in runs if run.server is new)
    for name in ("before", "now"):
        check_stored(name, store_of(name, bench.folder), messages=sent, sent=sent)
    figures = [figure(f"p50-{callers}", _p50s(measurements, callers)) for callers in CALLERS]
    return Result(figures, Table("Against a version before", [run.case for run in runs], measurements, by_cost=True))


def _p50s(measurements: list[Measurement], callers: int) -> list[float]:
    """Round by round, the median latency to that of the version before."""
    by_case = {
        name: [one.round.p50 or 0.0 for one in measurements if one.case == f"{name}-{callers}"]
        for name in ("before", "now")
    }
    return [now / before for now, before in zip(by_case["now"], by_case["before"], strict=True)]
