"""`make bench ARGS=--guard`: whether a message costs a quarter more CPU than was recorded. `.ci/run` asks this.

A cost is the CPU that a message takes in the service, to what a call of `echo` takes in the same round. A round is
several short turns of each, interleaved, so that a noisy spell hits both; the median of five rounds counts. If it is
too much, all is done once more with new processes, and only what is too much both times is a regression.

Why that is enough, as measured on two cores: a turn alone varies by 30 %, whatever the machine does. Tries of the same
code were within 2 % of each other for `Dispatch` and 8 % for the stream where the machine had twice the work that it
can do, within 15 % where it had five times as much, and a fifth lower on one core. 0.2 ms more of CPU for a message,
which were 35 %, came out as 32 %. A try took 13 to 18 s, and up to 40 s with five times the work. docs/adr/0042.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.bench import HOUR, Bench, Scale
from tests.bench.figures import Case, Measurement
from tests.bench.groups.dispatch import ECHO
from tests.bench.jobs import QUEUED
from tests.bench.processes import echo_server, load_generator, postwire_server, store_of
from tests.bench.progress import say
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored
from tests.bench.surroundings import interpreter, machine

MARGINS: Final = {"dispatch": 1.25, "accept": 1.5}
"""What costs more than so many times what was recorded is too much: what is measured of streams varies more."""

BUSY: Final = 0.5
"""On a machine where the service stands in line for a core for longer than this, for each second that it has one, …"""

BUSY_MARGIN: Final = 1.25
"""… so many times as much is not yet too much: others empty its caches, which costs it more than it costs echo."""

ROUNDS: Final = 5
TURNS: Final = 5
"""In a round."""

WARM_UP: Final = 3
"""Turns that do not count."""

SCALE: Final = Scale(messages=200, streamed=1_200)
"""A turn, of about 0.1 s of CPU for each."""

ECHOES: Final = 600
DISPATCH: Final = Case("dispatch", "Dispatch, 64 callers", ECHO.name)
ACCEPT: Final = Case("accept", "DispatchStream, acceptance", ECHO.name)
CASES: Final = (DISPATCH, ACCEPT)
WITHOUT_DISK: Final = {"POSTWIRE_STORE__SYNC": "normal"}
"""Commits share an fsync while they wait for it: by how many, and so at what cost, is the disk's and not the code's."""

RECORDED: Final = Path(__file__).with_name("recorded.json")
HOW: Final = (
    'Written by `make bench ARGS="--guard --record"`, on a machine that does nothing else: after a change that makes a'
    " message cheaper, or dearer on purpose. The commit says why."
)
TRIES: Final = 3
"""What is recorded is the median of so many times the rounds, each time with new processes."""


@dataclass(frozen=True, slots=True)
class Try:
    """By case, what a message cost in each round; and how long the service stood in line for each second it ran."""

    costs: Mapping[str, Sequence[float]]
    in_line: float = 0.0

    def limit(self, case: str, recorded: Mapping[str, float]) -> float:
        """What is not yet too much."""
        return recorded[case] * MARGINS[case] * (BUSY_MARGIN if self.in_line > BUSY else 1.0)

    def too_costly(self, recorded: Mapping[str, float]) -> set[str]:
        """The cases whose median is over the limit."""
        return {name for name, rounds in self.costs.items() if median(rounds) > self.limit(name, recorded)}


def costs_of_rounds(measurements: Sequence[Measurement], case: str, rounds: int = ROUNDS) -> list[float]:
    """What a message of a case cost in each round, in calls of echo: over all of the round's turns."""

    def per_message(number: int, name: str) -> float:
        last = max(one.number for one in measurements)
        turns = [one for one in measurements if one.case == name and (one.number - 1) * rounds // last == number]
        return sum(one.cpu for one in turns) / sum(one.messages for one in turns)

    return [per_message(number, case) / per_message(number, ECHO.name) for number in range(rounds)]


def guard() -> int:
    """The exit code: 1 where a message costs too much twice running."""
    build = interpreter()
    known = json.loads(RECORDED.read_text(encoding="utf-8"))["by_interpreter"].get(build)
    if known is None:
        print(f'Not recorded for {build}, so not compared. make bench ARGS="--guard --record" records it.')
        return 0
    return compare(known["costs"], _measure)


def compare(recorded: Mapping[str, float], measure: Callable[[], Try]) -> int:
    """The exit code, by what one try or two have measured."""
    suspects = _shown(measure(), recorded).too_costly(recorded)
    if not suspects:
        return 0
    print("That seems too much: once more, with new processes.", flush=True)
    worse = suspects & _shown(measure(), recorded).too_costly(recorded)
    if worse:
        print(f"A message costs more than it may: {', '.join(sorted(worse))}. If it is to, see {RECORDED.name}.")
    return int(bool(worse))


def record() -> int:
    """Write down what a message costs now, with this interpreter."""
    tries = [_measure() for _ in range(TRIES)]
    costs = {case.name: round(median(cost for found in tries for cost in found.costs[case.name]), 3) for case in CASES}
    held = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {"by_interpreter": {}}
    entry: dict[str, Any] = {"costs": costs, "date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    by_interpreter = {**held["by_interpreter"], interpreter(): entry}
    text = json.dumps({"how": HOW, "by_interpreter": by_interpreter}, indent=2, ensure_ascii=False)
    RECORDED.write_text(text + "\n", encoding="utf-8")
    print(f"Recorded for {interpreter()}: {costs}.")
    if any(found.in_line > BUSY for found in tries):
        print("The machine was busy: record it again where nothing else runs, or the guard will be wrong there.")
    return 0


def _shown(found: Try, recorded: Mapping[str, float]) -> Try:
    for case in CASES:
        rounds = found.costs[case.name]
        print(
            f"{case.title}: {median(rounds):.2f} echoes ({min(rounds):.2f}–{max(rounds):.2f}),"
            f" recorded {recorded[case.name]:.2f}, at most {found.limit(case.name, recorded):.2f}",
            flush=True,
        )
    if found.in_line > BUSY:
        print(f"The machine is busy ({found.in_line:.1f} s in line for each second of CPU), so more is let through.")
    return found


def _measure() -> Try:
    with tempfile.TemporaryDirectory(prefix="postwire-bench-") as name, load_generator() as load:
        folder = Path(name)
        bench = Bench(folder, load, SCALE)
        with ExitStack() as serving:
            echo = serving.enter_context(echo_server(folder / "echo.log"))
            server = serving.enter_context(postwire_server("guard", folder, WITHOUT_DISK))
            dispatch = Run(DISPATCH, server, bench.calls(server))
            accept = Run(ACCEPT, server, bench.streams(server, later=HOUR), QUEUED)
            runs = [Run(ECHO, echo, replace(bench.calls(echo), messages=ECHOES)), dispatch, accept]
            run_rounds(runs, load, WARM_UP - 1)  # and one more, as in every run
            cpu, in_line = server.cpu(), server.in_line()
            measurements = run_rounds(runs, load, ROUNDS * TURNS)
            waited = (server.in_line() - in_line) / (server.cpu() - cpu)
        turns = WARM_UP + 1 + ROUNDS * TURNS
        sent = turns * dispatch.job.messages
        check_stored("guard", store_of("guard", folder), messages=sent + turns * accept.job.messages, sent=sent)
    say()
    return Try({case.name: costs_of_rounds(measurements, case.name) for case in CASES}, waited)
