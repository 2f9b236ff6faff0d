"""docs/performance.md: the parts of it that are measured, and its plots, from what a run of the bench has left behind.

Whatever is between `<!-- bench: NAME -->` and `<!-- bench: end -->` is written here, and nothing else of the page is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.svg import Axis, Bars, Line, Plot, draw_bars, draw_nothing, draw_plot, number

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = Path("docs/performance.md")
FOLDER: Final = Path("docs/performance")
RESULTS: Final = FOLDER / "results.json"
"""What was measured, each round of it: relative to the checkout, as all of these."""

CAREFUL: Final = 0.7
"""How much of a core a node is planned to use: above it, callers wait for each other."""

VENDOR: Final = 0.25
"""Seconds that a vendor is taken to need for a message."""

NODES: Final = (1, 10, 1000)
DAY: Final = 86_400
GIB: Final = 1024**3

Group = Mapping[str, Any]
Groups = Mapping[str, Group]
_PART: Final = re.compile(r"(<!-- bench: (?!end)(\S+) -->\n).*?(<!-- bench: end -->)", re.DOTALL)
_MISSING: Final = "*Not measured in this run.*\n"


def keep(measured: Groups, root: Path = ROOT) -> None:
    """Put what was measured in the place of what these groups had measured before."""
    file = root / RESULTS
    file.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(write_results({**earlier, **measured}), encoding="utf-8")


def write_results(groups: Groups) -> str:
    """As JSON, a round a line, with as many digits as mean something."""
    text = json.dumps(_rounded(groups), indent=1, ensure_ascii=False, sort_keys=True)
    return re.sub(r"[\[{][^][{}]*[]}]", lambda innermost: " ".join(innermost[0].split()), text) + "\n"


def write_docs(root: Path = ROOT) -> list[Path]:
    """Write the page's parts and the plots from what is kept; returns what changed."""
    groups = json.loads((root / RESULTS).read_text(encoding="utf-8"))
    written = render(groups, (root / PAGE).read_text(encoding="utf-8"))
    changed = []
    for path, text in written.items():
        file = root / path
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def render(groups: Groups, page: str) -> dict[Path, str]:
    """The page with its measured parts, and the plots; by path."""
    plots = {FOLDER / f"{name}.svg": draw(groups) for name, draw in PLOTS.items()}
    return {PAGE: _PART.sub(lambda part: part[1] + (PARTS[part[2]](groups) or _MISSING) + part[3], page)} | plots


def _measured_on(groups: Groups) -> str:
    by_setting: dict[str, list[str]] = {}
    for name, group in groups.items():
        setting = group["setting"]
        machine = setting["machine"]
        build = re.sub(r"\d+\.\d+", setting["python"], setting["interpreter"], count=1)
        text = (
            f"{setting['date']}, {build}, {machine['cores']} cores of"
            f" {machine['cpu']}, {machine['memory_gib']} GiB, {machine['system']}"
        )
        by_setting.setdefault(text, []).append(name)
    syncs = sorted(group["setting"]["machine"]["sync_ms"] for group in groups.values())
    lines = [f"- {text}: {', '.join(f'`{name}`' for name in sorted(names))}" for text, names in by_setting.items()]
    shown = number(syncs[0]) if syncs[0] == syncs[-1] else f"{number(syncs[0])} to {number(syncs[-1])}"
    lines.append(f"- To write a page of 4 KiB and sync it took {shown} ms.")
    return "\n".join(lines) + "\n"


def _figures(groups: Groups) -> str:
    from tests.bench.figures import TARGETS  # in the order of the design

    found = {figure["target"]: figure for group in groups.values() for figure in group["figures"]}
    rows = []
    for target in TARGETS:
        if figure := found.get(target.name):
            sign, digits = "≤" if figure["at_most"] else "≥", figure["digits"]
            reach = "" if figure["reach"] is None else f"{sign} {figure['reach']:g}"
            value, low, high = (f"{figure[key]:.{digits}f}" for key in ("value", "low", "high"))
            spread = "" if low == high else f" ({low}–{high})"
            note = figure["note"] and f"; {figure['note']}"
            measured = f"**{value}**{spread} {figure['unit']}{note}"
            rows.append((figure["title"], measured, f"{sign} {figure['must']:g}", reach, figure["verdict"]))
    return _table(("what", "measured", "must", "reach for", "verdict"), rows)


def _cases(group: Group | None, names: Iterable[str] = ()) -> list[Mapping[str, Any]]:
    """Those cases of a group's table, in this order; all of them without names."""
    table = group and group["table"]
    if not table:
        return []
    by_name = {case["case"]: case for case in table["cases"]}
    return [by_name[name] for name in names or by_name if name in by_name]


def _costs(cases: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            case["title"],
            number(round(case["cpu_us_per_message"])),
            number(round(case["messages_per_cpu_second"])),
            number(round(case["messages_per_second"])),
            *("" if case[key] is None else f"{case[key]:.1f}" for key in ("p50_ms", "p99_ms")),
        )
        for case in cases
    ]
    head = ("what", "µs of CPU", "messages a second of CPU", "messages a second here", "p50, ms", "p99, ms")
    return _table(head, rows, right=range(1, 6)) if rows else ""


