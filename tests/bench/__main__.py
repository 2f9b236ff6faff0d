"""`python -m tests.bench`: runs the rounds and prints the table. See the package."""

from __future__ import annotations

import argparse
import json
import math
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from tests.bench import report
from tests.bench.load import Job, Round
from tests.bench.loops import loop_name
from tests.bench.processes import (
    BenchError,
    Collector,
    LoadGenerator,
    Server,
    collector,
    echo_server,
    load_generator,
    postwire_server,
    store_of,
    stored,
)
from tests.bench.report import CASES, SERVICES, SPANS_A_MESSAGE, YARDSTICK, Case, Measurement

EXPORT_DELAY_MS: Final = 500
"""After this a service exports what has gathered, in place of 5 s: so that the bench need not wait long for it."""


def main() -> int:
    """See the module."""
    options = _options()
    if sys.platform != "linux":
        print("make bench: CPU time of another process is read in Linux's way; run it on Linux", file=sys.stderr)
        return 2
    # So that what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, _exit)
    try:
        measurements = _measure(options)
    except BenchError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    setting = {
        "rounds": options.rounds,
        "messages": options.messages,
        "concurrency": options.concurrency,
        "channels": options.channels,
        "request_ids": "the server's" if options.server_ids else "the client's",
        "loop": loop_name(),
        "python": platform.python_version(),
    }
    if options.json:
        print(json.dumps(report.as_json(measurements, setting), indent=2))
    else:
        report.show(measurements, setting)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Dispatch beside a bare gRPC server.")
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds of each case, interleaved (5)")
    parser.add_argument("--messages", type=_positive, default=4000, help="messages a round (4000)")
    parser.add_argument("--concurrency", type=_positive, default=64, help="calls under way at once (64)")
    parser.add_argument("--channels", type=_positive, default=4, help="connections (4)")
    parser.add_argument("--server-ids", action="store_true", help="leave the request ids to the server")
    parser.add_argument("--quick", action="store_true", help="two short rounds: shows that it works, not how well")
    parser.add_argument("--json", action="store_true", help="every figure of every round, as JSON")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.messages = 2, 300
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _measure(options: argparse.Namespace) -> list[Measurement]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postwire-bench-")))
        load = stack.enter_context(load_generator())
        collecting = stack.enter_context(ExitStack())
        serving = stack.enter_context(ExitStack())
        servers = {YARDSTICK: serving.enter_context(echo_server(folder / "echo.log"))}
        collectors: dict[str, Collector] = {}
        for case in SERVICES:
            environ: dict[str, str] = {}
            if case.sampled:
                collectors[case.name] = collecting.enter_context(collector(folder / "collector.log"))
                environ = {
                    "POSTWIRE_TELEMETRY__OTLP_ENDPOINT": f"http://{collectors[case.name].address}",
                    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                    "OTEL_TRACES_SAMPLER_ARG": str(case.sampled),
                    "OTEL_BSP_SCHEDULE_DELAY": str(EXPORT_DELAY_MS),
                }
            servers[case.name] = serving.enter_context(postwire_server(case.name, folder, environ))
        rounds = _run_rounds(servers, load, options)
        # What the services left behind is counted, so that none of them can have saved itself the work.
        serving.close()
        collecting.close()
        dispatched = (options.rounds + 1) * options.messages
        for case in SERVICES:
            found = stored(store_of(case.name, folder))
            if set(found.values()) != {dispatched}:
                raise BenchError(f"{case.title}: sent {dispatched} messages, but the store holds {found}")
            _check_spans(case, collectors[case.name].spans if case.sampled else 0, dispatched)
    return rounds


def _check_spans(case: Case, spans: int, dispatched: int) -> None:
    expected = SPANS_A_MESSAGE * dispatched * case.sampled
    # Where spans are sampled, chance has a say: more than six standard deviations are none.
    margin = 6 * SPANS_A_MESSAGE * math.sqrt(dispatched * case.sampled * (1 - case.sampled))
    if abs(spans - expected) > margin:
        raise BenchError(f"{case.title}: expected {expected:.0f} spans, but {spans} reached the collector")


def _run_rounds(servers: Mapping[str, Server], load: LoadGenerator, options: argparse.Namespace) -> list[Measurement]:
    done: dict[str, list[Round]] = {case.name: [] for case in CASES}
    # A round's CPU runs until the next one begins, so that what is exported afterwards is counted.
    cpu: dict[str, list[float]] = {case.name: [] for case in CASES}
    # Interleaved, so that a noisy spell hits all cases alike.
    for number in range(options.rounds + 1):
        for case in CASES:
            if sys.stderr.isatty():
                print(f"\r\x1b[Kround {number} of {options.rounds}: {case.title} ", end="", file=sys.stderr)
            cpu[case.name].append(servers[case.name].cpu())
            done[case.name].append(_round(case, servers[case.name], load, options))
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    time.sleep(2 * EXPORT_DELAY_MS / 1000)
    for case in CASES:
        cpu[case.name].append(servers[case.name].cpu())
    return [
        Measurement(case.name, number, options.messages, after - before, one)
        for case in CASES
        for number, (one, (before, after)) in enumerate(zip(done[case.name], pairwise(cpu[case.name]), strict=True))
        if number  # round 0 warms everything up and is dropped
    ]


def _round(case: Case, server: Server, load: LoadGenerator, options: argparse.Namespace) -> Round:
    request_ids = not options.server_ids
    done = load.run(Job(server.address, options.messages, options.concurrency, options.channels, request_ids))
    if done.bad or done.sent != options.messages:
        raise BenchError(f"{case.title}: {done.sent} of {options.messages} were OK and SENT; the others: {done.bad}")
    return done


if __name__ == "__main__":
    sys.exit(main())
