"""The bench's arithmetic: what rounds come to, how that is judged, and how it is shown."""

from __future__ import annotations

import json

import pytest
from tests.bench.figures import (
    TARGETS,
    Case,
    Figure,
    Measurement,
    Target,
    costs,
    figure,
    ratios,
    slope,
    target,
)
from tests.bench.jobs import SENT, Calls, Job, Paced, Round, Streams, percentile, read_job, write_job
from tests.bench.report import Result, Table, as_json, lines_of, lines_of_figures

MORE = Target("more", "throughput", "× echo", must=0.5, reach=0.8)
LESS = Target("less", "cost", "× cost", must=1.1, reach=1.0, at_most=True)
NO_REACH = Target("isolation", "p99", "× p99", must=1.5, at_most=True)


def single(of: Target, value: float) -> Figure:
    return Figure(of, value, value, value)


@pytest.mark.parametrize(
    ("of", "value", "verdict"),
    [
        (MORE, 0.9, "reached"),
        (MORE, 0.8, "reached"),
        (MORE, 0.79, "met"),
        (MORE, 0.5, "met"),
        (MORE, 0.49, "MISSED"),
        (LESS, 0.97, "reached"),
        (LESS, 1.0, "reached"),
        (LESS, 1.01, "met"),
        (LESS, 1.1, "met"),
        (LESS, 1.11, "MISSED"),
        (NO_REACH, 0.1, "met"),
        (NO_REACH, 1.51, "MISSED"),
    ],
)
def test_a_figure_is_reached_met_or_missed(of: Target, value: float, verdict: str) -> None:
    assert single(of, value).verdict == verdict


@pytest.mark.parametrize(("of", "value"), [(MORE, 0.4951), (LESS, 1.1049)])
def test_a_figure_is_judged_as_it_is_shown(of: Target, value: float) -> None:
    assert single(of, value).verdict == "met"


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (0.9, 1.0, 1.2, "unclear"),
        (1.05, 1.2, 1.4, "unclear"),
        (0.8, 0.9, 1.1, "reached"),
        (1.01, 1.05, 1.1, "met"),
        (1.2, 1.3, 1.4, "MISSED"),
    ],
)
def test_an_estimate_says_nothing_where_it_may_lie_on_either_side(
    low: float, value: float, high: float, verdict: str
) -> None:
    assert Figure(LESS, value, low, high, estimated=True).verdict == verdict


def test_the_spread_of_rounds_does_not_make_a_figure_unclear() -> None:
    assert Figure(LESS, 1.0, 0.9, 1.2).verdict == "reached"


def test_a_figure_is_the_median_of_its_rounds_between_the_extremes() -> None:
    made = figure("accept", [7.0, 2.0, 30.0], "a note")
    assert (made.value, made.low, made.high, made.note) == (7.0, 2.0, 30.0, "a note")
    assert made.target is target("accept")


def test_every_target_has_a_name_of_its_own_and_reaches_beyond_what_it_must() -> None:
    assert len({one.name for one in TARGETS}) == len(TARGETS)
    for one in TARGETS:
        if one.reach is not None:
            assert (one.reach < one.must) is one.at_most


ECHO = Case("echo", "echo")
DISPATCH = Case("dispatch", "Dispatch", against="echo")


def measured(case: Case, number: int, cpu: float, wall: float = 1.0, p50: float | None = 0.002) -> Measurement:
    return Measurement(case.name, number, 1000, cpu, Round(wall, p50, p50 and 2 * p50, {SENT: 1000}))


ROUNDS = [
    # The second round hit a noisy spell, which both cases felt.
    measured(ECHO, 1, 0.2),
    measured(DISPATCH, 1, 0.4),
    measured(ECHO, 2, 0.6),
    measured(DISPATCH, 2, 0.8),
    measured(ECHO, 3, 0.2),
    measured(DISPATCH, 3, 0.5),
]


def test_a_case_is_compared_round_by_round_with_the_one_it_is_against() -> None:
    assert ratios(ROUNDS, DISPATCH) == pytest.approx([0.5, 0.75, 0.4])
    assert costs(ROUNDS, DISPATCH) == pytest.approx([2.0, 4 / 3, 2.5])


def test_throughput_is_counted_a_second_of_cpu_and_not_of_the_clock() -> None:
    slow = measured(DISPATCH, 1, 0.4, wall=100.0)
    assert slow.per_cpu_second == pytest.approx(2500)


def test_a_slope_is_exact_where_the_points_lie_on_a_line() -> None:
    assert slope([(x, 3.0 + 2.0 * x) for x in range(20)]) == pytest.approx((2.0, 2.0, 2.0))


