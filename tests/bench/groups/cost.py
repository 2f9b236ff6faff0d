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
    """With many messages in the outbox that are to be sent later, and with none."""
    waiting = bench.scale.waiting
    environ = {
        "POSTWIRE_STORE__MAX_UNSETTLED": str(2 * waiting),  # as many again fit in
        "POSTWIRE_PROVIDERS__SMS_MMS__MAX_CONCURRENT": "1000",  # so that a stream makes the largest commits there are
    }
    fill(bench, "full", waiting, environ, later=HOUR)
    empty, full = Case("empty", "Dispatch, nothing waits"), Case("full", f"Dispatch, {waiting:,} wait", "empty")
    empty_stream = Case("empty-stream", "DispatchStream, nothing waits")
    full_stream = Case("full-stream", f"DispatchStream, {waiting:,} wait", "empty-stream")
    with ExitStack() as serving:
        without, with_many = (
            serving.enter_context(postwire_server(name, bench.folder, environ)) for name in ("empty", "full")
        )
        runs = [
            Run(empty, without, bench.calls(without)),
            Run(full, with_many, bench.calls(with_many)),
            Run(empty_stream, without, bench.streams(without)),
            Run(full_stream, with_many, bench.streams(with_many)),
        ]
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
        remark = (
            f"Boot to serving: {without.boot:.2f} s where nothing waits, {with_many.boot:.2f} s where {waiting:,} do."
        )
    sent = bench.total(bench.scale.messages + bench.scale.streamed)
    check_stored(empty.title, store_of("empty", bench.folder), messages=sent, sent=sent)
    check_stored(full.title, store_of("full", bench.folder), messages=waiting + sent, sent=sent)
    note = "" if waiting == 1_000_000 else f"with {waiting:,}"
    figures = [
        figure("outbox", costs(measurements, full), note),
        figure("outbox-stream", costs(measurements, full_stream), note),
    ]
    return Result(figures, _table("Outbox", runs, measurements, remark))


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
