"""`python -m tests.bench`: measures what is asked for, and prints the tables. See the package."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from tests.bench import guard, page, report
from tests.bench.bench import QUICK, Bench, Scale
from tests.bench.databases import NoDatabase
from tests.bench.groups import (
    before,
    boot,
    breaker,
    cost,
    dispatch,
    guards,
    http,
    isolation,
    latency,
    memory,
    nodes,
    peer,
    recovery,
    stream,
    suppression,
    sync,
    tenants,
    vendors,
)
from tests.bench.peer.processes import NoPeer
from tests.bench.processes import BenchError, load_generator
from tests.bench.progress import say
from tests.bench.report import Result
from tests.bench.surroundings import interpreter, machine

GROUPS: Final[dict[str, Callable[[Bench], Result]]] = {
    "dispatch": dispatch.measure,
    "stream": stream.measure,
    "latency": latency.measure,
    "before": before.measure,
    "sync": sync.measure,
    "peer": peer.measure,
    "outbox": cost.measure_outbox,
    "nodes": nodes.measure,
    "providers": cost.measure_providers,
    "tenants": tenants.measure,
    "guards": guards.measure,
    "http": http.measure,
    "suppression": suppression.measure,
    "breaker": breaker.measure,
    "memory": memory.measure,
    "boot": boot.measure,
    "recovery": recovery.measure,
    "isolation": isolation.measure,
    "vendors": vendors.measure,
}
FULL_DISPATCHED: Final = 1_000_000


def main() -> int:
    """See the module."""
    options = parse(sys.argv[1:])
    if sys.platform != "linux":
        print("make bench: CPU time of another process is read in Linux's way; run it on Linux", file=sys.stderr)
        return 0 if options.guard and not options.record else 2  # elsewhere nothing is compared, and no merge held up
    # So that what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, _exit)
    if options.guard:
        return _guard(record=options.record)
    if options.redraw:
        return _write_docs()
    scale = _scale(options)
    setting = {
        **{key: value for key, value in asdict(scale).items() if key != "before"},  # a path of this machine
        "date": datetime.now(UTC).date().isoformat(),
        "interpreter": interpreter(),
        "python": platform.python_version(),
        "machine": machine(),
    }
    if not options.json:
        print(
            f"{setting['interpreter']}, {scale.connections} connections."
            f" Medians of {scale.rounds} rounds, with the lowest and the highest.\n"
        )
    results: list[Result] = []
    measured: dict[str, Any] = {}
    failed = False
    try:
        for name in dict.fromkeys(options.only or [name for name in GROUPS if scale.before or name != "before"]):
            try:
                results.append(result := _measure(name, scale, as_it_goes=not options.json))
                measured[name] = report.as_json(result, setting)
                if options.write_docs:
                    page.keep({name: measured[name]})  # at once, so that nothing is lost if a later group fails
            except (NoPeer, NoDatabase) as missing:
                say()
                print(f"make bench: {name} is left out: {missing}", file=sys.stderr)
            except BenchError as error:  # the others may do better
                failed = True
                say()
                print(f"make bench: {name}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(page.write_results(measured), end="")
    elif any(result.figures for result in results):
        print(*report.lines_of_figures(results), sep="\n")
        if options.quick:
            print("\n--quick: too little was done for these figures to mean anything.")
    if options.write_docs:
        _write_docs()
    return int(failed)


def _guard(*, record: bool) -> int:
    try:
        return guard.record() if record else guard.guard()
    except BenchError as error:
        say()
        print(f"make bench: the guard could not measure: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _write_docs() -> int:
    for path in page.write_docs():
        print(f"written: {path}")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description="What the service costs, beside what it may cost.")
    parser.add_argument(
        "--only", type=_groups, action="extend", default=[], metavar="GROUP,…", help=f"out of {', '.join(GROUPS)}"
    )
    parser.add_argument("--full", action="store_true", help="memory over 1,000,000 dispatches: takes ten minutes more")
    parser.add_argument("--quick", action="store_true", help="little of everything: shows that it works, not how well")
    parser.add_argument("--json", action="store_true", help="every figure of every round, as JSON")
    parser.add_argument("--write-docs", action="store_true", help="also as docs/performance.md shows it, with plots")
    parser.add_argument("--redraw", action="store_true", help="write those from what was measured last")
    parser.add_argument("--before", metavar="FOLDER", help="a checkout of a version before, to compare latencies with")
    parser.add_argument("--guard", action="store_true", help="only look whether a message costs more than recorded")
    parser.add_argument("--record", action="store_true", help="with --guard: record what it costs now")
    parser.add_argument("--rounds", type=_positive, help="rounds of each case, interleaved (5)")
    parser.add_argument("--messages", type=_positive, help="messages a round of Dispatch (3000)")
    parser.add_argument("--streamed", type=_positive, help="messages a round of DispatchStream (10000)")
    parser.add_argument("--concurrency", type=_positive, help="calls of Dispatch under way at once (64)")
    parser.add_argument("--connections", type=_positive, help="connections, each with one stream (4)")
    parser.add_argument("--server-ids", action="store_true", help="leave the request ids of Dispatch to the server")
    options = parser.parse_args(arguments)
    if options.write_docs and options.quick:
        parser.error("--write-docs: what --quick measures means nothing")
    if options.record and not options.guard:
        parser.error("--record goes with --guard")
    return options


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else Scale()
    names = ("rounds", "messages", "streamed", "concurrency", "connections", "before")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.full:
        given["dispatched"] = FULL_DISPATCHED
    return replace(scale, **given, request_ids=not options.server_ids)


def _groups(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(GROUPS):
        raise argparse.ArgumentTypeError(f"{text}: choose out of {', '.join(GROUPS)}")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _measure(name: str, scale: Scale, *, as_it_goes: bool) -> Result:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="postwire-bench-") as folder, load_generator() as load:
        result = GROUPS[name](Bench(Path(folder), load, scale))
    say()
    if as_it_goes and result.table:
        print(*report.lines_of(result.table), f"({time.monotonic() - started:.0f} s)\n", sep="\n", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
