"""What a message costs on nodes that share a PostgreSQL database, and on a process with a file of its own.

The CPU of the nodes and that of the database's server are measured in the same rounds, and shown apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from tests.bench.bench import Bench
from tests.bench.databases import Database, database_server, fill, node
from tests.bench.figures import Case, Measurement, figure
from tests.bench.processes import Server, postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored

EMPTY: Final = "nodes-empty"
TWO: Final = "nodes-two"
FULL: Final = "nodes-full"
"""Databases: of one node, of two, and of one in which many messages wait."""

BESIDE: Final = "-database"
"""Ends the name of the case that has the same rounds, and the CPU of the database's server in place of the nodes'."""


def measure(bench: Bench) -> Result:
    """See the module."""
    most = bench.scale.waiting
    environ = {
        "POSTWIRE_STORE__MAX_UNSETTLED": str(2 * most),
        "POSTWIRE_PROVIDERS__SMS_MMS__MAX_CONCURRENT": "1000",  # so that a stream makes the largest commits there are
    }
    runs: list[Run] = []
    with ExitStack() as serving:
        database = serving.enter_context(database_server())
        full = fill(bench, database, FULL, most, environ)
        lone = serving.enter_context(postwire_server("nodes-sqlite", bench.folder, environ))
        empty = serving.enter_context(node(EMPTY, bench, database.create(EMPTY), environ))
        url = database.create(TWO)
        two = _together(*(serving.enter_context(node(f"{TWO}-{n}", bench, url, environ)) for n in (1, 2)))
        filled = serving.enter_context(node(FULL, bench, full, environ))
        for call in ("Dispatch", "DispatchStream"):
            for name, title, server in (
                ("sqlite", "SQLite", lone),
                (EMPTY, "a node, PostgreSQL", empty),
                (TWO, "two nodes", two),
                (FULL, f"a node, {most:,} wait", filled),
            ):
                case = Case(f"{name}-{call}", f"{call}, {title}", "" if server is lone else f"sqlite-{call}")
                job = bench.calls(server) if call == "Dispatch" else bench.streams(server)
                runs.append(Run(case, server, job, beside=None if server is lone else database.cpu))
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
        _check(bench, database, most)
    sent = bench.total(bench.scale.messages + bench.scale.streamed)
    check_stored("nodes-sqlite", store_of("nodes-sqlite", bench.folder), messages=sent, sent=sent)
    note = "" if most == 1_000_000 else f"with {most:,}"
    figures = [
        figure("nodes", against(measurements, f"{FULL}-Dispatch", f"{EMPTY}-Dispatch"), note),
        figure("nodes-stream", against(measurements, f"{FULL}-DispatchStream", f"{EMPTY}-DispatchStream"), note),
    ]
    return Result(figures, table(runs, measurements))


def _together(one: Server, other: Server) -> Server:
    """Two nodes, of which every other connection is for the one."""
    return replace(one, address=f"{one.address},{other.address}", others=(other.pid,))


def _check(bench: Bench, database: Database, most: int) -> None:
    sent = bench.total(bench.scale.messages + bench.scale.streamed)
    for name in (EMPTY, TWO):
        database.check(name, name, messages=sent, sent=sent)
    database.check(FULL, FULL, messages=most + sent, sent=sent)


def against(measurements: Sequence[Measurement], case: str, other: str) -> list[float]:
    """Round by round, what a message takes of nodes and database together, against what it takes in another case."""
    taken = {(one.case, one.number): (one.cpu + one.beside) / one.messages for one in measurements}
    return [value / taken[other, number] for (name, number), value in taken.items() if name == case]


def table(runs: Sequence[Run], measurements: Sequence[Measurement]) -> Table:
    """With two lines for each case of nodes: of what they take themselves, and of what the database's server takes."""
    cases: list[Case] = []
    shown = list(measurements)
    for run in runs:
        cases.append(run.case)
        if run.beside:
            beside = replace(run.case, name=f"{run.case.name}{BESIDE}", title="   and its database")
            cases.append(beside)
            of_case = [one for one in measurements if one.case == run.case.name]
            shown += [replace(one, case=beside.name, cpu=one.beside) for one in of_case]
    return Table("Nodes", cases, shown, by_cost=True)
