"""What every outbox keeps to about encrypting contents: whoever gives and takes them sees none of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import ENCRYPTING, EVER, KEYS, Q, each, keep, queue_up

from postwire.config.encryption_keys import EncryptionKey
from postwire.core.errors import StoreNotEncrypted
from postwire.core.message import DEFAULT_TENANT
from postwire.outbox.base import BEGINNING, NewMessage, Outbox, OutboxError, Rekey, TakenMessage

ONE, TWO, THREE = KEYS
NOW = START + build.HOUR

Open = Callable[..., Coroutine[Any, Any, Outbox]]


@pytest.fixture(params=list(ENCRYPTING))
async def open_with(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens an outbox with keys; what was opened before is closed first."""
    opened: list[Outbox] = []

    async def again(*keys: EncryptionKey) -> Outbox:
        if opened:
            await opened.pop().close()
        opened.append(await ENCRYPTING[request.param](tmp_path, keys))
        return opened[0]

    yield again
    for left in opened:
        await left.close()


async def fill(outbox: Outbox, count: int) -> list[NewMessage]:
    """Have messages accepted that wait."""
    return [await queue_up(outbox, request_id=f"r-{build.new_id()}", send_time=START) for _ in range(count)]


async def take(outbox: Outbox, limit: int = 9) -> Sequence[TakenMessage]:
    """Take what waits."""
    return await outbox.take(Q, EVER, each(limit), lambda one: build.retried(one.record))


async def rekeyed(outbox: Outbox) -> Rekey:
    """See the rekey through that is under way."""
    while True:
        done = await outbox.rekey_step(NOW)
        assert done is not None
        if done.end_time is not None:
            return done


async def assert_readable(outbox: Outbox, news: Sequence[NewMessage]) -> None:
    for new in news:
        assert await outbox.content(new.record.message_id, new.record.tenant) == new.content


async def test_contents_come_back_as_they_were_given(open_with: Open) -> None:
    outbox = await open_with(ONE)
    news = await fill(outbox, 3)
    sent = await keep(outbox)
    outbox = await open_with(TWO, ONE)
    await assert_readable(outbox, [*news, sent])
    found, _ = await outbox.scan_queued(BEGINNING, 9)
    assert [one.content for one in found] == [new.content for new in news]
    assert [one.content for one in await outbox.orphans(9)] == [sent.content]
    taken = await take(outbox)
    assert [one.content for one in taken] == [new.content for new in news]
    assert not any(one.damaged for one in taken)


async def test_the_lookup_key_stays_whatever_keys_come(open_with: Open) -> None:
    key = await (await open_with()).lookup_key()
    for keys in ((ONE,), (TWO, ONE), (THREE, TWO, ONE)):
        assert await (await open_with(*keys)).lookup_key() == key


async def test_a_store_may_need_every_key_that_it_was_served_with(open_with: Open) -> None:
    await open_with(ONE)
    await open_with(TWO, ONE)
    for keys, missing in (((), "key-1"), ((TWO,), "key-1"), ((ONE,), "key-2"), ((THREE, ONE), "key-2")):
        with pytest.raises(OutboxError, match=missing):
            await open_with(*keys)
    outbox = await open_with(ONE, TWO)
    assert "key-1" in str(outbox.why_insufficient([TWO]))
    assert outbox.why_insufficient([TWO, ONE, THREE]) is None


async def test_another_key_under_the_same_id_is_not_the_key(open_with: Open) -> None:
    await open_with(ONE)
    other = EncryptionKey(ONE.key_id, TWO.secret)
    with pytest.raises(OutboxError, match="is not the key"):
        await open_with(other)
    outbox = await open_with(ONE)
    assert "key-1" in str(outbox.why_insufficient([other]))
    with pytest.raises(OutboxError, match="is not the key"):
        await outbox.use_keys([other])


async def test_keys_change_while_it_is_served(open_with: Open) -> None:
    outbox = await open_with()
    clear = await fill(outbox, 2)
    await outbox.use_keys([ONE])
    first = await fill(outbox, 2)
    await outbox.use_keys([TWO, ONE])
    second = await fill(outbox, 2)
    await assert_readable(outbox, [*clear, *first, *second])
    with pytest.raises(OutboxError, match="key-1"):
        await outbox.use_keys([TWO])
    third = await fill(outbox, 1)
    outbox = await open_with(TWO, ONE)
    await assert_readable(outbox, [*clear, *first, *second, *third])


async def test_without_keys_there_is_nothing_to_encrypt_anew(open_with: Open) -> None:
    outbox = await open_with()
    assert await outbox.rekey() is None
    assert await outbox.rekey_step(NOW) is None
    with pytest.raises(StoreNotEncrypted):
        await outbox.start_rekey(NOW)
    assert await outbox.rekey() is None


