"""What a message costs where very many are not written to, against where nobody is: who is written to is looked up."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Final

import apsw
from tests.bench.bench import Bench
from tests.bench.figures import Case, costs, figure
from tests.bench.processes import postwire_server, store_of
from tests.bench.progress import say
from tests.bench.report import Result, Table
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored

FILL: Final = """
WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?)
INSERT INTO suppressions (tenant, address_hash, sender, reason, source, create_time, key_id)
SELECT 'default', randomblob(32), '', 'opt_out', 'bench', ? + number, ? FROM numbers
"""
_FINGERPRINT: Final = "SELECT value FROM facts WHERE name = 'suppression_key'"


def measure(bench: Bench) -> Result:
    """See the module."""
    suppressed = bench.scale.suppressed
    _fill(bench, "many", suppressed)
    nobody, many = (
        Case("nobody", "Dispatch, nobody suppressed"),
        Case("many", f"Dispatch, {suppressed:,} are", "nobody"),
    )
    nobody_stream = Case("nobody-stream", "DispatchStream, nobody suppressed")
    many_stream = Case("many-stream", f"DispatchStream, {suppressed:,} are", "nobody-stream")
    with ExitStack() as serving:
        without, with_many = (serving.enter_context(postwire_server(name, bench.folder)) for name in ("nobody", "many"))
        runs = [
            Run(nobody, without, bench.calls(without)),
            Run(many, with_many, bench.calls(with_many)),
            Run(nobody_stream, without, bench.streams(without)),
            Run(many_stream, with_many, bench.streams(with_many)),
        ]
        measurements = run_rounds(runs, bench.load, bench.scale.rounds)
    sent = bench.total(bench.scale.messages + bench.scale.streamed)
    for case in (nobody, many):
        check_stored(case.title, store_of(case.name, bench.folder), messages=sent, sent=sent)
    note = "" if suppressed == 1_000_000 else f"with {suppressed:,}"
    figures = [
        figure("suppression", costs(measurements, many), note),
        figure("suppression-stream", costs(measurements, many_stream), note),
    ]
    return Result(figures, Table("Suppression", [run.case for run in runs], measurements, by_cost=True))


def _fill(bench: Bench, name: str, count: int) -> None:
    """Put that many into the store of the service of that name. Nobody knows whose they are."""
    say(f"suppressing {count:,}")
    with postwire_server(name, bench.folder):
        pass
    connection = apsw.Connection(str(store_of(name, bench.folder)), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.pragma("synchronous", "off")
        with connection:
            ((key_id,),) = connection.execute(_FINGERPRINT).fetchall()
            connection.execute(FILL, (count, time.time_ns() // 1000, key_id))
    finally:
        connection.close()
