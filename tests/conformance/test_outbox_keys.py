"""What every outbox keeps to about its own keys."""

from __future__ import annotations

from pathlib import Path

from tests.support.outboxes import PLACES, Reopen

from postwire.outbox.base import Outbox


async def test_the_lookup_key_is_long_and_not_that_of_another_store(outbox: Outbox, tmp_path: Path) -> None:
    key = await outbox.lookup_key()
    assert len(key) == 32
    assert await outbox.lookup_key() == key
    for name, place in PLACES.items():
        (folder := tmp_path / name).mkdir()
        other = await place(folder)
        assert await other.lookup_key() != key
        await other.close()


async def test_the_lookup_key_outlives_the_process(reopen: Reopen) -> None:
    key = await (await reopen()).lookup_key()
    for _ in range(2):
        assert await (await reopen()).lookup_key() == key
