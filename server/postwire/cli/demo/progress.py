"""How far something has come, and what has happened meanwhile.

On a terminal a bar grows in place, above the lines of what has happened. Elsewhere there are those lines, and each
second one that says how far it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import click

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

_WIDTH: Final = 50
"""Characters of the bar."""

_EACH: Final = 1.0
"""Seconds between two lines that say how far it is."""


class Progress:
    """Of `total` things, so many are done."""

    def __init__(self, total: int) -> None:
        self._total = total
        self.done = 0
        self._shown_at = 0.0
        self._reported: list[str] = []
        self._live: Live | None = None

    def __enter__(self) -> Self:
        from postwire.cli.show import can_redraw

        if can_redraw():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(self._drawn(), console=Console(), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()
        click.echo()

    def show(self, done: int, at: float) -> None:
        """So many are done, after so many seconds."""
        changed, self.done = done != self.done, done
        if self._live:
            self._live.update(self._drawn(), refresh=True)
        elif changed and (at >= self._shown_at + _EACH or done == self._total):
            self._shown_at = at
            click.echo(f"{at:4.1f}s  {self._count()}")

    def report(self, at: float, what: str) -> None:
        """Something has happened, after so many seconds."""
        line = f"{at:4.1f}s  {what}"
        if self._live:
            self._reported.append(line)
            self._live.update(self._drawn(), refresh=True)
        else:
            click.echo(line)

    def _count(self) -> str:
        return f"{self.done} of {self._total} settled"

    def _drawn(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        filled = _WIDTH * self.done // self._total
        bar = Text()
        bar.append("━" * filled, "green")
        bar.append("━" * (_WIDTH - filled), "dim")
        bar.append(f"  {self._count()}")
        return Group(bar, Text(), *map(Text, self._reported))
