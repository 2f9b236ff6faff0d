"""`postwire stats`: how much is sent, and what waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Command
from postwire.cli.failure import ExitCode
from postwire.cli.options import Connection, connection_options, duration
from postwire.cli.watching import LiveView, View, show_changes

if TYPE_CHECKING:
    from rich.console import RenderableType

    from postwire_client import Backlog, StatsInterval, WatchStatsResponse

_MOST: Final = 900.0
"""Seconds: how much of the past a server tells."""

_COUNTS: Final = ("accepted", "sent", "delivered", "failed", "uncertain")
_COLUMNS: Final = ("channel", *_COUNTS, "unsettled", "due")
_WIDTHS: Final = (len("2030-01-31T12:00:00.000Z"), len("channel"), *map(len, _COUNTS), len("unsettled"), 0)


@click.command(cls=Command)
@click.option("--watch", is_flag=True, help="Go on, and show each change.")
@click.option(
    "--last",
    "seconds",
    callback=duration(_MOST),
    default="15m",
    show_default=True,
    metavar="DURATION",
    help="What happened so lately; 15m at most.",
)
@connection_options()
def stats(connection: Connection, *, watch: bool, seconds: float) -> int:
    """Show how much was accepted, sent, delivered and failed of late, and what waits.

    Of several nodes that share a store, the one that is called tells what it has done; what waits is that of all.

    With --watch, until Ctrl-C: on a terminal, a table that is kept up to date. Elsewhere a line for each channel and
    each interval of 5 s, again as its counts rise, and with --json a line for each change.
    """
    figures = Figures(seconds)
    if watch:
        try:
            show_changes(connection, _view(connection, figures), lambda client: client.watch_stats())
        except KeyboardInterrupt:
            return ExitCode.OK  # there is no other way to end it, so it is no interruption
    with connection.client() as client:
        for change in client.watch_stats():
            figures.take(change)
            if figures.backlog:  # which comes later where the store takes its time
                break
    _print(connection, figures)
    return ExitCode.OK


class Figures:
    """What a server has told of the last so many `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._kept = int(seconds * 1e6)
        self._intervals: dict[int, StatsInterval] = {}
        self._time = 0
        self.backlog: Backlog | None = None

    def take(self, change: WatchStatsResponse) -> Sequence[StatsInterval]:
        """Take what has changed. Returns the intervals of it that count."""
        self._time = change.time.ToMicroseconds()
        if change.HasField("backlog"):
            self.backlog = change.backlog
        self._intervals |= {one.start_time.ToMicroseconds(): one for one in change.intervals}
        since = self._time - self._kept
        self._intervals = {time: one for time, one in self._intervals.items() if time > since}
        return [one for one in change.intervals if one.start_time.ToMicroseconds() > since]

    def rows(self) -> list[tuple[str, ...]]:
        """Of each channel, its name and how much happened on it."""
        from postwire.cli.show import word
        from postwire_client import Channel

        sums = {channel: [0] * len(_COUNTS) for channel in Channel.values() if channel}
        for interval in self._intervals.values():
            for one in interval.channels:
                of_channel = sums.setdefault(one.channel, [0] * len(_COUNTS))
                for index, name in enumerate(_COUNTS):
                    of_channel[index] += getattr(one, name)
        return [(word(Channel, channel), *map(str, counts)) for channel, counts in sums.items()]

    def waiting(self) -> Iterator[tuple[str, str]]:
        """What waits, and how the store stands."""
        from postwire.cli.show import time_of

        if backlog := self.backlog:
            yield "unsettled", f"{backlog.unsettled} of {backlog.max_unsettled}"
            yield "due", str(backlog.due)
            yield "oldest_due_time", time_of(backlog, "oldest_due_time")
            yield "store", "available" if backlog.store_available else "unavailable"
            yield "store_bytes", str(backlog.store_bytes)

    def reported(self) -> WatchStatsResponse:
        """All of it, as a server tells it at first."""
        from postwire_client import WatchStatsResponse

        made = WatchStatsResponse(intervals=[one for _, one in sorted(self._intervals.items())], backlog=self.backlog)
        made.time.FromMicroseconds(self._time)
        return made


def _print(connection: Connection, figures: Figures) -> None:
    from postwire.cli.show import print_pairs, print_protobuf, print_table

    if connection.as_json:
        print_protobuf(figures.reported())
        return
    print_table(("channel", *_COUNTS), figures.rows())
    click.echo()
    print_pairs(figures.waiting())


def _view(connection: Connection, figures: Figures) -> View[WatchStatsResponse]:
    from postwire.cli.show import can_redraw

    if connection.as_json:
        return _JsonLines()
    return _LiveTable(figures) if can_redraw() else _Lines(figures)


class _JsonLines(View["WatchStatsResponse"]):
    """One object a line."""

    def show(self, change: WatchStatsResponse) -> None:
        import json

        from postwire.cli.show import as_dict

        click.echo(json.dumps(as_dict(change)))


class _Lines(View["WatchStatsResponse"]):
    """A line for each channel of each interval, in columns; and where only what waits has changed, one for that."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def __enter__(self) -> _Lines:
        self._print(("time", *_COLUMNS), heading=True)
        return self

    def show(self, change: WatchStatsResponse) -> None:
        from postwire.cli.show import time_of, word
        from postwire_client import Channel

        intervals = self._figures.take(change)
        backlog = self._figures.backlog
        waits = (str(backlog.unsettled), str(backlog.due)) if backlog else ("", "")
        for interval in intervals:
            for one in interval.channels:
                counts = [str(getattr(one, name)) for name in _COUNTS]
                self._print((time_of(interval, "start_time"), word(Channel, one.channel), *counts, *waits))
        if not intervals:
            self._print((time_of(change, "time"), "", *[""] * len(_COUNTS), *waits))

    def _print(self, cells: Iterable[str], *, heading: bool = False) -> None:
        from postwire.cli.show import plain_row

        click.echo(plain_row([cell.upper() for cell in cells] if heading else cells, _WIDTHS))


class _LiveTable(LiveView["WatchStatsResponse"]):
    """One table, with what waits below it."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._rows = figures.rows()
        self._waiting = list(figures.waiting())
        super().__init__()

    def take(self, change: WatchStatsResponse) -> None:
        self._figures.take(change)
        self._rows, self._waiting = self._figures.rows(), list(self._figures.waiting())

    def draw(self) -> RenderableType:
        from rich.console import Group

        from postwire.cli.show import drawn_table

        waiting = [(name, value) for name, value in self._waiting if value]
        return Group(drawn_table(("channel", *_COUNTS), self._rows), "", drawn_table(("waiting", ""), waiting))
