"""What is in a store when a run is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw
from tests.bench.processes import BenchError

_LEFT_BEHIND: Final = {
    "messages": "messages",
    "contents": "contents",
    "messages SENT": "messages WHERE state = 'sent'",
    "attempts": "attempts",
    "attempts that succeeded": "attempts WHERE number = 1 AND outcome = 'success'",
}


def check_stored(title: str, store: Path, *, messages: int, sent: int) -> None:
    """Make sure that a service has done its work: each message leaves one row of each kind behind.

    Raises:
        BenchError: it has not.
    """
    with _open(store) as connection:
        found = {name: _count(connection, source) for name, source in _LEFT_BEHIND.items()}
    expected = dict(zip(_LEFT_BEHIND, (messages, messages, sent, sent, sent), strict=True))
    if found != expected:
        raise BenchError(f"{title}: the store is to hold {expected}, and holds {found}")


def count(store: Path, source: str) -> int:
    """How many rows there are: `source` is what follows FROM."""
    with _open(store) as connection:
        return _count(connection, source)


def has(store: Path, source: str) -> bool:
    """Whether there are any rows, which a service that is at work may be asked often: `source` is what follows FROM."""
    with _open(store) as connection:
        ((found,),) = connection.execute(f"SELECT EXISTS (SELECT 1 FROM {source})").fetchall()
        return bool(found)


@contextmanager
def _open(store: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        yield connection
    finally:
        connection.close()


def _count(connection: apsw.Connection, source: str) -> int:
    ((count,),) = connection.execute(f"SELECT count(*) FROM {source}").fetchall()
    assert isinstance(count, int)
    return count
