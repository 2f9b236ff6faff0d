"""What watches what a server tells, until the user or the server ends it: in a table that is kept up to date on a
terminal, and in lines elsewhere."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, NoReturn, Self, TypeVar

from postwire.cli.failure import ExitCode, Failed
from postwire.cli.options import Connection

if TYPE_CHECKING:
    from rich.console import RenderableType

    from postwire_client import Client

Change = TypeVar("Change")

_REDRAWN: Final = 4
"""How often a second what is on a terminal is drawn anew: times run down in it."""

_LOOK: Final = 0.1
"""Seconds between two looks at whether anybody reads on."""


class View(Generic[Change]):
    """Shows changes as they come, for as long as it is entered."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, change: Change) -> None:
        """Show one."""
        raise NotImplementedError


class LiveView(View[Change]):
    """Draws what there is over and over in the same place: from its making on, so that this comes last."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(get_renderable=self.draw, console=Console(), refresh_per_second=_REDRAWN)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, change: Change) -> None:
        """See `View.show`."""
        self.take(change)
        self._live.refresh()

    def take(self, change: Change) -> None:
        """Have it be there from now on. What `draw` reads is made anew, since that is called on another thread."""
        raise NotImplementedError

    def draw(self) -> RenderableType:
        """What there is."""
        raise NotImplementedError


def show_changes(connection: Connection, view: View[Change], changes: Callable[[Client], Iterable[Change]]) -> NoReturn:
    """Show all that a client is told.

    Raises:
        KeyboardInterrupt: the user has seen enough.
        BrokenPipeError: the reader of what is printed is gone.
        Failed: the server refused, or has ended.
    """
    from postwire_client import PostwireError

    with connection.client() as client, reader_gone(client.close) as is_gone, view:
        try:
            for change in changes(client):
                view.show(change)
        except PostwireError:
            if is_gone():
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
            raise
    line = f"no answer from {connection.server} any more: it is shutting down"
    raise Failed(line, ExitCode.NO_ANSWER, as_json=connection.as_json, code="UNAVAILABLE")


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
