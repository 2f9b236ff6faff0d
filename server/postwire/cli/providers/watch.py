"""`postwire providers watch`: a table that is kept up to date on a terminal, and lines elsewhere."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn, Self

import click

from postwire.cli.failure import ExitCode, Failed
from postwire.cli.options import Connection

if TYPE_CHECKING:
    from rich.table import Table

    from postwire_client import Provider

_COLUMNS: Final = ("provider", "breaker", "calls", "failure_ratio", "next_probe_time", "in_flight")
_WIDEST: Final = {"breaker": len("forced_open"), "next_probe_time": len("2030-01-31T12:00:00.000Z")}
"""What may come to stand in a column; the others are as wide as their headings."""

_REDRAWN: Final = 4
"""How often a second the table on a terminal is drawn anew: the time to the next probe runs down in it."""

_LOOK: Final = 0.1
"""Seconds between two looks at whether anybody reads on."""


class _View:
    """Shows providers as they change, for as long as it is entered."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, changed: Sequence[Provider]) -> None:
        """Show these as they now are."""
        raise NotImplementedError


def watch_providers(connection: Connection) -> NoReturn:
    """Show every provider, then those that change.

    Raises:
        KeyboardInterrupt: the user has seen enough.
        BrokenPipeError: the reader of what is printed is gone.
        Failed: the server refused, or has ended.
    """
    from postwire_client import PostwireError

    view = _view(connection)
    with connection.client() as client, reader_gone(client.close) as is_gone, view:
        try:
            for changed in client.watch_providers():
                view.show(changed)
        except PostwireError:
            if is_gone():
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
            raise
    line = f"no answer from {connection.server} any more: it is shutting down"
    raise Failed(line, ExitCode.NO_ANSWER, as_json=connection.as_json, code="UNAVAILABLE")


def _view(connection: Connection) -> _View:
    from postwire.cli.show import can_redraw

    if connection.as_json:
        return _JsonLines()
    return _LiveTable() if can_redraw() else _Lines()


class _JsonLines(_View):
    """One object a line."""

    def show(self, changed: Sequence[Provider]) -> None:
        import json

        from postwire.cli.show import as_dict

        for provider in changed:
            click.echo(json.dumps(as_dict(provider)))


class _Lines(_View):
    """A line for each provider and each change, in columns: at first come all, so that their names' width is known."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def show(self, changed: Sequence[Provider]) -> None:
        from postwire.cli.show import iso_time, plain_row, provider_pairs

        now = iso_time(datetime.now(UTC))
        if not self._widths:
            longest = max((len(provider.name) for provider in changed), default=0)
            widest = {**_WIDEST, "provider": longest}
            self._widths = [len(now), *(max(len(name), widest.get(name, 0)) for name in _COLUMNS)]
            click.echo(plain_row(["TIME", *(name.upper() for name in _COLUMNS)], self._widths))
        for provider in changed:
            reported = dict(provider_pairs(provider))
            click.echo(plain_row([now, *(reported[name] for name in _COLUMNS)], self._widths))


class _LiveTable(_View):
    """One table, drawn over and over in the same place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._providers: dict[str, Provider] = {}
        self._live = Live(get_renderable=self._draw, console=Console(), refresh_per_second=_REDRAWN)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, changed: Sequence[Provider]) -> None:
        # Made anew, because it is drawn on another thread.
        self._providers = {**self._providers, **{provider.name: provider for provider in changed}}
        self._live.refresh()

    def _draw(self) -> Table:
        from postwire.cli.show import drawn_table, next_probe, provider_pairs

        now = datetime.now(UTC)
        rows = []
        for provider in self._providers.values():
            reported = dict(provider_pairs(provider)) | {"next_probe_time": next_probe(provider, now)}
            rows.append([reported[name] for name in ("provider", "channels", *_COLUMNS[1:])])
        return drawn_table(("provider", "channels", *_COLUMNS[1:4], "next_probe", "in_flight"), rows)


@contextmanager
def reader_gone(act: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Acts once nobody reads our pipe any more: only writing would show it, and there may be nothing to write for long.

    Gives a function that returns whether it has.
    """
    gone, over = threading.Event(), threading.Event()
    try:
        stdout = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(stdout).st_mode)
    except (AttributeError, OSError, ValueError):  # there is none, or it is closed, or it is no file
        is_pipe = False
    if not is_pipe:
        yield gone.is_set
        return

    def look() -> None:
        poll = select.poll()
        poll.register(stdout, 0)  # for no event: errors are reported all the same
        while not over.wait(_LOOK):
            if poll.poll(0):
                gone.set()
                act()
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield gone.is_set
    finally:
        over.set()
        watcher.join()
