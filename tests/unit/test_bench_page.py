"""docs/performance.md is what was measured last, and its plots can be read."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.bench.__main__ import parse
from tests.bench.page import FOLDER, PAGE, PARTS, PLOTS, RESULTS, ROOT, keep, render, write_docs, write_results
from tests.bench.svg import Axis, Bars, Line, Plot, draw_bars, draw_plot, number
from tests.support.docs import steps

COMMITTED = (ROOT / PAGE).read_text(encoding="utf-8")


def test_the_page_and_its_plots_are_what_was_measured_last() -> None:
    groups = json.loads((ROOT / RESULTS).read_text(encoding="utf-8"))
    for path, text in render(groups, COMMITTED).items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, "make bench ARGS=--redraw"


def test_what_is_kept_is_written_as_it_was_measured() -> None:
    text = (ROOT / RESULTS).read_text(encoding="utf-8")
    assert write_results(json.loads(text)) == text


def test_the_page_has_every_part_once_and_every_plot_that_there_is() -> None:
    parts = re.findall(r"<!-- bench: (\S+) -->", COMMITTED)
    assert sorted(part for part in parts if part != "end") == sorted(PARTS)
    assert set(re.findall(r"\(performance/(.*?)\.svg\)", COMMITTED)) == set(PLOTS)


def test_the_commands_of_the_page_are_such_as_the_bench_takes() -> None:
    commands = [step.text for step in steps(ROOT / PAGE)]
    assert len(commands) >= 8
    for command in commands:
        make, bench, *arguments = shlex.split(command)
        assert (make, bench) == ("make", "bench")
        if arguments != ["ARGS=--help"]:
            parse(shlex.split(arguments[0].removeprefix("ARGS=")) if arguments else [])


def case(name: str, cpu: float, series: str = "", at: float | None = None) -> dict[str, Any]:
    times = {"p50_ms": 2.0, "p99_ms": 4.0 if series else None, "messages_per_second": 1e6 / cpu}
    costs = {"cpu_us_per_message": cpu, "messages_per_cpu_second": 1e6 / cpu, "ratio": None}
    return {"case": name, "title": f"a {name}", "against": "", "series": series, "at": at, **costs, **times}


def group(*cases: dict[str, Any], date: str = "2026-11-30", **more: Any) -> dict[str, Any]:
    machine = {"cpu": "A processor", "cores": 2, "memory_gib": 8, "system": "Linux 6.1", "sync_ms": 0.5}
    setting = {"date": date, "interpreter": "CPython 3.11, uvloop", "python": "3.11.7", "machine": machine}
    table = {"title": "T", "by_cost": False, "remarks": ["A remark."], "cases": list(cases), "rounds": []}
    return {"setting": setting, "figures": [], "facts": {}, "table": table, **more}


TRACED = {
    "target": "traced",
    "title": "Dispatch, every span exported",
    "unit": "× echo",
    "at_most": False,
    "digits": 3,
    "value": 0.5123,
    "low": 0.4,
    "high": 0.6,
    "must": 0.5,
    "reach": 0.65,
    "verdict": "met",
    "note": "of three",
}
DISPATCH = group(case("echo", 200), case("plain", 400), case("sampled", 500), figures=[TRACED])
LATENCY = group(case("d-1", 800, "Dispatch", 1), case("d-64", 500, "Dispatch", 64), case("e-1", 250, "echo", 1))


def parts_of(groups: dict[str, Any]) -> dict[str, str]:
    page = "".join(f"<!-- bench: {part} -->\nold\n<!-- bench: end -->\n" for part in PARTS)
    written = render(groups, f"# Title\n{page}The end.\n")[PAGE]
    assert written.startswith("# Title\n")
    assert written.endswith("The end.\n")
    return dict(re.findall(r"<!-- bench: (\S+) -->\n(.*?)<!-- bench: end -->\n", written, re.DOTALL))


def test_a_part_is_what_its_group_has_measured_and_says_where_none_has() -> None:
    parts = parts_of({"dispatch": DISPATCH})
    assert (
        "| Dispatch, every span exported | **0.512** (0.400–0.600) × echo; of three | ≥ 0.5 | ≥ 0.65 | met |"
        in parts["figures"]
    )
    assert "| a sampled | 500 | 2,000 | 2,000 | 2.0 |  |" in parts["node"]
    assert "2026-11-30, CPython 3.11.7, uvloop, 2 cores of A processor, 8 GiB" in parts["measured-on"]
    assert parts["peer"] == parts["capacity"] == "*Not measured in this run.*\n"


def test_what_was_measured_another_time_says_so() -> None:
    parts = parts_of({"dispatch": DISPATCH, "stream": group(date="2026-12-01"), "latency": LATENCY})
    first, second, sync = parts["measured-on"].splitlines()
    assert first.startswith("- 2026-11-30")
    assert first.endswith(": `dispatch`, `latency`")
    assert second.startswith("- 2026-12-01")
    assert "0.5 ms" in sync


def test_what_many_nodes_carry_is_reckoned_from_one() -> None:
    stream = group(case("outcome", 250))
    parts = parts_of({"dispatch": DISPATCH, "stream": stream, "memory": group(facts={"bytes_per_message": 400.0})})
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in parts["capacity"].splitlines()]
    assert rows[0] == ["", "1 node", "10 nodes", "1,000 nodes", ""]
    assert rows[2] == ["`Dispatch`: 0.7 × 2,000 a second of CPU", "1,400", "14,000", "1,400,000", "messages a second"]
    assert rows[3][1:] == ["2,800", "28,000", "2,800,000", "messages a second"]
    assert rows[4][1::2] == ["120,000,000", "120,000,000,000"]
    assert rows[5][1:] == ["350", "3,500", "350,000", "attempts"]
    assert rows[-1][1] == "45"


def test_groups_that_are_measured_take_the_place_of_what_they_had_measured_and_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / PAGE).parent.mkdir()
    (tmp_path / PAGE).write_text("<!-- bench: node -->\n<!-- bench: end -->\n", encoding="utf-8")
    keep({"dispatch": group(case("plain", 999)), "latency": LATENCY}, tmp_path)
    keep({"dispatch": DISPATCH}, tmp_path)
    assert json.loads((tmp_path / RESULTS).read_text(encoding="utf-8")) == {"dispatch": DISPATCH, "latency": LATENCY}
    assert set(write_docs(tmp_path)) == {PAGE, *(FOLDER / f"{plot}.svg" for plot in PLOTS)}
    assert "a plain | 400" in (tmp_path / PAGE).read_text(encoding="utf-8")
    plots = {plot: (tmp_path / FOLDER / f"{plot}.svg").read_text(encoding="utf-8") for plot in PLOTS}
    assert {plot for plot, svg in plots.items() if "Not measured" in svg} == {"outbox", "peer"}
    assert write_docs(tmp_path) == []


LINES = [Line("Dispatch", [(1, 0.3), (8, 5.0), (64, 71.0)]), Line("a < b & c", [(1, 0.1), (64, 14.0)])]
UP = Axis("p99, ms", is_log=True)


def drawn(svg: str) -> tuple[list[str], dict[str, list[tuple[float, float]]]]:
    """What a plot says, and where the points of each line lie."""
    root = ElementTree.fromstring(svg)
    texts = ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]
    lines: dict[str, list[tuple[float, float]]] = {}
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        if path.get("class", "").startswith("line") and "L" in path.get("d", ""):
            points = path.get("d", "")[1:].split("L")
            lines[path.get("class", "")] = [(float(x), float(y)) for x, y in (one.split() for one in points)]
    return texts, lines


def test_a_plot_says_what_is_along_its_axes_and_what_each_line_is() -> None:
    texts, _ = drawn(draw_plot(Plot("Latency", Axis("callers", is_log=True), UP, LINES)))
    assert {"Latency", "callers", "p99, ms", "Dispatch", "a < b & c"} <= set(texts)
    assert {"1", "8", "64"} <= set(texts), "each number of callers is marked"
    assert {"0.1", "1", "10", "100"} <= set(texts), "and the powers of ten"


def test_along_a_logarithmic_axis_a_factor_is_a_distance() -> None:
    _, lines = drawn(draw_plot(Plot("Latency", Axis("callers", is_log=True), UP, LINES)))
    (left, _), (middle, _), (right, _) = lines["line s0"]
    assert middle - left == pytest.approx(right - middle, abs=0.2)


def test_nothing_has_a_place_on_a_logarithmic_axis() -> None:
    line = Line("Dispatch", [(0, 800.0), (1_000, 800.0), (1_000_000, 850.0)])
    texts, lines = drawn(draw_plot(Plot("Cost", Axis("waiting", is_log=True), Axis("µs"), [line])))
    (nothing, _), (some, _), (many, _) = lines["line s0"]
    assert nothing < some < many
    assert {"0", "1,000", "1,000,000"} <= set(texts)


def test_an_axis_that_is_not_logarithmic_begins_at_nothing_so_that_lengths_compare() -> None:
    _, lines = drawn(draw_plot(Plot("Cost", Axis("x"), Axis("µs"), [Line("a", [(0, 0.0), (1, 400.0), (2, 800.0)])])))
    (_, bottom), (_, half), (_, whole) = lines["line s0"]
    assert bottom - whole == pytest.approx(2 * (bottom - half), abs=0.2)


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ((30.0, 800.0), ["20", "50", "100", "200", "500", "1,000"]),
        ((1.0, 100.0), ["1", "2", "5", "10", "20", "50", "100"]),
        ((0.2, 300.0), ["0.1", "1", "10", "100", "1,000"]),
        ((10.0, 10.0), ["10", "20"]),
    ],
)
def test_the_marks_of_a_logarithmic_axis_enclose_what_is_plotted(values: tuple[float, float], marks: list[str]) -> None:
    line = Line("a", list(enumerate(values, start=1)))
    texts, _ = drawn(draw_plot(Plot("P", Axis("x"), UP, [line])))
    assert [text for text in texts if text.replace(",", "").replace(".", "").isdigit()][: len(marks)] == marks


@pytest.mark.parametrize("highest", [0.0, 0.3, 1.0, 999.0, 1_000.0, 123_456.0])
def test_whatever_is_plotted_lies_within_the_axes(highest: float) -> None:
    texts, lines = drawn(draw_plot(Plot("P", Axis("x"), Axis("y"), [Line("a", [(1, 0.0), (2, highest)])])))
    assert all(0 < x < 720 and 0 < y < 400 for x, y in lines["line s0"])
    assert len(texts) < 30


def test_bars_are_as_long_as_their_values_and_say_them() -> None:
    root = ElementTree.fromstring(draw_bars(Bars("CPU", "µs", [("Postwire", 500.0), ("the peer", 2_500.0)])))
    widths = [float(one.get("width", "")) for one in root.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[1] == pytest.approx(5 * widths[0], rel=0.01)
    assert "2,500 µs" in ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.1234, "0.123"), (7.0, "7"), (71.26, "71.3"), (1234.5, "1,234"), (1e6, "1,000,000")],
)
def test_numbers_are_shown_with_the_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown
