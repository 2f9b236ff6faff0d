"""What became of messages in the course of time: a row a provider, a character a slice of time.

On a terminal the rows grow in place, and the colour of a character is the state that the provider's breaker was in.
Elsewhere they are plain characters, printed at the end.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self

import click

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

_COLOURS: Final = {"closed": "green", "half_open": "yellow", "open": "red"}
"""How a breaker's state looks on a terminal."""


class Slice(enum.Enum):
    """What became of a message that was sent in a slice of time."""

    SENT = "."
    FAILED = "x"
    PARKED = "-"


_LEGEND: Final = {
    Slice.SENT: "sent",
    Slice.FAILED: "failed, to be tried again",
    Slice.PARKED: "parked, without an attempt",
}


class Timeline:
    """The rows, and what has happened, line by line."""

    def __init__(self, providers: Sequence[str]) -> None:
        self._rows: dict[str, list[tuple[Slice, str]]] = {name: [] for name in providers}
        self._reported: list[str] = []
        self._width = max(map(len, providers))
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from postwire.cli.show import can_redraw

        if can_redraw():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self._drawn(), console=Console(), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._live:
            self._live.stop()
        elif kind is None:
            click.echo()
            for name in self._rows:
                click.echo(f"{self._label(name)}{self.row(name)}")
            click.echo(f"\n{_legend()}")

    def row(self, provider: str) -> str:
        """A provider's row, without colours."""
        return "".join(slice.value for slice, _ in self._rows[provider])

    def add(self, provider: str, slice: Slice, breaker_state: str) -> None:
        """A slice is over, at whose end the provider's breaker was in this state."""
        self._rows[provider].append((slice, breaker_state))

    def report(self, at: float, what: str) -> None:
        """Something has happened, after so many seconds."""
        line = f"{at:4.1f}s  {what}"
        if self._live:
            self._reported.append(line)
        else:
            click.echo(line)

    def draw(self) -> None:
        """Show what has been added."""
        if self._live:
            self._live.update(self._drawn(), refresh=True)

    def _drawn(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        states = Text("breaker: ")
        for state, colour in _COLOURS.items():
            states.append(f"{state}  ", colour)
        rows = (self._drawn_row(name) for name in self._rows)
        return Group(*rows, Text(), Text(_legend()), states, Text(), *map(Text, self._reported))

    def _drawn_row(self, name: str) -> Text:
        from rich.text import Text

        row = Text(self._label(name), no_wrap=True, overflow="crop")
        for slice, state in self._rows[name]:
            row.append(slice.value, _COLOURS.get(state, ""))
        return row

    def _label(self, name: str) -> str:
        return f"{name:{self._width}}  "


def _legend() -> str:
    return "   ".join(f"{slice.value} {meaning}" for slice, meaning in _LEGEND.items())
