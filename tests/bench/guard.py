"""`make bench ARGS=--guard`: whether a message costs a quarter more CPU than was recorded. `.ci/run` asks this.

A cost is the CPU that a message takes in the service, to what a call of `echo` takes in the same round. A round is
several short turns of each, interleaved, so that a noisy spell hits both; the median of five rounds counts. If it is
too much, all is done again with new processes, and again: only what is too much three times running is a regression.

Why that is enough, as measured on two cores: a turn alone varies by 30 %, whatever the machine does. For `Dispatch`,
tries of the same code were within 3 % of each other where the machine had little else to do, and up to 26 % dearer
where it had three to five times the work that it can do: one in fourteen was over the limit. 0.2 ms more of CPU for a
message, which were 35 %, came out as 32 % and more. A try took 13 to 18 s; up to 40 s on such a machine. ADR 42.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
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
from tests.bench.surroundings import cpu, interpreter, machine

MARGINS: Final = {"dispatch": 1.25, "accept": 1.5}
"""What costs more than so many times what was recorded is too much: what is measured of streams varies more."""

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
"""So many times running it has to be too much, each with new processes."""

RECORDED_TRIES: Final = 5
"""The dearest of so many is recorded: what the same code comes to at the most where nothing is wrong."""

Costs = Mapping[str, Sequence[float]]
"""By case, what a message cost in each round."""


def too_costly(found: Costs, recorded: Mapping[str, float]) -> set[str]:
    """The cases whose median is over what was recorded by more than the margin."""
    return {name for name, rounds in found.items() if median(rounds) > MARGINS[name] * recorded[name]}


def costs_of_rounds(measurements: Sequence[Measurement], case: str, rounds: int = ROUNDS) -> list[float]:
    """What a message of a case cost in each round, in calls of echo: over all of the round's turns."""

    def per_message(number: int, name: str) -> float:
        last = max(one.number for one in measurements)
        turns = [one for one in measurements if one.case == name and (one.number - 1) * rounds // last == number]
        return sum(one.cpu for one in turns) / sum(one.messages for one in turns)

    return [per_message(number, case) / per_message(number, ECHO.name) for number in range(rounds)]


def recorded_for() -> str:
    """What moves the costs by as much as a fault would: the interpreter, and the cores that all of it shares."""
    return f"{interpreter()}, {os.cpu_count()} cores of {cpu()}"


def guard() -> int:
    """The exit code: 1 where a message costs too much."""
    kind = recorded_for()
    known = json.loads(RECORDED.read_text(encoding="utf-8"))["by_interpreter"].get(kind)
    if known is None:
        print(f'Not recorded for {kind}, so not compared. make bench ARGS="--guard --record" records it.')
        return 0
    return compare(known["costs"], _measure)


def compare(recorded: Mapping[str, float], measure: Callable[[], Costs]) -> int:
    """The exit code, by what one try has measured, or more where that is too much."""
    worse = {case.name for case in CASES}
    for number in range(TRIES):
        if number:
            print("That seems too much: once more, with new processes.", flush=True)
        found = measure()
        _show(found, recorded)
        worse &= too_costly(found, recorded)
        if not worse:
            return 0
    print(f"A message costs more than it may: {', '.join(sorted(worse))}. If it is to, see {RECORDED.name}.")
    return 1


def record() -> int:
    """Write down what a message costs now, with this interpreter on so many cores."""
    tries = [_measure() for _ in range(RECORDED_TRIES)]
    costs = {case.name: round(max(median(found[case.name]) for found in tries), 3) for case in CASES}
    held = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {"by_interpreter": {}}
    entry: dict[str, Any] = {"costs": costs, "date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    by_interpreter = {**held["by_interpreter"], recorded_for(): entry}
    text = json.dumps({"how": HOW, "by_interpreter": by_interpreter}, indent=2, ensure_ascii=False)
    RECORDED.write_text(text + "\n", encoding="utf-8")
    print(f"Recorded for {recorded_for()}: {costs}.")
    return 0


def _show(found: Costs, recorded: Mapping[str, float]) -> None:
    for case in CASES:
        rounds, was = found[case.name], recorded[case.name]
        print(
            f"{case.title}: {median(rounds):.2f} echoes ({min(rounds):.2f}–{max(rounds):.2f}),"
            f" recorded {was:.2f}, at most {MARGINS[case.name] * was:.2f}",
            flush=True,
        )


def _measure() -> Costs:
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
            measurements = run_rounds(runs, load, ROUNDS * TURNS)
        turns = WARM_UP + 1 + ROUNDS * TURNS
        sent = turns * dispatch.job.messages
        check_stored("guard", store_of("guard", folder), messages=sent + turns * accept.job.messages, sent=sent)
    say()
    return {case.name: costs_of_rounds(measurements, case.name) for case in CASES}
