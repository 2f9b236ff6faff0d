"""What a store's files hold of contents once these are encrypted: nothing to be read, whatever was there before."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support import build
from tests.support.canaries import canaries_in, canary
from tests.support.clock import START
from tests.support.encryption import found_in, key_texts
from tests.support.outboxes import KEYS

from postwire.outbox.base import NewMessage, OutboxError
from postwire.outbox.sqlite import SqliteOutbox
from postwire.outbox.sqlite.maintenance import backup
from postwire.outbox.sqlite.restore import restore

COUNT = 300


def files(folder: Path) -> list[Path]:
    return list(folder.glob("postwire.db*"))


@pytest.mark.parametrize("size", [0, 600, 9_000], ids=["many a page", "some a page", "pages each"])
async def test_what_lay_in_clear_is_in_no_file_once_it_is_encrypted(tmp_path: Path, size: int) -> None:
    """Among what is settled, and in any order: what is encrypted is longer, so that SQLite moves rows between pages."""
    path, dice = tmp_path / "postwire.db", random.Random(size)
    outbox = await SqliteOutbox.open(str(path), keep_contents=True)
    for number in range(COUNT):
        new = await accepted(outbox, number, dice.randint(0, size))
        if dice.random() < 0.3:
            taken = build.retried(new.record)
            assert await outbox.advance(new.record, taken)
            assert await outbox.advance(taken, build.ended(taken))
    await outbox.close()
    assert canaries_in(path) == set(range(COUNT))
    outbox = await SqliteOutbox.open(str(path), keep_contents=True, keys=KEYS)
    await outbox.start_rekey(START)
    step = await outbox.rekey_step(START)
    while step and step.end_time is None:
        step = await outbox.rekey_step(START)
    assert step is not None
    assert step.rekeyed == COUNT
    assert await outbox.purge_erased()
    assert canaries_in(path) == set()
    assert found_in(files(tmp_path), [*key_texts(KEYS), await outbox.lookup_key()]) == {}
    await outbox.close()


async def test_the_lookup_key_lies_in_clear_only_until_there_is_a_key(tmp_path: Path) -> None:
    outbox = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    key = await outbox.lookup_key()
    await outbox.close()
    assert found_in(files(tmp_path), [key]) == {"postwire.db": [key]}
    outbox = await SqliteOutbox.open(str(tmp_path / "postwire.db"))
    await outbox.use_keys(KEYS)
    assert await outbox.purge_erased()
    assert found_in(files(tmp_path), [key]) == {}
    await outbox.close()


async def test_a_copy_is_restored_without_a_key_and_served_with_those_of_its_time(tmp_path: Path) -> None:
    path, copy = tmp_path / "postwire.db", tmp_path / "copy"
    outbox = await SqliteOutbox.open(str(path), keys=KEYS[:1])
    new, key = await accepted(outbox, 1, 100), await outbox.lookup_key()
    backup(path, copy)
    await outbox.use_keys(KEYS[1::-1])
    await outbox.start_rekey(START)
    step = await outbox.rekey_step(START)
    while step and step.end_time is None:
        step = await outbox.rekey_step(START)
    await outbox.close()
    assert canaries_in(path) | canaries_in(copy) == set()
    assert (await restore(path, copy, now=START)).unsettled == 1
    with pytest.raises(OutboxError, match="key-1"):
        await SqliteOutbox.open(str(path), keys=KEYS[1:])
    outbox = await SqliteOutbox.open(str(path), keys=KEYS[1::-1])
    assert await outbox.content(new.record.message_id, new.record.tenant) == new.content
    assert await outbox.lookup_key() == key
    await outbox.close()


async def accepted(outbox: SqliteOutbox, number: int, size: int) -> NewMessage:
    of = build.command(build.sms(canary(number) + "x" * size), send_time=START)
    new = build.new_message(of, record=build.accepted(of, provider_name="", queue="q", now=START))
    await outbox.accept(new)
    return new
