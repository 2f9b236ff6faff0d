"""A content that was changed in the store, or put into another's place: its message fails, and the others go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest
from tests.support import build
from tests.support.harness import Harness
from tests.support.outboxes import KEYS
from tests.support.providers import FakeProvider
from tests.support.waiting import within

from postwire.core.message import MessageRecord, MessageState, WaitFor
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.sqlite import SqliteOutbox

FAILED, QUEUED, SENT, UNCERTAIN = (
    MessageState.FAILED,
    MessageState.QUEUED,
    MessageState.SENT,
    MessageState.UNCERTAIN,
)


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = await SqliteOutbox.open(str(tmp_path / "postwire.db"), keys=KEYS)
    yield opened
    await opened.close()


def changed(connection: apsw.Connection) -> None:
    """Change one bit in the content that was kept first."""
    ((key, blob),) = connection.execute("SELECT key, content FROM contents ORDER BY key LIMIT 1").fetchall()
    assert isinstance(blob, bytes)
    connection.execute("UPDATE contents SET content = ? WHERE key = ?", (blob[:-1] + bytes([blob[-1] ^ 1]), key))


def moved(connection: apsw.Connection) -> None:
    """Put the content that was kept last in the place of the first."""
    connection.execute(
        "UPDATE contents SET content = (SELECT content FROM contents ORDER BY key DESC LIMIT 1)"
        " WHERE key = (SELECT min(key) FROM contents)"
    )


def cut_short(connection: apsw.Connection) -> None:
    connection.execute(
        "UPDATE contents SET content = substr(content, 1, 9) WHERE key = (SELECT min(key) FROM contents)"
    )


async def waiting(harness: Harness, count: int) -> list[MessageRecord]:
    """Messages that wait for another attempt, since the first one has failed."""
    harness.provider.answer = DispatchResult(Outcome.RATE_LIMITED, retry_after=60.0)
    records = [
        await harness.send(build.command(build.sms(f"text {number}"), wait_for=WaitFor.OUTCOME))
        for number in range(count)
    ]
    assert {record.state for record in records} == {QUEUED}
    return records


@pytest.mark.parametrize("damage", [changed, moved, cut_short])
async def test_its_message_fails_and_the_others_are_sent(
    outbox: SqliteOutbox, damage: Callable[[apsw.Connection], None]
) -> None:
    harness = Harness(outbox, provider=FakeProvider())
    await harness.boot()
    first, *others = await waiting(harness, 3)
    await outbox._call(damage)
    harness.provider.answer = DispatchResult(Outcome.SUCCESS)
    before = len(harness.provider.keys)
    while QUEUED in [(await harness.kept(one.message_id)).state for one in (first, *others)]:
        harness.clock.advance(60.0)
        await harness.calm()
    record = await harness.kept(first.message_id)
    assert record.state is FAILED
    *_, last = record.attempts
    assert (last.outcome, last.error_code) == (Outcome.REJECTED, "content_damaged")
    assert [(await harness.kept(one.message_id)).state for one in others] == [SENT, SENT]
    assert len(harness.provider.keys) == before + 2, "nobody was asked to send what was damaged"
    assert harness.left() == []
    await within(harness.completed())


async def test_what_may_have_been_sent_before_is_uncertain(outbox: SqliteOutbox) -> None:
    harness = Harness(outbox, provider=FakeProvider())
    await harness.boot()
    harness.provider.answer = DispatchResult(Outcome.UNCERTAIN)
    record = await harness.send()
    assert record.state is QUEUED
    await outbox._call(changed)
    while (record := await harness.kept(record.message_id)).state is QUEUED:
        harness.clock.advance(60.0)
        await harness.calm()
    assert record.state is UNCERTAIN
    await within(harness.completed())
