"""What is shown at the end of a run: who has called the server, how often, and with what result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Row:
    """One client. `calls` are as the server has counted them, `messages` as its store holds them."""

    client: str
    calls: int | None = None
    messages: int | None = None
    errors: Counter[str] = field(default_factory=Counter)
    result: str = "failed"


def render(rows: Iterable[Row]) -> Iterator[str]:
    """The table, line by line; numbers to the right."""
    cells = [("client", "calls", "messages", "errors, all of them expected", "result")]
    for row in rows:
        errors = ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in row.errors.items())
        cells.append((row.client, _number(row.calls), _number(row.messages), errors or "–", row.result))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for one in cells:
        yield "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(one, "<>><<", widths, strict=True)
        ).rstrip()


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
