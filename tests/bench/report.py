"""What the rounds come to, in tables and in JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tests.bench.figures import TARGETS, Case, Figure, Measurement, costs, ratios


@dataclass(frozen=True, slots=True)
class Table:
    """The rounds of several cases. They are compared by throughput, or by cost; `remarks` go below."""

    title: str
    cases: Sequence[Case]
    measurements: Sequence[Measurement]
    by_cost: bool = False
    remarks: Sequence[str] = ()

    def compared(self, case: Case) -> list[float]:
        """Round by round, how a case compares with the one it is against."""
        return (costs if self.by_cost else ratios)(self.measurements, case)


@dataclass(frozen=True, slots=True)
class Result:
    """What a group has measured. `facts` are what pages need and nothing is asked of, by name."""

    figures: Sequence[Figure]
    table: Table | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


def as_json(result: Result, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a group has measured: with what, the figures, what the cases come to, and every round."""
    return {
        "setting": dict(setting),
        "figures": [
            {**asdict(figure.target), **asdict(figure), "target": figure.target.name, "verdict": figure.verdict}
            for figure in _in_order([result])
        ],
        "facts": dict(result.facts),
        "table": _table_as_json(result.table) if result.table else None,
    }


def _table_as_json(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "by_cost": table.by_cost,
        "remarks": list(table.remarks),
        "cases": [_case_as_json(table, case) for case in table.cases],
        "rounds": [_round_as_json(one) for one in table.measurements],
    }


def _round_as_json(one: Measurement) -> dict[str, Any]:
    """Without the answers: a round whose answers are not all as they should be is no measurement."""
    done = one.round
    measured = {"messages": one.messages, "cpu": one.cpu, "wall": done.wall, "p50": done.p50, "p99": done.p99}
    return {"case": one.case, "number": one.number, **measured}


def _case_as_json(table: Table, case: Case) -> dict[str, Any]:
    of_case = [one for one in table.measurements if one.case == case.name]
    compared = table.compared(case) if case.against else []
    return {
        "case": case.name,
        "title": case.title,
        "against": case.against,
        "series": case.series,
        "at": case.at,
        "cpu_us_per_message": median(one.cpu / one.messages for one in of_case) * 1e6,
        "messages_per_cpu_second": median(one.per_cpu_second for one in of_case),
        "messages_per_second": median(one.messages / one.round.wall for one in of_case),
        "p50_ms": _median_ms(one.round.p50 for one in of_case),
        "p99_ms": _median_ms(one.round.p99 for one in of_case),
        "ratio": median(compared) if compared else None,  # of each round with the round that it is against
    }


def lines_of(table: Table) -> list[str]:
    """The table of a group: medians, with the lowest and the highest round."""
    head = (
        "",
        "CPU µs a message",
        "a second of CPU",
        "a second",
        "p50 ms",
        "p99 ms",
        "cost" if table.by_cost else "ratio",
    )
    rows: list[Sequence[str]] = [head]
    for case in table.cases:
        of_case = [one for one in table.measurements if one.case == case.name]
        rows.append(
            (
                case.title,
                _spread([one.cpu / one.messages * 1e6 for one in of_case], _whole),
                _spread([one.per_cpu_second for one in of_case], _whole),
                _spread([one.messages / one.round.wall for one in of_case], _whole),
                _milliseconds(one.round.p50 for one in of_case),
                _milliseconds(one.round.p99 for one in of_case),
                _spread(table.compared(case), "{:.3f}".format) if case.against else "1",
            )
        )
    return [table.title, *_aligned(rows), *table.remarks]


def lines_of_figures(results: Sequence[Result]) -> list[str]:
    """The table of all figures, beside what is asked for, in the order of the design."""
    rows: list[Sequence[str]] = [("", "must", "reach", "measured", "", "verdict", "")]
    for figure in _in_order(results):
        target = figure.target
        sign = "≤ " if target.at_most else "≥ "
        rows.append(
            (
                target.title,
                f"{sign}{target.must:g}",
                "" if target.reach is None else f"{sign}{target.reach:g}",
                _spread([figure.value, figure.low, figure.high], f"{{:.{target.digits}f}}".format, figure.value),
                target.unit,
                figure.verdict,
                figure.note,
            )
        )
    return _aligned(rows, left=(0, 4, 5, 6))


def _in_order(results: Iterable[Result]) -> list[Figure]:
    figures = [figure for result in results for figure in result.figures]
    return sorted(figures, key=lambda figure: TARGETS.index(figure.target))


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _spread(values: Sequence[float], form: Callable[[float], str], middle: float | None = None) -> str:
    middle = median(values) if middle is None else middle
    shown, low, high = form(middle), form(min(values)), form(max(values))
    return shown if low == high else f"{shown} ({low}–{high})"


def _milliseconds(seconds: Iterable[float | None]) -> str:
    middle = _median_ms(seconds)
    return "" if middle is None else f"{middle:.1f}"


def _median_ms(seconds: Iterable[float | None]) -> float | None:
    known = [one for one in seconds if one is not None]
    return median(known) * 1e3 if known else None
