"""The inbox as it is used: found in it, watched, waited for, and ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import count
from pathlib import Path
from unittest.mock import Mock

import pytest
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.waiting import within

from postwire.config.schema import load
from postwire.core import inbox as inbox_in_core
from postwire.core.errors import Overloaded, ShuttingDown
from postwire.core.inbox import MAX_AGE, MAX_TEXT, Inbox, InboxFilter, InboxMessage
from postwire.core.message import Email, OutboundMessage, Sms
from postwire.delivery import InboxAccess
from postwire.delivery import inbox as inbox_module
from postwire.delivery.inbox import inbox_of
from postwire.providers.builtin import KINDS
from postwire.providers.handover import Handover

ADA, BOB = "+14155550132", "+14155550133"


class Harness:
    """An inbox, its clock, and a provider that fills it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        tokens = count(1)
        self.kept = Inbox()
        self.inbox = InboxAccess(
            self.clock, max_wait=30.0, boot="b00b1e55", random_token=lambda: f"token-{next(tokens)}", inbox=self.kept
        )
        self._take = self.inbox.of_provider("trial")

    def take(self, message: OutboundMessage | None = None, *, tenant: str = "acme", message_id: str = "m-1") -> None:
        handover = Handover("key", message_id=message_id, now=self.clock.wall(), tenant=tenant)
        self._take(message or sms(), handover, ())


@pytest.fixture
def harness() -> Harness:
    return Harness()


def sms(body: str = "Your code is 123456", to: str = ADA) -> OutboundMessage:
    return OutboundMessage(Sms(to, body))


def body(one: InboxMessage | None) -> str | None:
    return None if one is None else one.texts[0]


