"""`postwire providers watch`: a table that is kept up to date on a terminal, and lines elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn

import click

from postwire.cli.options import Connection
from postwire.cli.watching import LiveView, View, show_changes

if TYPE_CHECKING:
    from rich.table import Table

    from postwire_client import Provider

_COLUMNS: Final = ("provider", "breaker", "calls", "failure_ratio", "next_probe_time", "in_flight")
_WIDEST: Final = {"breaker": len("forced_open"), "next_probe_time": len("2030-01-31T12:00:00.000Z")}
"""What may come to stand in a column; the others are as wide as their headings."""


def watch_providers(connection: Connection) -> NoReturn:
    """Show every provider, then those that change. Raises as `show_changes` does."""
    show_changes(connection, _view(connection), lambda client: client.watch_providers())


def _view(connection: Connection) -> View[list[Provider]]:
    from postwire.cli.show import can_redraw

    if connection.as_json:
        return _JsonLines()
    return _LiveTable() if can_redraw() else _Lines()


class _JsonLines(View[list["Provider"]]):
    """One object a line."""

    def show(self, change: list[Provider]) -> None:
        import json

        from postwire.cli.show import as_dict

        for provider in change:
            click.echo(json.dumps(as_dict(provider)))


class _Lines(View[list["Provider"]]):
    """A line for each provider and each change, in columns: at first come all, so that their names' width is known."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def show(self, change: list[Provider]) -> None:
        from postwire.cli.show import iso_time, plain_row, provider_pairs

        now = iso_time(datetime.now(UTC))
        if not self._widths:
            longest = max((len(provider.name) for provider in change), default=0)
            widest = {**_WIDEST, "provider": longest}
            self._widths = [len(now), *(max(len(name), widest.get(name, 0)) for name in _COLUMNS)]
            click.echo(plain_row(["TIME", *(name.upper() for name in _COLUMNS)], self._widths))
        for provider in change:
            reported = dict(provider_pairs(provider))
            click.echo(plain_row([now, *(reported[name] for name in _COLUMNS)], self._widths))


class _LiveTable(LiveView[list["Provider"]]):
    """One table."""

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = {}
        super().__init__()

    def take(self, change: list[Provider]) -> None:
        self._providers = {**self._providers, **{provider.name: provider for provider in change}}

    def draw(self) -> Table:
        from postwire.cli.show import drawn_table, next_probe, provider_pairs

        now = datetime.now(UTC)
        rows = []
        for provider in self._providers.values():
            reported = dict(provider_pairs(provider)) | {"next_probe_time": next_probe(provider, now)}
            rows.append([reported[name] for name in ("provider", "channels", *_COLUMNS[1:])])
        return drawn_table(("provider", "channels", *_COLUMNS[1:4], "next_probe", "in_flight"), rows)
