"""What every outbox keeps to when it is asked for lists, and for what is not settled.

The filters are held to `MessageFilter.admits`, which decides for one record what
a query decides for all of them.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.support import build
from tests.support.clock import START

from postwire.core import lifecycle
from postwire.core.listing import MessageFilter, Page
from postwire.core.message import DEFAULT_TENANT, EMPTY, Channel, Content, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.base import Outbox, OutboxStats

ALL = MessageFilter()
PROVIDERS = ("p-0", "p-1", "p-2")
CONTENT: Mapping[Channel, Content] = {
    Channel.SMS: build.sms(),
    Channel.MMS: build.mms(),
    Channel.EMAIL: build.email("a@example.com", "b@example.com"),
}


async def keep(
    outbox: Outbox,
    *,
    channel: Channel = Channel.SMS,
    outcome: Outcome | None = None,
    provider_name: str = "p-0",
    labels: Mapping[str, str] = EMPTY,
    now: int = START,
    tenant: str = "default",
) -> MessageRecord:
    """Have a message accepted, and its attempt ended if there is an outcome; returns its record."""
    of = build.command(CONTENT[channel], labels=labels)
    record = replace(build.accepted(of, provider_name=provider_name, now=now), tenant=tenant)
    assert (await outbox.accept(build.new_message(of, record=record))).created
    if outcome:
        before, record = record, build.ended(record, DispatchResult(outcome, error_code="c"))
        assert await outbox.advance(before, record)
    return record


async def pages_of(
    outbox: Outbox, chosen: MessageFilter = ALL, size: int = 50, after: str | None = None, tenant: str = "default"
) -> list[Page]:
    """Every page from there to the last."""
    pages = [await outbox.list(chosen, size, after, tenant)]
    while pages[-1].next_after is not None:
        pages.append(await outbox.list(chosen, size, pages[-1].next_after, tenant))
    assert all(len(page.records) <= size for page in pages)
    return pages


def together(pages: list[Page]) -> list[MessageRecord]:
    return [record for page in pages for record in page.records]


# In which order, and how many.


async def test_an_empty_outbox_is_one_empty_page(outbox: Outbox) -> None:
    assert await outbox.list(ALL, 50, None, DEFAULT_TENANT) == Page((), None)
    assert await outbox.list(ALL, 50, build.new_id(), DEFAULT_TENANT) == Page((), None)


async def test_the_newest_is_first_though_the_time_of_day_stepped_back(outbox: Outbox) -> None:
    kept = [await keep(outbox, now=START - number, outcome=Outcome.SUCCESS) for number in range(5)]
    assert (await outbox.list(ALL, 50, None, DEFAULT_TENANT)).records == tuple(reversed(kept))


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 1000])
async def test_pages_of_any_size_hold_each_message_once(outbox: Outbox, size: int) -> None:
    kept = [await keep(outbox, outcome=list(Outcome)[number % 5]) for number in range(7)]
    pages = await pages_of(outbox, size=size)
    assert together(pages) == kept[::-1]
    assert [len(page.records) for page in pages[:-1]] == [size] * (len(pages) - 1), "only the last may be short here"


async def test_a_thousand_on_one_page_have_their_attempts_and_recipients(outbox: Outbox) -> None:
    # At once, so that they share commits.
    kept = await asyncio.gather(*(keep(outbox, channel=list(Channel)[number % 3]) for number in range(1_000)))
    page = await outbox.list(ALL, 1_000, None, DEFAULT_TENANT)
    assert page.records == tuple(reversed(kept))
    assert all(len(record.attempts) == 1 for record in page.records)
    assert {len(record.recipients) for record in page.records} == {0, 2}


async def test_a_page_goes_on_after_an_id_that_nobody_has(outbox: Outbox) -> None:
    first = await keep(outbox)
    between = build.new_id()
    second = await keep(outbox)
    assert (await outbox.list(ALL, 50, between, DEFAULT_TENANT)).records == (first,)
    assert (await outbox.list(ALL, 50, build.new_id(), DEFAULT_TENANT)).records == (second, first)
    assert await outbox.list(ALL, 50, first.message_id, DEFAULT_TENANT) == Page((), None)


# While others write.


async def test_what_arrives_between_pages_makes_no_gap_and_no_repeat(outbox: Outbox) -> None:
    kept = [await keep(outbox) for _ in range(10)]
    found: list[str] = []
    after: str | None = None
    while True:
        page = await outbox.list(ALL, 3, after, DEFAULT_TENANT)
        found += [record.message_id for record in page.records]
        if page.next_after is None:
            break
        after = page.next_after
        for _ in range(4):
            await keep(outbox)
    assert found == [record.message_id for record in reversed(kept)]


async def test_what_changes_between_pages_is_shown_once_as_it_then_is(outbox: Outbox) -> None:
    kept = [await keep(outbox) for _ in range(6)]
    first = await outbox.list(ALL, 3, None, DEFAULT_TENANT)
    for record in kept:
        assert await outbox.advance(record, build.ended(record))
    second = await outbox.list(ALL, 3, first.next_after, DEFAULT_TENANT)
    assert first.records == tuple(kept[:2:-1])
    assert second.records == tuple(build.ended(record) for record in kept[2::-1])


async def test_what_a_filter_no_longer_admits_does_not_stop_the_pages(outbox: Outbox) -> None:
    kept = [await keep(outbox) for _ in range(6)]
    sending = MessageFilter(states=frozenset({MessageState.SENDING}))
    first = await outbox.list(sending, 2, None, DEFAULT_TENANT)
    for record in kept[2:5]:
        assert await outbox.advance(record, build.ended(record))
    assert first.records == (kept[5], kept[4])
    assert together(await pages_of(outbox, sending, 2, first.next_after)) == [kept[1], kept[0]]


# Which.

CHANNELS = [frozenset(), frozenset({Channel.EMAIL}), frozenset({Channel.SMS, Channel.MMS})]
STATES = [frozenset(), frozenset({MessageState.SENT}), frozenset({MessageState.FAILED, MessageState.SENDING})]
NAMES = [frozenset(), frozenset({"p-1"}), frozenset({"p-0", "p-2", "nobody"})]
LABELS: list[Mapping[str, str]] = [EMPTY, {"mod": "1"}, {"mod": "0", "even": ""}]
TIMES = [(None, None), (START + 20, None), (None, START + 20), (START + 10, START + 30)]


async def test_a_filter_of_any_parts_gives_what_it_admits(outbox: Outbox) -> None:
    order = random.Random(7)
    kept = [
        await keep(
            outbox,
            channel=order.choice(list(Channel)),
            outcome=order.choice([None, *Outcome]),
            provider_name=order.choice(PROVIDERS),
            labels={"mod": str(number % 3)} | ({"even": ""} if number % 2 == 0 else {}),
            now=START + number,
        )
        for number in range(40)
    ]
    empty = 0
    for channels, states, names, labels, (start, end) in itertools.product(CHANNELS, STATES, NAMES, LABELS, TIMES):
        chosen = MessageFilter(channels, states, names, labels, start, end)
        admitted = [record for record in reversed(kept) if chosen.admits(record)]
        assert together(await pages_of(outbox, chosen, 9)) == admitted
        empty += not admitted
    assert empty < 200, "or this shows little"


TRICKY: list[Mapping[str, str]] = [
    {"a.b/c_d-e": "1"},
    {"a": "1"},
    {"a": "01"},
    {"a": " 1"},
    {"a": "1.0"},
    {"a": "true"},
    {"a": "null"},
    {"a": ""},
    {"a": '"1"'},
    {"a": "[1]"},
    {"a": "%"},
    {"a": "_"},
    {"a": "1' OR '1'='1"},
    {"a": "\\u0031"},
    {"A": "1"},
    {"a": "é"},
    {"a": "e\u0301"},
    {"a": "\U0001f469\u200d\U0001f680"},
    {"a": "x" * 256},
    {"": "1"},
]


async def test_what_waits_is_listed_and_before_its_first_attempt_has_no_provider(outbox: Outbox) -> None:
    waits = await keep(outbox, provider_name="")
    tried = await keep(outbox, outcome=Outcome.ERROR)
    sending = await keep(outbox)
    assert [waits.state, tried.state, sending.state] == [MessageState.QUEUED] * 2 + [MessageState.SENDING]
    for chosen, admitted in (
        (ALL, [sending, tried, waits]),
        (MessageFilter(states=frozenset({MessageState.QUEUED})), [tried, waits]),
        (MessageFilter(provider_names=frozenset({"p-0"})), [sending, tried]),
        (MessageFilter(provider_names=frozenset({"p-0", ""})), [sending, tried]),
        (MessageFilter(provider_names=frozenset({""})), []),
    ):
        assert [record for record in (sending, tried, waits) if chosen.admits(record)] == admitted
        assert together(await pages_of(outbox, chosen)) == admitted


async def test_labels_are_compared_to_the_letter(outbox: Outbox) -> None:
    kept = [await keep(outbox, labels=labels) for labels in TRICKY]
    await keep(outbox)
    for labels, record in zip(TRICKY, kept, strict=True):
        assert together(await pages_of(outbox, MessageFilter(labels=labels))) == [record]


@pytest.mark.parametrize(
    "chosen",
    [
        MessageFilter(labels={"a": "1\0"}),
        MessageFilter(labels={"\0": "1"}),
        MessageFilter(labels={"a": "1", "b": "2"}),
        MessageFilter(labels={"a%": "1"}),
        MessageFilter(labels={"$.a": "1"}),
        MessageFilter(provider_names=frozenset({"p-0\0"})),
        MessageFilter(provider_names=frozenset({"P-0", "p_0", "p-%", "", "é" * 1000})),
        MessageFilter(create_time_from=START + 1, create_time_to=START),
        MessageFilter(create_time_from=253_402_300_799_999_999),
        MessageFilter(create_time_to=0),
    ],
)
async def test_what_nothing_meets_gives_nothing(outbox: Outbox, chosen: MessageFilter) -> None:
    await keep(outbox, labels={"a": "1"})
    assert await outbox.list(chosen, 50, None, DEFAULT_TENANT) == Page((), None)


async def test_a_thousand_names_and_labels_are_no_trouble(outbox: Outbox) -> None:
    record = await keep(outbox, labels={"a": "1"})
    names = frozenset({*(f"n-{number}" for number in range(1_000)), "p-0"})
    assert (await outbox.list(MessageFilter(provider_names=names), 50, None, DEFAULT_TENANT)).records == (record,)
    labels = {f"k-{number}": "1" for number in range(1_000)}
    assert (await outbox.list(MessageFilter(labels=labels), 50, None, DEFAULT_TENANT)).records == ()


REQUEST_IDS = ("r-1", "R-1", "r 1", "r-1%", '"r"', "[1]", "1")


async def test_request_ids_are_found_to_the_letter_newest_first_whatever_lies_between(outbox: Outbox) -> None:
    kept: dict[str, MessageRecord] = {}
    for request_id in REQUEST_IDS:
        of = build.command(request_id=request_id, labels={"even": str(len(kept) % 2)})
        record = build.accepted(of, provider_name="p-0")
        for tenant in ("default", "other"):
            await outbox.accept(build.new_message(of, record=replace(record, tenant=tenant)))
            record = build.accepted(of, provider_name="p-0")
        kept[request_id] = (await outbox.list(ALL, 1, None, DEFAULT_TENANT)).records[0]
        for _ in range(3):
            await keep(outbox)
    for request_id, record in kept.items():
        assert record.request_id == request_id
        assert await outbox.list(MessageFilter(request_ids=frozenset({request_id})), 50, None, DEFAULT_TENANT) == Page(
            (record,), None
        )
        assert await outbox.find_by_request_id(request_id, DEFAULT_TENANT) == record
        assert await outbox.find_by_request_id(request_id, tenant="nobody") is None
    assert await outbox.find_by_request_id("r", DEFAULT_TENANT) is None
    newest_first = list(kept.values())[::-1]
    every = frozenset({*REQUEST_IDS, *(f"n-{number}" for number in range(1_000))})
    for size in (1, 2, 3, len(kept), 50):
        assert together(await pages_of(outbox, MessageFilter(request_ids=every), size)) == newest_first
    even = MessageFilter(request_ids=every, labels={"even": "0"})
    assert together(await pages_of(outbox, even, 2)) == [one for one in newest_first if one.labels["even"] == "0"]


# How far one page looks.

SCAN = 5


@pytest.fixture
def _small_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postwire.core.listing.SCAN_LIMIT", SCAN)


@pytest.mark.usefixtures("_small_scans")
@pytest.mark.parametrize("size", [1, 2, SCAN, 50])
async def test_a_page_looks_at_a_bounded_number_and_the_next_goes_on(outbox: Outbox, size: int) -> None:
    # All that is wanted lies together, far from the newest: the pages before it are empty, and each has a token.
    kept = [await keep(outbox, labels={"wanted": "1"} if 2 <= number < 6 else EMPTY) for number in range(4 * SCAN + 2)]
    wanted = MessageFilter(labels={"wanted": "1"})
    pages = await pages_of(outbox, wanted, size)
    assert together(pages) == kept[5:1:-1]
    assert [len(page.records) for page in pages[:3]] == [0, 0, 0]
    ends = [page.next_after for page in pages[:3]]
    assert ends == [kept[-SCAN * page].message_id for page in (1, 2, 3)], "each ends where its sight does"


@pytest.mark.usefixtures("_small_scans")
async def test_a_full_page_goes_on_after_its_last_and_not_after_its_sight(outbox: Outbox) -> None:
    kept = [await keep(outbox) for _ in range(12)]
    page = await outbox.list(ALL, 2, None, DEFAULT_TENANT)
    assert page.next_after == kept[-2].message_id
    assert together(await pages_of(outbox, ALL, 2)) == kept[::-1]
    page = await outbox.list(ALL, 50, None, DEFAULT_TENANT)
    assert [page.records, page.next_after] == [tuple(kept[:-6:-1]), kept[-SCAN].message_id]


@pytest.mark.usefixtures("_small_scans")
@pytest.mark.parametrize("count", [SCAN - 1, SCAN, SCAN + 1, 2 * SCAN])
async def test_at_the_edge_of_its_sight_nothing_is_lost(outbox: Outbox, count: int) -> None:
    kept = [await keep(outbox) for _ in range(count)]
    for size in (1, SCAN - 1, SCAN, SCAN + 1):
        assert together(await pages_of(outbox, ALL, size)) == kept[::-1]
    nothing = MessageFilter(labels={"wanted": "1"})
    assert together(await pages_of(outbox, nothing)) == []


@pytest.mark.usefixtures("_small_scans")
async def test_another_tenants_messages_are_not_shown_and_make_no_gap(outbox: Outbox) -> None:
    ours = []
    for _ in range(8):
        ours.append(await keep(outbox))
        for _ in range(2 * SCAN):
            await keep(outbox, tenant="other")
    assert together(await pages_of(outbox)) == ours[::-1]
    assert len(together(await pages_of(outbox, tenant="other"))) == 16 * SCAN
    assert together(await pages_of(outbox, tenant="nobody")) == []


# What is not settled.


async def test_what_is_not_settled_is_counted_until_it_is(outbox: Outbox) -> None:
    kept = [await keep(outbox, now=START + number) for number in (3, 1, 2)]
    await keep(outbox, now=START, outcome=Outcome.SUCCESS)
    assert await outbox.stats() == OutboxStats(3, START + 1)
    for record, left in zip(
        (kept[1], kept[0], kept[2]),
        (OutboxStats(2, START + 2), OutboxStats(1, START + 2), OutboxStats(0, None)),
        strict=True,
    ):
        assert await outbox.advance(record, build.ended(record, DispatchResult(Outcome.REJECTED)))
        assert await outbox.stats() == left


async def test_what_waits_counts_as_what_is_being_sent_does(outbox: Outbox) -> None:
    assert await outbox.stats() == OutboxStats(0, None)
    waits = await keep(outbox, provider_name="", now=START + 5)
    assert await outbox.stats() == OutboxStats(1, START + 5)
    sending = await keep(outbox, now=START + 3)
    assert await outbox.stats() == OutboxStats(2, START + 3)
    tried = await keep(outbox, now=START + 1, outcome=Outcome.UNCERTAIN)
    assert await outbox.stats() == OutboxStats(3, START + 1)
    assert await outbox.advance(tried, lifecycle.expire(tried, now=tried.expire_time))
    assert await outbox.stats() == OutboxStats(2, START + 3)
    assert await outbox.advance(sending, build.ended(sending))
    assert await outbox.stats() == OutboxStats(1, START + 5)
    assert await outbox.advance(waits, lifecycle.cancel(waits, now=START + 9))
    assert await outbox.stats() == OutboxStats(0, None)


async def test_every_tenants_messages_count(outbox: Outbox) -> None:
    await keep(outbox, tenant="other", now=START - 1)
    await keep(outbox)
    assert await outbox.stats() == OutboxStats(2, START - 1)