async def settle() -> None:
    """Let whatever can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def next_of(watch: AsyncGenerator[InboxMessage | None, None]) -> InboxMessage | None:
    return await within(anext(watch))


async def test_what_is_there_is_found_newest_first(harness: Harness) -> None:
    for text in ("1", "2 code", "3", "4 Code"):
        harness.take(sms(text))
    harness.take(sms("5 code"), tenant="globex")
    found = await harness.inbox.find(InboxFilter(match="CODE"), 10, None, "acme")
    assert [body(one) for one in found] == ["4 Code", "2 code"]
    assert [body(one) for one in await harness.inbox.find(InboxFilter(), 2, None, "acme")] == ["4 Code", "3"]
    assert [body(one) for one in await harness.inbox.find(InboxFilter(), 2, found[1].number, "acme")] == ["1"]
    assert [harness.inbox.number_of(harness.inbox.name_of(one)) for one in found] == [one.number for one in found]


@pytest.mark.parametrize(
    "name", ["", "1", "b00b1e55", "b00b1e55-", "b00b1e55-0", "b00b1e55-x", "b00b1e56-1", "b00b1e55-" + "9" * 40]
)
def test_a_name_of_another_boot_is_none(harness: Harness, name: str) -> None:
    assert harness.inbox.number_of(name) is None


async def test_long_texts_are_looked_through_in_turns(harness: Harness) -> None:
    harness.clock.reading_takes = 1.0
    for _ in range(5):
        harness.take(OutboundMessage(Email(("ada@example.com",), html="é" * MAX_TEXT)))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(others())
    assert await harness.inbox.find(InboxFilter(match="code"), 10, None, "acme") == []
    assert turns >= 4
    task.cancel()
    await asyncio.wait([task])


async def test_a_watch_begins_with_a_sign_of_life_and_shows_what_comes_then(harness: Harness) -> None:
    harness.take(sms("before"))
    async with aclosing(harness.inbox.watch(InboxFilter(to=ADA), "acme")) as watch:
        assert await next_of(watch) is None
        harness.take(sms("1"))
        harness.take(sms("not to him", to=BOB))
        harness.take(sms("another tenant's"), tenant="globex")
        harness.take(sms("2"))
        assert [body(await next_of(watch)) for _ in range(2)] == ["1", "2"]
        waiting = asyncio.ensure_future(anext(watch))
        await settle()
        harness.clock.advance(14)
        await settle()
        assert not waiting.done()
        harness.clock.advance(2)
        assert await within(waiting) is None
        harness.take(sms("3"))
        assert body(await next_of(watch)) == "3"


async def test_who_does_not_read_misses_what_is_not_kept_for_so_long(harness: Harness) -> None:
    async with aclosing(harness.inbox.watch(InboxFilter(), "acme")) as watch:
        await next_of(watch)
        for number in range(3000):
            harness.take(sms(str(number)))
        first = await next_of(watch)
        assert first is not None
        assert int(first.texts[0]) >= 3000 - 1100


async def test_who_waits_gets_the_newest_that_is_there(harness: Harness) -> None:
    harness.take(sms("code 1"))
    harness.take(sms("code 2"))
    harness.take(sms("code 3", to=BOB))
    assert body(await within(harness.inbox.wait(InboxFilter(to=ADA, match="code"), "acme", None))) == "code 2"


async def test_who_waits_is_woken_by_what_comes(harness: Harness) -> None:
    waiting = asyncio.ensure_future(harness.inbox.wait(InboxFilter(to="ADA@example.com", match="code"), "acme", None))
    await settle()
    for other in (
        sms("code"),
        OutboundMessage(Email(("ada@example.com",), text="no")),
        OutboundMessage(Email(("bob@example.com",), text="code")),
    ):
        harness.take(other)
        await settle()
        assert not waiting.done()
    harness.take(OutboundMessage(Email(("ada@example.com",), text="code")), tenant="globex")
    await settle()
    assert not waiting.done()
    harness.take(OutboundMessage(Email(("bob@example.com",), bcc=("Ada@Example.com",), subject="The CODE")))
    assert body(await within(waiting)) == "The CODE"
    assert harness.inbox._listeners == {}


async def test_what_came_before_a_time_is_not_given(harness: Harness) -> None:
    harness.take(sms("old"))
    harness.clock.advance(1)
    chosen = InboxFilter(to=ADA, time_from=harness.clock.wall())
    waiting = asyncio.ensure_future(harness.inbox.wait(chosen, "acme", None))
    await settle()
    assert not waiting.done()
    harness.take(sms("new"))
    assert body(await within(waiting)) == "new"


@pytest.mark.parametrize(("time_left", "answered_after"), [(None, 30.0), (100.0, 30.0), (5.0, 4.85), (0.05, 0.0)])
async def test_what_does_not_come_in_time_is_none(
    harness: Harness, time_left: float | None, answered_after: float
) -> None:
    waiting = asyncio.ensure_future(harness.inbox.wait(InboxFilter(to=ADA), "acme", time_left))
    await settle()
    if answered_after:
        harness.clock.advance(answered_after - 0.01)
        await settle()
        assert not waiting.done()
        harness.clock.advance(0.02)
    assert await within(waiting) is None
    assert harness.inbox._listeners == {}


async def test_many_who_wait_for_others_are_not_woken(harness: Harness) -> None:
    woken = 0
    since = harness.kept.since

    def counted(tenant: str, after: int) -> list[InboxMessage]:
        nonlocal woken
        woken += 1
        return since(tenant, after)

    others = [
        asyncio.ensure_future(harness.inbox.wait(InboxFilter(to=f"+1415555{number:04}"), "acme", None))
        for number in range(500)
    ]
    await settle()
    harness.kept.since = counted  # type: ignore[method-assign]
    harness.take(sms(to="+14155550007"))
    assert body(await within(others[7]))
    assert woken == 1
    harness.inbox.end()
    ended = await within(asyncio.gather(*others, return_exceptions=True))
    assert sum(isinstance(one, ShuttingDown) for one in ended) == 499


async def test_too_many_of_a_tenant_are_refused_and_none_of_another(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "MAX_LISTENERS", 2)
    both = [asyncio.ensure_future(harness.inbox.wait(InboxFilter(to=ADA), "acme", None)) for _ in range(2)]
    await settle()
    with pytest.raises(Overloaded):
        await harness.inbox.wait(InboxFilter(to=BOB), "acme", None)
    with pytest.raises(Overloaded):
        await anext(harness.inbox.watch(InboxFilter(), "acme"))
    async with aclosing(harness.inbox.watch(InboxFilter(), "globex")) as watch:
        assert await next_of(watch) is None
    for one in both:
        one.cancel()
    await asyncio.wait(both)
    assert harness.inbox._listeners == {}


async def test_at_the_end_all_are_let_go_and_none_is_taken(harness: Harness) -> None:
    waiting = asyncio.ensure_future(harness.inbox.wait(InboxFilter(to=ADA), "acme", None))
    watch = harness.inbox.watch(InboxFilter(), "acme")
    await next_of(watch)
    watching = asyncio.ensure_future(anext(watch))
    await settle()
    harness.inbox.end()
    for one in (waiting, watching):
        with pytest.raises(ShuttingDown):
            await within(one)
    with pytest.raises(ShuttingDown):
        await harness.inbox.wait(InboxFilter(to=ADA), "acme", None)
    with pytest.raises(ShuttingDown):
        await anext(harness.inbox.watch(InboxFilter(), "acme"))


def test_what_is_too_old_goes_though_nobody_reads(harness: Harness) -> None:
    harness.take()
    harness.clock.advance(60)
    harness.take()
    harness.clock.advance(MAX_AGE - 60)
    assert len(harness.kept) == 1
    harness.clock.advance(60)
    assert len(harness.kept) == 0
    harness.take()
    harness.clock.advance(MAX_AGE)
    assert len(harness.kept) == 0


async def test_a_token_stands_for_a_message_as_long_as_it_is_there(harness: Harness) -> None:
    harness.take(OutboundMessage(Email(("ada@example.com",), html="<p>")))
    (one,) = await harness.inbox.find(InboxFilter(), 1, None, "acme")
    path = harness.inbox.preview_path(one, "acme")
    assert harness.inbox.preview_path(one, "acme") == path == "/console/preview/token-1"
    token = path.rpartition("/")[2]
    assert harness.inbox.previewed(token) == one
    assert harness.inbox.previewed("other") is None
    harness.clock.advance(MAX_AGE)
    assert harness.inbox.previewed(token) is None


async def test_no_token_is_looked_for_among_all_messages(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(100):
        harness.take(OutboundMessage(Email(("ada@example.com",), html="<p>")))
    found = await harness.inbox.find(InboxFilter(), 100, None, "acme")
    paths = [harness.inbox.preview_path(one, "acme") for one in found]
    shown = Mock(wraps=inbox_in_core._shown)
    monkeypatch.setattr(inbox_in_core, "_shown", shown)
    harness.inbox._forget_tokens()
    assert len(harness.inbox._previews) == 100
    assert harness.inbox.previewed(paths[70].rpartition("/")[2]) == found[70]
    assert shown.call_count == 1


async def test_tokens_of_messages_that_have_gone_are_forgotten(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "MAX_MESSAGES", 2)
    letter = OutboundMessage(Email(("ada@example.com",), html="<p>"))
    for _ in range(4):
        harness.take(letter)
        (one,) = await harness.inbox.find(InboxFilter(), 1, None, "acme")
        harness.inbox.preview_path(one, "acme")
        harness.inbox.clear("acme")
    harness.take(letter)
    (one,) = await harness.inbox.find(InboxFilter(), 1, None, "acme")
    token = harness.inbox.preview_path(one, "acme").rpartition("/")[2]
    assert harness.inbox.previewed(token) == one
    assert list(harness.inbox._previews) == [token]
    assert list(harness.inbox._tokens) == [one.number]


async def test_what_is_erased_is_forgotten(harness: Harness) -> None:
    harness.take(message_id="m-1")
    harness.take(message_id="m-2")
    assert harness.inbox.held("acme", ["m-2", "m-3"]) == ["m-2"]
    harness.inbox.forget("acme", ["m-2"])
    assert [one.message_id for one in await harness.inbox.find(InboxFilter(), 9, None, "acme")] == ["m-1"]


async def test_what_has_no_html_has_no_path(harness: Harness) -> None:
    harness.take()
    harness.take(OutboundMessage(Email(("ada@example.com",), text="Hi")))
    found = await harness.inbox.find(InboxFilter(), 2, None, "acme")
    assert [harness.inbox.preview_path(one, "acme") for one in found] == ["", ""]


def inbox_with(tmp_path: Path, toml: str) -> InboxAccess | None:
    (tmp_path / "postwire.toml").write_text(toml, encoding="utf-8")
    config = load(path=tmp_path / "postwire.toml", environ={}, kinds=KINDS)
    return inbox_of(config, ManualClock(), lambda size: "ab" * size)


LETTER = InboxMessage(7, "m", "trial", 0, OutboundMessage(build.email(html="<p>")), (), (), False)


def test_a_server_in_production_keeps_nothing(tmp_path: Path) -> None:
    assert inbox_with(tmp_path, '[server]\nenvironment = "production"') is None
    kept = inbox_with(tmp_path, "")
    assert kept is not None
    assert kept.name_of(LETTER) == "abababab-7"


@pytest.mark.parametrize(
    ("toml", "path"),
    [
        ('[http]\nlisten = "127.0.0.1:8080"', f"/console/preview/{'ab' * 16}"),
        ('[http]\nlisten = "127.0.0.1:8080"\n[console]\nenabled = false', ""),
        ("", ""),
    ],
)
def test_emails_have_a_path_where_there_is_a_console(tmp_path: Path, toml: str, path: str) -> None:
    kept = inbox_with(tmp_path, toml)
    assert kept is not None
    assert kept.preview_path(LETTER, "acme") == path
