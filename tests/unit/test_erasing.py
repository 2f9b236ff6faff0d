"""Erasing at somebody's request: nothing of it is left in the store's files, however records have grown meanwhile."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.support import build
from tests.support.canaries import canaries_in, canary
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.outboxes import change
from tests.support.providers import FakeProvider

from postwire.core.listing import MessageFilter
from postwire.core.message import MessageRecord, WaitFor
from postwire.core.principal import LOCAL
from postwire.delivery import erasing
from postwire.outbox.base import NewMessage
from postwire.outbox.sqlite import SqliteOutbox
from postwire.outbox.sqlite.maintenance import check


async def test_neither_file_holds_labels_or_contents_that_were_erased(tmp_path: Path) -> None:
    """Where records grow, SQLite moves the rows beside them: what is to be erased must not be among these."""
    path, dice, count = tmp_path / "postwire.db", random.Random(5), 600
    outbox = await SqliteOutbox.open(str(path), keep_contents=True)
    news: list[NewMessage] = []
    for number in range(count):
        to = [f"{index}@example.com" for index in range(dice.choice([1, 5, 40]))]
        labels = {"customer": canary(number) + "x" * dice.randint(0, 60)}
        of = build.command(build.email(*to, text=canary(number) + "x" * dice.randint(0, 900)), labels=labels)
        news.append(build.new_message(of, record=build.accepted(of, provider_name=dice.choice(["", "p"]))))
    for at in range(0, count, 50):
        await outbox.accept_all(news[at : at + 50])

    async def grow(record: MessageRecord) -> None:
        if not record.attempts:
            record = await change(outbox, record, build.retried(record, "a-provider-with-a-long-name"))
        await change(outbox, record, build.ended(record))

    order = dice.sample(range(count), count)
    for at in range(0, count, 5):  # in any order, and a few in each commit
        await asyncio.gather(*(grow(news[number].record) for number in order[at : at + 5]))
    assert canaries_in(path) == set(range(count))
    eraser = Harness(outbox).delivery.eraser
    erased = set(dice.sample(range(count), 400))
    done = await eraser.erase([news[number].record.message_id for number in erased], by=LOCAL)
    assert (done.erased, done.skipped_unsettled) == (400, 0)
    assert await outbox.purge_erased()
    assert canaries_in(path) == set(range(count)) - erased
    await outbox.close()
    assert not check(path).faults


async def test_by_labels_they_are_erased_a_page_at_a_time(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "MOST_ERASED", 3)
    harness, labels = Harness(outbox, provider=FakeProvider()), {"customer": "4711"}
    for number in range(7):
        await harness.send(build.command(labels=labels if number % 7 else {}))
    await harness.send(build.command(labels=labels, send_time=START + build.HOUR, wait_for=WaitFor.ACCEPTANCE))
    eraser, chosen = harness.delivery.eraser, MessageFilter(labels=labels)
    for dry_run in (True, False):
        counts, after = [], None
        while True:
            done = await eraser.erase_labelled(chosen, after, dry_run=dry_run, by=LOCAL)
            counts.append((done.erased, done.skipped_unsettled))
            if (after := done.next_after) is None:
                break
        assert counts == [(2, 1), (3, 0), (1, 0)]
    done = await eraser.erase_labelled(chosen, None, by=LOCAL)
    assert (done.erased, done.skipped_unsettled, done.next_after) == (0, 1, None)
