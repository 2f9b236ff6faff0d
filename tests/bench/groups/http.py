"""What the listener for HTTP costs those who call by gRPC, and what a call costs over it.

Three servers: without the listener, with it, and with it and somebody who looks at the console, which has streams open:
of providers and of figures.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from tests.bench.bench import Bench
from tests.bench.figures import Case, figure, ratios
from tests.bench.processes import BenchError, Server, postwire_server, store_of
from tests.bench.report import Result, Table
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored

LISTENING: Final = {"POSTWIRE_HTTP__LISTEN": "127.0.0.1:0"}

WATCHES: Final = ("postwire.v1.ProviderService/WatchProviders", "postwire.v1.AdminService/WatchStats")
"""What the console's overview has open."""

ROUNDS: Final = 2
"""So many times as many rounds as elsewhere: what is looked for is small."""

_TIMEOUT: Final = 60.0


def measure(bench: Bench) -> Result:
    """See the module."""
    with ExitStack() as serving:
        plain = serving.enter_context(postwire_server("no-http", bench.folder))
        listening = serving.enter_context(postwire_server("http", bench.folder, LISTENING))
        watched = serving.enter_context(postwire_server("http-watched", bench.folder, LISTENING))
        watching = [serving.enter_context(_watching(watched, method)) for method in WATCHES]
        by_http = replace(bench.calls(listening), address=listening.http)
        runs = [
            Run(Case("no-http", "Dispatch by gRPC, no HTTP"), plain, bench.calls(plain)),
            Run(Case("http-listening", "the same, HTTP listens", "no-http"), listening, bench.calls(listening)),
            Run(Case("http-watched", "the same, a console is open", "no-http"), watched, bench.calls(watched)),
            Run(
                Case("http-proto", "Dispatch by Connect, binary", "http-listening"),
                listening,
                replace(by_http, content_type="application/proto"),
            ),
            Run(
                Case("http-json", "Dispatch by HTTP, JSON", "http-listening"),
                listening,
                replace(by_http, content_type="application/json"),
            ),
        ]
        measurements = run_rounds(runs, bench.load, ROUNDS * bench.scale.rounds)
        if not all(one.is_alive() for one in watching):
            raise BenchError("a stream of the console has ended")
    each = (ROUNDS * bench.scale.rounds + 1) * bench.scale.messages
    for name, sent in (("no-http", each), ("http", 3 * each), ("http-watched", each)):
        check_stored(name, store_of(name, bench.folder), messages=sent, sent=sent)
    figures = [
        figure(run.case.name, ratios(measurements, run.case)) for run in runs if run.case.against == runs[0].case.name
    ]
    return Result(figures, Table("HTTP", [run.case for run in runs], measurements))


@contextmanager
def _watching(server: Server, method: str) -> Iterator[threading.Thread]:
    """Have somebody read a stream, who has had its first answer; gives the thread that reads on until its end."""
    connection = http.client.HTTPConnection(server.http, timeout=_TIMEOUT)
    connection.request("POST", f"/{method}", b"{}", {"content-type": "application/json"})
    response = connection.getresponse()
    if response.status != http.client.OK or not response.readline():
        raise BenchError(f"{method} gives no stream: {response.status}")

    def read() -> None:
        while response.readline():
            pass

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        if connection.sock:
            connection.sock.shutdown(2)
        thread.join()
        connection.close()