def test_a_slope_is_not_moved_by_a_jump() -> None:
    points = [(float(x), 5.0) for x in range(20)]
    points[7] = (7.0, 500.0)
    assert slope(points)[0] == 0.0


def test_a_slope_without_a_trend_lies_on_either_side_of_nothing() -> None:
    middle, low, high = slope([(x, (-1.0) ** x) for x in range(40)])
    assert low <= 0.0 <= high
    assert low <= middle <= high


def test_a_slope_beyond_the_noise_is_told_from_none() -> None:
    _, low, high = slope([(x, x + (-1.0) ** x) for x in range(40)])
    assert 0.8 < low <= 1.0 <= high < 1.2


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([4.0], 0.99, 4.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 3.0),
        ([float(n) for n in range(1000)], 0.99, 990.0),
        ([1.0, 2.0], 1.0, 2.0),
    ],
)
def test_percentiles(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize(
    "job",
    [
        Calls("127.0.0.1:1", 100, 8, 2, request_ids=False),
        Streams("127.0.0.1:1", 1000, 100, 4, later=3600, traced=10),
        Paced("127.0.0.1:1", 200, 1.5, 0.5, "email", 3.0, 2),
    ],
)
def test_a_job_arrives_as_it_was_written(job: Job) -> None:
    line = write_job(job)
    assert line.count(b"\n") == 1
    assert read_job(line.decode()) == job


def test_a_paced_job_has_as_many_calls_as_its_pace_and_time_come_to() -> None:
    assert Paced("127.0.0.1:1", 200, 1.5, 0.5, "email", 3.0, 2).messages == 300


TABLE = Table("Title", (ECHO, DISPATCH), ROUNDS, remarks=["A remark."])


def test_a_table_shows_medians_with_the_extremes() -> None:
    title, head, echo, dispatch, remark = lines_of(TABLE)
    assert (title, remark) == ("Title", "A remark.")
    assert head.split("  ")[-1].strip() == "ratio"
    assert echo.split() == ["echo", "200", "(200–600)", "5,000", "(1,667–5,000)", "1,000", "2.0", "4.0", "1"]
    assert dispatch.split()[:3] == ["Dispatch", "500", "(400–800)"]
    assert dispatch.endswith("0.500 (0.400–0.750)")


def test_a_table_of_costs_compares_the_other_way_round() -> None:
    table = Table("Title", (ECHO, DISPATCH), ROUNDS, by_cost=True)
    assert lines_of(table)[1].endswith("cost")
    assert lines_of(table)[3].endswith("2.000 (1.333–2.500)")


def test_a_stream_has_no_latencies_to_show() -> None:
    alone = Case("stream", "DispatchStream")
    shown = lines_of(Table("Title", (alone,), [measured(alone, 1, 0.5, p50=None)]))[2]
    assert shown.split() == ["DispatchStream", "500", "2,000", "1,000", "1"]


def test_figures_are_shown_in_the_order_of_the_design_beside_what_authenticates() -> None:
    results = [Result([figure("boot", [0.8, 0.7, 0.9], "a note")]), Result([figure("traced", [0.62, 0.47, 0.7])])]
    head, *rows = lines_of_figures(results)
    assert head.split() == ["must", "reach", "measured", "verdict"]
    assert [" ".join(row.split()) for row in rows] == [
        "Dispatch, every span exported ≥ 0.5 ≥ 0.65 0.620 (0.470–0.700) × echo met",
        "boot to serving ≤ 1 ≤ 0.7 0.80 (0.70–0.90) s met a note",
    ]


def test_the_json_is_json_and_holds_the_figures_with_their_verdicts_and_every_round() -> None:
    figures = [figure("isolation", [1.6]), figure("traced", ratios(ROUNDS, DISPATCH))]
    found = json.loads(json.dumps(as_json(Result(figures, TABLE, {"bytes": 7.0}), {"loop": "uvloop"}), allow_nan=False))
    assert (found["setting"], found["facts"]) == ({"loop": "uvloop"}, {"bytes": 7.0})
    assert [(one["target"], one["verdict"], one["must"], one["reach"]) for one in found["figures"]] == [
        ("traced", "met", 0.5, 0.65),
        ("isolation", "MISSED", 1.5, None),
    ]
    table = found["table"]
    assert [case["ratio"] for case in table["cases"]] == [None, pytest.approx(0.5)]
    assert [case["p99_ms"] for case in table["cases"]] == pytest.approx([4.0, 4.0])
    assert len(table["rounds"]) == len(ROUNDS)
