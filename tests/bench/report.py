"""What the rounds come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from tests.bench.load import Round


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. `must` and `reach` are the ratios to the yardstick that the design asks for.

    `sampled` is the share of calls whose spans are recorded and exported to a collector.
    """

    name: str
    title: str
    sampled: float = 0.0
    must: float | None = None
    reach: float | None = None


YARDSTICK: Final = "echo"
SERVICES: Final = (
    Case("plain", "Dispatch, telemetry off"),
    Case("traced", "Dispatch, every span exported", sampled=1.0, must=0.5, reach=0.8),
    Case("sampled", "Dispatch, spans sampled at 1 %", sampled=0.01, must=0.6, reach=0.9),
)
CASES: Final = (Case(YARDSTICK, "echo"), *SERVICES)
SPANS_A_MESSAGE: Final = 2
"""The call's, and the attempt's."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One round of one case. `cpu` is the server's, in seconds."""

    case: str
    number: int
    messages: int
    cpu: float
    round: Round

    @property
    def per_cpu_second(self) -> float:
        """Messages a second of server CPU."""
        return self.messages / self.cpu


def ratios(measurements: Sequence[Measurement], case: str) -> list[float]:
    """Round by round, how a case's throughput a second of server CPU compares with the yardstick's."""
    echo = {one.number: one.per_cpu_second for one in measurements if one.case == YARDSTICK}
    return [one.per_cpu_second / echo[one.number] for one in measurements if one.case == case]


def as_json(measurements: Sequence[Measurement], setting: Mapping[str, Any]) -> dict[str, Any]:
    """Everything: the setting, what the cases come to, and every round."""
    cases = []
    for case in CASES:
        of_case = [one for one in measurements if one.case == case.name]
        cases.append(
            {
                "case": case.name,
                "title": case.title,
                "must": case.must,
                "reach": case.reach,
                "cpu_us_per_message": median(one.cpu / one.messages for one in of_case) * 1e6,
                "messages_per_cpu_second": median(one.per_cpu_second for one in of_case),
                "ratio": median(ratios(measurements, case.name)),
                "ratios": ratios(measurements, case.name),
            }
        )
    return {"setting": dict(setting), "cases": cases, "rounds": [asdict(one) for one in measurements]}


def show(measurements: Sequence[Measurement], setting: Mapping[str, Any]) -> None:
    """Print the table."""
    print(
        f"{setting['rounds']} rounds of {setting['messages']:,} messages each, {setting['concurrency']} at once over "
        f"{setting['channels']} connections, {setting['request_ids']} request ids.\n"
        f"Python {setting['python']}, {setting['loop']}. Medians, with the lowest and the highest round.\n"
    )
    head = ("", "CPU µs a message", "a second of CPU", "a second", "p50 ms", "p99 ms", "ratio", "must", "reach")
    rows = [head]
    for case in CASES:
        of_case = [one for one in measurements if one.case == case.name]
        rows.append(
            (
                case.title,
                _spread([one.cpu / one.messages * 1e6 for one in of_case], _whole),
                _spread([one.per_cpu_second for one in of_case], _whole),
                _spread([one.messages / one.round.wall for one in of_case], _whole),
                f"{median(one.round.p50 for one in of_case) * 1e3:.1f}",
                f"{median(one.round.p99 for one in of_case) * 1e3:.1f}",
                "1" if case.name == YARDSTICK else _spread(ratios(measurements, case.name), "{:.3f}".format),
                "" if case.must is None else f"{case.must:g}",
                "" if case.reach is None else f"{case.reach:g}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = [
            cell.ljust(width) if not n else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    return f"{form(median(values))} ({form(min(values))}–{form(max(values))})"
