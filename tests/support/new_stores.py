"""New stores as copies of one that a process makes once.

Nearly every test has a store, and the migrations would be most of what a small one takes. A module that is about them
overrides `new_stores`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import apsw
import pytest

from postwire.outbox.sqlite.schema import IN_MEMORY, connect, migrate


@pytest.fixture(autouse=True, scope="module")
def new_stores() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("postwire.outbox.sqlite.opening.migrate", copy_or_migrate)
        yield


def copy_or_migrate(connection: apsw.Connection, path: str) -> None:
    if connection.pragma("user_version") == 0:
        made = _made()
        made.execute(
            "UPDATE facts SET value = lower(hex(randomblob(16))) WHERE name = 'store'"
        )  # no other has its name
        with connection.backup("main", made, "main") as copying:
            copying.step()
    else:
        migrate(connection, path)


@functools.cache
def _made() -> apsw.Connection:
    connection = connect(IN_MEMORY, sync="full")
    migrate(connection, IN_MEMORY)
    return connection
