"""What a step of a rekey reads: no more than it encrypts anew, however large contents are, since others read, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import KEYS

from postwire.outbox.base import NewMessage
from postwire.outbox.cipher import StoreCipher
from postwire.outbox.sqlite import SqliteOutbox
from postwire.outbox.sqlite.keys import Step, next_step

ONE, TWO, _ = KEYS
COUNT = 12
SIZE = 2_000_000


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with large contents under the first key, and a rekey with the second that has just begun."""
    path = tmp_path / "postwire.db"
    outbox = await SqliteOutbox.open(str(path), keys=[ONE])
    for _ in range(COUNT):
        await outbox.accept(large())
    await outbox.use_keys([TWO, ONE])
    await outbox.start_rekey(START)
    await outbox.close()
    return path


class Counting(apsw.VFS):
    """The file system of the machine, which counts the bytes that are `read`."""

    def __init__(self) -> None:
        super().__init__("counting", "")
        self.read = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return CountingFile(self, name, flags)


class CountingFile(apsw.VFSFile):
    def __init__(self, vfs: Counting, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs

    def xRead(self, amount: int, offset: int) -> bytes:
        self._vfs.read += amount
        return super().xRead(amount, offset)


@pytest.fixture
def disk() -> Iterator[Counting]:
    counting = Counting()
    yield counting
    counting.unregister()


@pytest.fixture
def connection(path: Path, disk: Counting) -> Iterator[apsw.Connection]:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    with closing(apsw.Connection(f"file:{path}?immutable=1", flags=flags, vfs="counting")) as opened:
        yield opened


def large() -> NewMessage:
    of = build.command(build.email(text="x" * SIZE), send_time=START)
    return build.new_message(of, record=build.accepted(of, queue="q", now=START))


def step(connection: apsw.Connection, *keys: int) -> Step:
    found = next_step(connection, StoreCipher([KEYS[number] for number in keys]), START)
    assert found
    return found


def test_what_is_encrypted_anew_later_is_not_read_yet(connection: apsw.Connection, disk: Counting) -> None:
    assert len(step(connection, 1, 0).contents) == 1
    assert disk.read < 2 * SIZE


def test_what_is_encrypted_with_the_first_key_is_not_read_at_all(connection: apsw.Connection, disk: Counting) -> None:
    found = step(connection, 0)
    assert (len(found.contents), found.after.looks) == (0, 1), "it has looked at all of them"
    assert disk.read < SIZE
