"""How much of contents SQLite's outbox reads at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, change, look_at_due, stored

from postwire.core import lifecycle
from postwire.outbox.base import BEGINNING, NewMessage
from postwire.outbox.sqlite import SqliteOutbox, reads


@pytest.fixture(params=["memory", "file"])
async def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    path = ":memory:" if request.param == "memory" else str(tmp_path / "postwire.db")
    opened = await SqliteOutbox.open(path)
    yield opened
    await opened.close()


async def with_contents(outbox: SqliteOutbox, *sizes: int, provider_name: str = "") -> list[NewMessage]:
    news = []
    for number, size in enumerate(sizes):
        of = build.command(send_time=START + number)
        record = build.accepted(of, provider_name=provider_name, queue="q", now=START + number)
        news.append(replace(build.new_message(of, record=record), content=(b"\x01" + bytes([number]) * size)[:size]))
        await outbox.accept(news[-1])
    return news


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ((1_000, 1, 1), [1, 2]),
        ((999, 1, 1), [2, 1]),
        ((5_000, 5_000), [1, 1]),
        ((1, 5_000, 1), [1, 1, 1]),
        ((400, 400, 400, 400, 400), [2, 2, 1]),
    ],
)
async def test_large_contents_come_a_few_at_a_time_but_never_none(
    outbox: SqliteOutbox, sizes: tuple[int, ...], counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "MAX_CONTENTS", 1_000)
    news = await with_contents(outbox, *sizes)
    after = BEGINNING
    left = list(news)
    for count in counts:
        page, after = await outbox.scan_queued(after, 50)
        assert page == [stored(new) for new in left[:count]]
        assert await look_at_due(outbox, "q", EVER, 50) == page
        for new in left[:count]:
            await change(outbox, new.record, lifecycle.cancel(new.record, now=START))
        left = left[count:]
    assert await outbox.scan_queued(after, 50) == ([], after)
    sending = await with_contents(outbox, *sizes, provider_name="p")
    for count in counts:
        assert await outbox.orphans(50) == [stored(new) for new in sending[:count]]
        for new in sending[:count]:
            await change(outbox, new.record, build.ended(new.record))
        sending = sending[count:]


async def test_contents_of_over_eight_megabytes_do_not_come_at_once(outbox: SqliteOutbox) -> None:
    news = await with_contents(outbox, *[3_000_000] * 4)
    assert await look_at_due(outbox, "q", EVER, 50) == [stored(new) for new in news[:2]]
