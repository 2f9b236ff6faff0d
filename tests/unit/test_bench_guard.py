"""When a cost is too much: what rounds come to, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.bench import __main__ as bench
from tests.bench import guard
from tests.bench.figures import Measurement
from tests.bench.guard import CASES, RECORDED, Costs, costs_of_rounds, too_costly
from tests.bench.jobs import Round
from tests.bench.processes import BenchError
from tests.bench.surroundings import interpreter

RIGHT = {"dispatch": 4.0, "accept": 0.5}


@pytest.mark.parametrize(
    ("dispatch", "accept", "worse"),
    [
        ([4.0] * 5, [0.5] * 5, []),
        ([5.0] * 5, [0.75] * 5, []),
        ([5.1] * 5, [0.5] * 5, ["dispatch"]),
        ([4.0] * 5, [0.76] * 5, ["accept"]),
        ([5.1] * 5, [0.76] * 5, ["dispatch", "accept"]),
        ([9.0, 9.0, 4.0, 4.0, 4.0], [0.5] * 5, []),
        ([9.0, 9.0, 5.1, 4.0, 4.0], [0.5] * 5, ["dispatch"]),
        ([1.0] * 5, [0.1] * 5, []),
    ],
)
def test_the_median_is_compared_with_what_was_recorded(
    dispatch: Sequence[float], accept: Sequence[float], worse: Sequence[str]
) -> None:
    assert too_costly({"dispatch": dispatch, "accept": accept}, RIGHT) == set(worse)


def turn(case: str, number: int, messages: int, cpu: float) -> Measurement:
    return Measurement(case, number, messages, cpu, Round(1.0, None, None, {}))


def test_a_round_is_all_of_its_turns_so_that_one_that_was_disturbed_counts_by_its_share() -> None:
    measurements = [
        # The first round: the second turn of echo was disturbed.
        *(turn("echo", number, 100, cpu) for number, cpu in ((1, 0.1), (2, 0.3))),
        *(turn("dispatch", number, 50, cpu) for number, cpu in ((1, 0.2), (2, 0.2))),
        # The second was not.
        *(turn("echo", number, 100, 0.1) for number in (3, 4)),
        *(turn("dispatch", number, 50, 0.2) for number in (3, 4)),
    ]
    assert costs_of_rounds(measurements, "dispatch", rounds=2) == pytest.approx([2.0, 4.0])


FINE: Costs = {"dispatch": [4.0] * 5, "accept": [0.5] * 5}
DEAR: Costs = {"dispatch": [6.0] * 5, "accept": [0.5] * 5}
BOTH: Costs = {"dispatch": [6.0] * 5, "accept": [0.9] * 5}
OTHER: Costs = {"dispatch": [4.0] * 5, "accept": [0.9] * 5}


@pytest.mark.parametrize(
    ("tries", "code"),
    [
        ([FINE], 0),
        ([DEAR, FINE], 0),
        ([DEAR, OTHER], 0),
        ([DEAR, DEAR, FINE], 0),
        ([BOTH, DEAR, OTHER], 0),
        ([DEAR, DEAR, DEAR], 1),
        ([BOTH, BOTH, OTHER], 1),
    ],
)
def test_only_what_is_too_much_each_time_is_a_regression(
    tries: Sequence[Costs], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = list(tries)
    assert guard.compare(RIGHT, lambda: left.pop(0)) == code
    assert left == []
    assert ("recorded.json" in capsys.readouterr().out) is bool(code)


def test_what_was_recorded_has_every_case_and_says_how_to_do_it_again() -> None:
    held = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert held["how"] == guard.HOW
    assert held["by_interpreter"]
    for entry in held["by_interpreter"].values():
        assert entry["costs"].keys() == {case.name for case in CASES}


def test_an_interpreter_is_told_from_one_that_was_built_otherwise() -> None:
    assert interpreter().count(",") == 2


def test_a_build_for_debugging_is_told_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", {"Py_DEBUG": 1}.get)
    assert "built for debugging" in interpreter()


@pytest.mark.parametrize(("fault", "code"), [(BenchError("the load generator ended"), 2), (KeyboardInterrupt(), 130)])
def test_a_guard_that_cannot_measure_says_so_in_a_line(
    fault: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise fault

    monkeypatch.setattr(guard, "guard", fail)
    monkeypatch.setattr("sys.argv", ["bench", "--guard"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert bench.main() == code
    assert str(fault) in capsys.readouterr().err


@pytest.mark.parametrize(("cores", "is_compared"), [(2, True), (1, False), (64, False)])
def test_what_was_recorded_on_so_many_cores_says_nothing_of_others(
    cores: int, is_compared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = tmp_path / "recorded.json"
    monkeypatch.setattr(guard, "RECORDED", recorded)
    monkeypatch.setattr(guard, "_measure", lambda: FINE)
    monkeypatch.setattr(guard, "machine", dict)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert guard.record() == 0
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(guard, "_measure", lambda: DEAR)
    assert guard.guard() == int(is_compared)
    assert ("not compared" in capsys.readouterr().out) is not is_compared
