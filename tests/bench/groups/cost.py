"""What a message costs where there is much of something, against where there is little: what waits, and providers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from tests.bench.bench import HOUR, Bench
from tests.bench.figures import Case, Figure, Measurement, costs, figure
from tests.bench.prefill import fill
from tests.bench.processes import postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored

FEW: Final = 2
"""Providers."""


def measure_outbox(bench: Bench) -> Result:
    """With many messages in the outbox that are to be sent later, with fewer, and with none.

    A stream is asked only where there are none and where there are most: it takes long, and a line needs two points.
    """
    most = bench.scale.waiting
    environ = {
        "POSTWIRE_STORE__MAX_UNSETTLED": str(2 * most),  # as many again fit in
        "POSTWIRE_PROVIDERS__SMS_MMS__MAX_CONCURRENT": "1000",  # so that a stream makes the largest commits there are
    }
    sizes = sizes_up_to(most)
    for size in sizes[1:]:
        fill(bench, f"waiting-{size}", size, environ, later=HOUR)
    runs: list[Run] = []
    streams: list[Run] = []
    with ExitStack() as serving:
        for size in sizes:
            server = serving.enter_context(postwire_server(f"waiting-{size}", bench.folder, environ))
            runs.append(Run(_waiting("Dispatch", size), server, bench.calls(server)))
            if size in (0, most):
                streams.append(Run(_waiting("DispatchStream", size), server, bench.streams(server)))
        without, with_most = runs[0].server.boot, runs[-1].server.boot
        runs += streams
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
    for size in sizes:
        sent = bench.total(bench.scale.messages + (bench.scale.streamed if size in (0, most) else 0))
        name = f"waiting-{size}"
        check_stored(name, store_of(name, bench.folder), messages=size + sent, sent=sent)
    note = "" if most == 1_000_000 else f"with {most:,}"
    figures = [
        figure("outbox", costs(measurements, _waiting("Dispatch", most)), note),
        figure("outbox-stream", costs(measurements, _waiting("DispatchStream", most)), note),
    ]
    remark = f"Boot to serving: {without:.2f} s where nothing waits, {with_most:.2f} s where {most:,} do."
    return Result(figures, _table("Outbox", runs, measurements, remark))


def sizes_up_to(most: int) -> list[int]:
    """How many are to wait: none, and powers of ten up to the most."""
    powers = (10**exponent for exponent in range(3, len(str(most)) + 1))
    return [0, *(power for power in powers if power < most), most]


def _waiting(call: str, size: int) -> Case:
    title = f"{call}, {size:,} wait" if size else f"{call}, nothing waits"
    return Case(f"{call}-{size}", title, f"{call}-0" if size else "", call, size)


def measure_providers(bench: Bench) -> Result:
    """With many providers and with two: each in a tier of its own, as they are without routes; and all in one."""
    many = bench.scale.providers
    shapes = {"providers": "one a tier", "providers-shared": "all in one tier"}
    figures: list[Figure] = []
    runs: list[Run] = []
    booted: list[str] = []
    with ExitStack() as serving:
        for shape, title in shapes.items():
            for count in (FEW, many):
                name = f"{shape}-{count}"
                config = _config(count, is_shared=shape == "providers-shared")
                server = serving.enter_context(postwire_server(name, bench.folder, config=config))
                against = "" if count == FEW else f"{shape}-{FEW}"
                runs.append(Run(Case(name, f"{count:,} providers, {title}", against), server, bench.calls(server)))
                booted.append(f"{server.boot:.2f} s with {count:,} ({title})")
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
    for run in runs:
        sent = bench.total(bench.scale.messages)
        check_stored(run.case.title, store_of(run.case.name, bench.folder), messages=sent, sent=sent)
        if run.case.against:
            shape = run.case.against.removesuffix(f"-{FEW}")
            figures.append(figure(shape, costs(measurements, run.case)))
    return Result(figures, _table("Providers", runs, measurements, f"Boot to serving: {', '.join(booted)}."))


def _config(count: int, *, is_shared: bool) -> str:
    names = [f"p{number}" for number in range(count)]
    tables = [f'[providers.{name}]\nkind = "mock"\nchannels = ["sms"]\n' for name in names]
    tier = ", ".join(f'"{name}"' for name in names)
    routes = f"[[routes.sms]]\ntiers = [[{tier}]]\n" if is_shared else ""
    return "\n".join([*tables, routes])


def _table(title: str, runs: Sequence[Run], measurements: Sequence[Measurement], remark: str) -> Table:
    return Table(title, [run.case for run in runs], measurements, by_cost=True, remarks=[remark])