def _node(groups: Groups) -> str:
    dispatch = _cases(groups.get("dispatch"), ("echo", "plain", "sampled", "traced"))
    return _costs([*dispatch, *_cases(groups.get("stream"), ("accept", "outcome"))])


def _memory(groups: Groups) -> str:
    facts = [
        ("memory after boot", "rss_at_boot", "MiB"),
        ("memory once it is warm", "rss_warm", "MiB"),
        ("the store, for each message", "bytes_per_message", "bytes"),
    ]
    found = groups.get("memory", {}).get("facts", {})
    return _table(("", ""), [(title, f"{found[key]:,.0f} {unit}") for title, key, unit in facts if key in found])


def _capacity(groups: Groups) -> str:
    """What so many nodes carry, by calculation: each as much as one does, which is what the page then takes apart."""
    calls, streams = _cases(groups.get("dispatch"), ("sampled",)), _cases(groups.get("stream"), ("outcome",))
    if not (calls and streams):
        return ""
    called, streamed = (CAREFUL * one[0]["messages_per_cpu_second"] for one in (calls, streams))
    rows = [
        (f"`Dispatch`: {CAREFUL:g} × {_two(called / CAREFUL)} a second of CPU", called, "messages a second"),
        (f"`DispatchStream`: {CAREFUL:g} × {_two(streamed / CAREFUL)}", streamed, "messages a second"),
        (f"`Dispatch`, all day: × {DAY:,}", called * DAY, "messages a day"),
        (f"with vendors at once, at {VENDOR:g} s each: × {VENDOR:g}", called * VENDOR, "attempts"),
        ("spans exported, two a message, of 1 %: × 0.02", called * 0.02, "a second"),
    ]
    if size := groups.get("memory", {}).get("facts", {}).get("bytes_per_message"):
        rows.append((f"the stores, a day of it: × {DAY:,} × {_two(size)} bytes", called * DAY * size / GIB, "GiB"))
    head = ("", *("1 node" if count == 1 else f"{count:,} nodes" for count in NODES), "")
    return _table(head, [(t, *(_two(value * n) for n in NODES), unit) for t, value, unit in rows], right=range(1, 4))


def _two(value: float) -> str:
    """With the two digits that an estimate has."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


PARTS: Final[Mapping[str, Callable[[Groups], str]]] = {
    "measured-on": _measured_on,
    "figures": _figures,
    "node": _node,
    "memory": _memory,
    "latency": lambda groups: _costs(_cases(groups.get("latency"))),
    "outbox": lambda groups: _costs(_cases(groups.get("outbox"))),
    "nodes": lambda groups: _costs(_cases(groups.get("nodes"))),
    "http": lambda groups: _costs(_cases(groups.get("http"))),
    "sync": lambda groups: _costs(_cases(groups.get("sync"))),
    "peer": lambda groups: _costs(_cases(groups.get("peer"))) + _remarks(groups.get("peer")),
    "recovery": lambda groups: _remarks(groups.get("recovery")),
    "capacity": _capacity,
}
"""What is between the markers of the page, by name; empty where the run has not measured it."""


def _remarks(group: Group | None) -> str:
    table = group and group["table"]
    return "".join(f"\n{remark}\n" for remark in table["remarks"]) if table else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    rule = ["---:" if column in set(right) else "---" for column in range(len(head))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows)) if rows else ""


def _lines(group: Group | None, key: str) -> list[Line]:
    points: dict[str, list[tuple[float, float]]] = {}
    for case in _cases(group):
        if case["series"] and case[key] is not None:
            points.setdefault(case["series"], []).append((case["at"], case[key]))
    return [Line(name, points[name]) for name in sorted(points, key=lambda name: name == "echo")]  # the yardstick last


def _plot(group: str, key: str, title: str, x: Axis, y: Axis) -> Callable[[Groups], str]:
    def draw(groups: Groups) -> str:
        lines = _lines(groups.get(group), key)
        return draw_plot(Plot(title, x, y, lines)) if lines else draw_nothing(title)

    return draw


def _peer_plot(groups: Groups) -> str:
    title = "CPU that a message takes"
    bars = [(case["title"], case["cpu_us_per_message"]) for case in _cases(groups.get("peer"))]
    return draw_bars(Bars(title, "µs", bars)) if bars else draw_nothing(title)


CALLERS: Final = Axis("calls under way at once", is_log=True)
PLOTS: Final[Mapping[str, Callable[[Groups], str]]] = {
    "throughput": _plot(
        "latency", "messages_per_second", "Throughput", CALLERS, Axis("messages a second", is_log=True)
    ),
    "latency": _plot("latency", "p99_ms", "Latency: 99 of 100 calls are faster", CALLERS, Axis("p99, ms", is_log=True)),
    "outbox": _plot(
        "outbox",
        "cpu_us_per_message",
        "Cost by what waits in the outbox",
        Axis("messages in the outbox", is_log=True),
        Axis("µs of CPU a message"),
    ),
    "peer": _peer_plot,
}
"""By the name of their file."""


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return value