async def test_once_everything_is_encrypted_anew_no_other_key_is_needed(open_with: Open) -> None:
    outbox = await open_with()
    news = await fill(outbox, 3)
    outbox = await open_with(ONE)
    news += await fill(outbox, 4)
    key = await outbox.lookup_key()
    outbox = await open_with(TWO, ONE)
    assert await outbox.rekey_step(NOW) is None
    started = await outbox.start_rekey(NOW)
    assert started == await outbox.rekey() == Rekey("key-2", NOW)
    assert await outbox.start_rekey(NOW + 1) == started
    news += await fill(outbox, 2)
    done = await rekeyed(outbox)
    assert done == await outbox.rekey() == Rekey("key-2", NOW, rekeyed=7, end_time=NOW)
    assert await outbox.rekey_step(NOW) is None
    assert outbox.why_insufficient([TWO]) is None
    await assert_readable(outbox, news)
    outbox = await open_with(TWO)
    await assert_readable(outbox, news)
    assert await outbox.lookup_key() == key
    for keys in ((), (ONE,)):
        with pytest.raises(OutboxError, match="key-2"):
            await open_with(*keys)


async def test_a_rekey_goes_on_after_a_restart(open_with: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postwire.outbox.rekeying.REKEYED", 2)
    outbox = await open_with(ONE)
    news = await fill(outbox, 7)
    outbox = await open_with(TWO, ONE)
    await outbox.start_rekey(NOW)
    for count in (2, 4, 6, 7):
        step = await outbox.rekey_step(NOW)
        assert step is not None
        assert (step.rekeyed, step.end_time) == (count, None)
        outbox = await open_with(TWO, ONE)
        assert await outbox.rekey() == step
        await assert_readable(outbox, news)
    assert (await rekeyed(outbox)).rekeyed == 7


async def test_a_rekey_leaves_alone_what_was_settled_or_removed(open_with: Open) -> None:
    outbox = await open_with(ONE)
    news = await fill(outbox, 4)
    (first, *_) = await take(outbox, limit=1)
    sent = build.ended(first.record)
    assert await outbox.advance(first.record, sent)
    outbox = await open_with(TWO, ONE)
    await outbox.start_rekey(NOW)
    assert (await rekeyed(outbox)).rekeyed == 3
    assert await outbox.content(sent.message_id, DEFAULT_TENANT) is None
    await assert_readable(outbox, news[1:])


async def test_another_key_while_a_rekey_is_under_way_has_it_begin_anew(open_with: Open) -> None:
    outbox = await open_with(ONE)
    news = await fill(outbox, 3)
    await outbox.use_keys([TWO, ONE])
    await outbox.start_rekey(NOW)
    await outbox.rekey_step(NOW)
    await outbox.use_keys([THREE, TWO, ONE])
    done = await rekeyed(outbox)
    assert (done.key_id, done.start_time) == ("key-3", NOW)
    await assert_readable(await open_with(THREE), news)


async def test_a_rekey_and_everything_else_go_on_together(open_with: Open) -> None:
    outbox = await open_with(ONE)
    news = await fill(outbox, 20)
    await outbox.use_keys([TWO, ONE])
    await outbox.start_rekey(NOW)
    taken, more, done = await asyncio.gather(take(outbox, limit=10), fill(outbox, 10), rekeyed(outbox))
    assert [one.content for one in taken] == [new.content for new in news[:10]]
    assert done.end_time == NOW
    await assert_readable(await open_with(TWO), [*news, *more])


async def test_a_rekey_ends_though_more_is_accepted_at_each_step(open_with: Open) -> None:
    outbox = await open_with(ONE)
    news = await fill(outbox, 3)
    await outbox.use_keys([TWO, ONE])
    await outbox.start_rekey(NOW)
    steps = []
    for _ in range(9):
        news += await fill(outbox, 1)
        steps.append(await outbox.rekey_step(NOW))
    assert steps[-1] is None
    assert await outbox.rekey() == Rekey("key-2", NOW, rekeyed=3, end_time=NOW)
    await assert_readable(await open_with(TWO), news)


async def test_taking_more_than_is_small_opens_all_of_it(open_with: Open) -> None:
    outbox = await open_with(ONE)
    news = []
    for _ in range(3):
        of = build.command(build.email(text="x" * 200_000), send_time=START)
        new = build.new_message(of, record=build.accepted(of, provider_name="", queue="q", now=START))
        await outbox.accept(new)
        news.append(new)
    assert [one.content for one in await take(outbox)] == [new.content for new in news]
