"""In which queues a boot finds what the one before has left waiting, where the rules are others now."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, Unsuitable, gate_of, registry_of, route

from postwire.core.errors import InvalidRouting, ProviderNotFound
from postwire.core.message import (
    DEFAULT_TENANT,
    Channel,
    Email,
    MessageRecord,
    MessageState,
    OutboundMessage,
    Sms,
    WaitFor,
)
from postwire.core.queue_keys import queue_key
from postwire.core.routing import Match, Route
from postwire.maintenance import rerouting
from postwire.outbox.base import Cursor, NewMessage
from postwire.outbox.sqlite import SqliteOutbox

QUEUED, SENT, EXPIRED = MessageState.QUEUED, MessageState.SENT, MessageState.EXPIRED


async def boot(harness: Harness) -> None:
    await harness.boot()


def harness_of(
    outbox: SqliteOutbox, routes: Sequence[Route], *names: str, unsuitable: Unsuitable | None = None
) -> Harness:
    """A harness with these rules for SMS, whose queues have the keys that a configuration gives them."""
    keyed = [replace(one, queue_key=queue_key(Channel.SMS, one.match)) for one in routes]
    providers = [FakeProvider(name) for name in names]
    gates = {name: gate_of(name) for name in names}
    for gate in gates.values():
        gate.breaker.force_open(0.0)  # so that all of them stay where they are
    registry = registry_of(*providers, routes={Channel.SMS: keyed}, gates=gates, unsuitable=unsuitable)
    return Harness(outbox, registry=registry)


SHORT = [route("a")]
UK = Match(prefixes=("+44",))
RULES = [route("b", key="sms#1", match=UK), route("a", key="sms#2", match=Match(prefixes=("+1",)))]


async def queues(harness: Harness, ids: Sequence[str]) -> list[str]:
    """The keys, as they are shown, of the queues that messages wait in."""
    found = [(await harness.kept(one)).queue for one in ids]
    routes = map(harness.registry.route_by_queue_key, found)
    return [route.key if route else queue for route, queue in zip(routes, found, strict=True)]


TWO = [
    route("a", key="sms#1", match=UK),
    route("b", key="sms#2", match=Match(labels={"x": "y"})),
    route("a", key="sms#3"),
]


async def leave_some(outbox: SqliteOutbox) -> list[MessageRecord]:
    """Have four messages wait by the rules `TWO`: one by each, and a pinned one."""
    before = harness_of(outbox, TWO, "a", "b")
    await boot(before)
    uk, labelled, other = Sms("+4420", "Hi"), build.command(labels={"x": "y"}), build.command()
    commands = [build.command(uk), labelled, other, build.command(provider_name="b")]
    records = [await before.send(command) for command in commands]
    assert await queues(before, [one.message_id for one in records]) == ["sms#1", "sms#2", "sms#3", "@b"]
    await before.drain(0.0)
    return [await before.kept(one.message_id) for one in records]


ANEW = {
    "in another order": ([TWO[1], TWO[0], TWO[2]], ["sms#2", "sms#1", "sms#3", "@b"]),
    "one before all": ([route("b", match=Match(prefixes=("+",))), *TWO], ["sms#2", "sms#3", "sms#4", "@b"]),
    "by others": ([route("b", match=one.match, overflow=True) for one in TWO], ["sms#1", "sms#2", "sms#3", "@b"]),
}


@pytest.mark.parametrize("case", ANEW)
async def test_rules_beside_its_own_move_no_message(outbox: SqliteOutbox, case: str) -> None:
    records = await leave_some(outbox)
    rules, expected = ANEW[case]
    numbered = [replace(one, key=f"sms#{number}") for number, one in enumerate(rules, 1)]
    after = harness_of(outbox, numbered, "a", "b")
    await boot(after)
    assert [await after.kept(one.message_id) for one in records] == records, "not even rewritten"
    assert await queues(after, [one.message_id for one in records]) == expected


@pytest.mark.parametrize("is_served", [True, False])
async def test_what_another_node_serves_is_left_to_it(outbox: SqliteOutbox, is_served: bool) -> None:
    records = await leave_some(outbox)
    here = harness_of(outbox, [TWO[0], TWO[2]], "a", "b")
    others = [records[1].queue] if is_served else []
    await rerouting.Rerouting(outbox=outbox, registry=here.registry, others=lambda: others).find_queues()
    kept = [await here.kept(one.message_id) for one in records]
    moved = records[1] if is_served else replace(records[1], queue=queue_key(Channel.SMS, Match()))
    assert kept == [records[0], moved, *records[2:]]


async def test_a_rule_that_asks_for_something_else_moves_its_own_messages(outbox: SqliteOutbox) -> None:
    records = await leave_some(outbox)
    after = harness_of(outbox, [TWO[0], replace(TWO[1], match=Match(labels={"x": "z"})), TWO[2]], "a", "b")
    await boot(after)
    kept = [await after.kept(one.message_id) for one in records]
    moved = replace(records[1], queue=queue_key(Channel.SMS, Match()))
    assert kept == [records[0], moved, *records[2:]]


RULE_MATCHES = st.lists(
    st.sampled_from([Match(prefixes=(prefix,)) for prefix in ("+1", "+44", "+4420")] + [Match(labels={"x": "y"})]),
    unique_by=repr,
    max_size=4,
)


@given(RULE_MATCHES, RULE_MATCHES, st.booleans())
def test_a_message_is_moved_only_where_its_own_rule_is_gone(
    before: list[Match], after: list[Match], catches_all: bool
) -> None:
    """Whatever becomes of the others; and by the rule that a new message like it would have."""

    def rules(matches: list[Match], catches_all: bool) -> list[Route]:
        return [route("a", match=one) for one in (*matches, *([Match()] if catches_all else []))]

    async def go() -> None:
        outbox = await SqliteOutbox.open(":memory:")
        first = harness_of(outbox, rules(before, True), "a")
        await boot(first)
        to = [Sms(number, "Hi") for number in ("+15005550100", "+4420", "+4477", "+353")]
        commands = [build.command(content, labels=labels) for content in to for labels in ({}, {"x": "y"})]
        sent = [await first.send(command) for command in commands]
        records = [await first.kept(one.message_id) for one in sent]
        await first.drain(0.0)
        second = harness_of(outbox, rules(after, catches_all), "a")
        await boot(second)
        for command, record in zip(commands, records, strict=True):
            expected = record.queue
            if second.registry.route_by_queue_key(record.queue) is None:
                expected = "sms"
                with suppress(InvalidRouting):
                    expected = second.registry.route(command.message, DEFAULT_TENANT, None).queue_key
            assert await second.kept(record.message_id) == replace(record, queue=expected)
        await second.drain(0.0)
        await outbox.close()

    asyncio.run(go())


async def test_when_the_rules_have_changed_what_waits_is_found_its_queue_anew(outbox: SqliteOutbox) -> None:
    before = harness_of(outbox, SHORT, "a", "b")
    await boot(before)
    commands = [build.command(Sms("+4420", "Hi")), build.command(), build.command(provider_name="b")]
    ids = [(await before.send(command)).message_id for command in commands]
    assert await queues(before, ids) == ["sms", "sms", "@b"]
    kept = await before.kept(ids[0])
    await before.drain(0.0)

    after = harness_of(outbox, RULES, "a", "b")
    await boot(after)
    assert await queues(after, ids) == ["sms#1", "sms#2", "@b"]
    assert (await after.kept(ids[0])).revision == kept.revision, "it is nothing that callers could see"
    after.registry.entry("b").gate.breaker.resume(0.0)
    await after.noted.reached(ids[0], SENT)
    await after.noted.reached(ids[2], SENT)
    await after.calm()
    assert after.noted.states.get(ids[1]) is None


async def test_a_pinned_message_is_not_carried_by_who_carries_its_channel_no_more(outbox: SqliteOutbox) -> None:
    both = (Channel.SMS, Channel.EMAIL)
    before = Harness(outbox, registry=registry_of(FakeProvider("a", channels=both, held=True)))
    before.registry.entry("a").gate.breaker.force_open(0.0)
    await boot(before)
    commands = [build.command(one, provider_name="a") for one in (None, build.email("a@a.test"))]
    sms, email = [(await before.send(command)).message_id for command in commands]
    assert await queues(before, [sms, email]) == ["@a", "@a"]
    await before.drain(0.0)

    after = Harness(outbox, registry=registry_of(FakeProvider("a", channels=(Channel.EMAIL,))))
    await boot(after)
    await after.noted.reached(email, SENT)
    assert await queues(after, [sms]) == ["@a/sms"]
    await after.drain(0.0)

    provider = FakeProvider("a", channels=both)
    back = Harness(outbox, registry=registry_of(provider))
    await boot(back)
    await back.noted.reached(sms, SENT)
    assert provider.keys == [sms]


async def test_many_are_found_their_queues_and_not_only_the_first(outbox: SqliteOutbox) -> None:
    before = harness_of(outbox, SHORT, "a", "b")
    await boot(before)
    wanted = {}
    for index in range(2 * rerouting.STEP + 1):
        content = Sms("+4420" if index % 3 else "+1500", "Hi")
        record = await before.send(build.command(content, wait_for=WaitFor.ACCEPTANCE))
        wanted[record.message_id] = "sms#1" if index % 3 else "sms#2"
    await before.drain(0.0)
    after = harness_of(outbox, RULES, "a", "b")
    await boot(after)
    assert await queues(after, list(wanted)) == list(wanted.values())


class Looked:
    """An outbox that notes which queues are gone through."""

    def __init__(self, inner: SqliteOutbox) -> None:
        self._inner = inner
        self.looked_at: set[str] = set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def scan_queued(self, after: Cursor, limit: int, queues: Collection[str]) -> object:
        self.looked_at |= set(queues)
        return await self._inner.scan_queued(after, limit, queues)


SAME = {
    "the same": ([route("a")], ("a", "b")),
    "who carries them": ([route("b", overflow=True)], ("a", "b")),
    "another key": ([route("a", key="sms#1")], ("a", "b")),
}
OTHER = {
    "another match": ([route("a", match=Match(labels={"x": "y"}))], ("a", "b")),
    "one more": ([RULES[0], *SHORT], ("a", "b")),
    "none": ([], ("a", "b")),
    "a provider less": ([route("a")], ("a",)),
}


@pytest.mark.parametrize("case", [*SAME, *OTHER])
async def test_what_waits_is_gone_through_only_where_its_rules_have_changed(outbox: SqliteOutbox, case: str) -> None:
    before = harness_of(outbox, SHORT, "a", "b")
    await boot(before)
    for pinned in (None, "b"):
        await before.send(build.command(provider_name=pinned))
    await before.drain(0.0)
    looked = Looked(outbox)
    routes, names = (SAME | OTHER)[case]
    everyones = queue_key(Channel.SMS, Match())
    gone = {everyones} if case in ("another match", "none") else set()
    for expected in ({"@b"} | gone if case in OTHER else set(), set()):
        looked.looked_at.clear()
        await boot(harness_of(looked, routes, *names))  # type: ignore[arg-type]  # the rest is the real one's
        assert looked.looked_at == expected


@pytest.mark.parametrize(("pinned", "queue"), [(None, "sms"), ("a", "@a")])
async def test_a_message_whose_route_is_gone_waits_until_it_is_back_or_the_message_expires(
    outbox: SqliteOutbox, pinned: str | None, queue: str
) -> None:
    before = harness_of(outbox, SHORT, "a")
    await boot(before)
    lasting = await before.send(build.command(provider_name=pinned))
    short = await before.send(build.command(provider_name=pinned, expire_time=START + 60_000_000))
    await before.drain(0.0)

    without = harness_of(outbox, [], "b")
    await boot(without)
    kept = await without.kept(lasting.message_id)
    assert (kept.state, kept.queue, kept.attempts, kept.revision) == (QUEUED, queue, (), 1)
    assert (await without.delivery.get(lasting.message_id, tenant=DEFAULT_TENANT)).next_attempt_time is None
    without.clock.advance(60.0)
    await without.noted.reached(short.message_id, EXPIRED)
    assert (await without.kept(lasting.message_id)) == kept, "nothing is written meanwhile"
    with pytest.raises(ProviderNotFound):
        without.registry.entry("a")
    await without.drain(0.0)

    back = harness_of(outbox, SHORT, "a")
    await boot(back)
    back.registry.entry("a").gate.breaker.resume(0.0)
    await back.noted.reached(lasting.message_id, SENT)


async def test_a_message_that_this_version_cannot_read_keeps_nobody_from_booting(outbox: SqliteOutbox) -> None:
    record = build.accepted(provider_name="", queue="sms#7")
    await outbox.accept(NewMessage(record, b"\xff", b"", build.command().options))
    harness = harness_of(outbox, SHORT, "a")
    await boot(harness)
    assert await queues(harness, [record.message_id]) == ["sms"]
    harness = harness_of(outbox, [route("a", match=UK)], "a")
    await boot(harness)
    assert await queues(harness, [record.message_id]) == ["sms"], "which nobody serves"


def test_an_email_is_found_its_queue_by_all_its_recipients() -> None:
    rules = [route("a", key="email#1", match=Match(domains=("a.test",))), route("a", key="email#2")]
    registry = registry_of(
        FakeProvider("a"),
        routes={Channel.EMAIL: rules},
    )
    for to, key in ((("x@a.test",), "email#1"), (("x@a.test", "y@b.test"), "email#2")):
        message = build.command(Email(to, text="Hi")).message
        assert registry.route(message, DEFAULT_TENANT, None).key == key


# Queues of what some providers cannot carry.


def not_a(message: OutboundMessage, _: object) -> Collection[str]:
    return ["a"] if "not a" in message.labels else []


async def leave_unsuitable(outbox: SqliteOutbox) -> list[MessageRecord]:
    """Have two messages wait for `a` or `b`, and a third that `a` cannot carry."""
    before = harness_of(outbox, [route("a", "b")], "a", "b", unsuitable=not_a)
    await boot(before)
    commands = [build.command(labels=labels) for labels in ({}, {"not a": ""}, {})]
    records = [await before.send(command) for command in commands]
    await before.drain(0.0)
    return [await before.kept(one.message_id) for one in records]


WITHOUT_A = queue_key(Channel.SMS, Match(), ["a"])


@pytest.mark.parametrize(
    "more", [[], [route("a", key="sms#1", match=Match(prefixes=("+1",)))]], ids=["same", "one more"]
)
async def test_what_some_cannot_carry_stays_in_its_queue_over_a_boot(
    outbox: SqliteOutbox, more: Sequence[Route]
) -> None:
    records = await leave_unsuitable(outbox)
    assert [one.queue for one in records] == [queue_key(Channel.SMS, Match()), WITHOUT_A, records[0].queue]
    looked = Looked(outbox)
    after = harness_of(looked, [*more, route("a", "b")], "a", "b", unsuitable=not_a)  # type: ignore[arg-type]
    await boot(after)
    assert looked.looked_at == set()
    assert [await after.kept(one.message_id) for one in records] == records
    assert after.delivery.queue_depths["sms"] == 3
    after.registry.entry("a").gate.breaker.resume(0.0)
    for number in (0, 2):
        await after.noted.reached(records[number].message_id, SENT)
    await after.calm()
    assert (await after.kept(records[1].message_id)) == records[1]
    after.registry.entry("b").gate.breaker.resume(0.0)
    await after.noted.reached(records[1].message_id, SENT)
    assert (await after.kept(records[1].message_id)).attempts[0].provider_name == "b"


@pytest.mark.parametrize("tenant", ["b", "z"])
async def test_what_of_another_tenant_some_cannot_carry_stays_in_its_queue_as_well(
    outbox: SqliteOutbox, tenant: str
) -> None:
    command = build.command(labels={"not a": ""})
    record = replace(build.accepted(command, provider_name="", queue=WITHOUT_A), tenant=tenant)
    await outbox.accept(build.new_message(command, record=record))
    looked = Looked(outbox)
    after = harness_of(looked, [route("a", "b")], "a", "b", unsuitable=not_a)  # type: ignore[arg-type]
    await boot(after)
    assert looked.looked_at == set()
    await after.calm()
    assert await outbox.get(record.message_id, tenant) == record
    after.registry.entry("b").gate.breaker.resume(0.0)
    await after.noted.reached(record.message_id, SENT)


async def test_what_can_be_carried_by_all_again_waits_with_the_others(outbox: SqliteOutbox) -> None:
    records = await leave_unsuitable(outbox)
    looked = Looked(outbox)
    after = harness_of(looked, [route("a", "b")], "a", "b")  # type: ignore[arg-type]  # the rest is the real one's
    await boot(after)
    assert looked.looked_at == {WITHOUT_A}
    kept = [await after.kept(one.message_id) for one in records]
    assert kept == [replace(one, queue=records[0].queue) for one in records]


async def test_an_attempt_that_was_open_without_some_goes_on_without_them(outbox: SqliteOutbox) -> None:
    command = build.command(labels={"not a": ""})
    new = build.new_message(command, record=build.accepted(command, provider_name="b", queue=WITHOUT_A))
    await outbox.accept(new)
    harness = harness_of(outbox, [route("a", "b")], "a", "b", unsuitable=not_a)
    await boot(harness)
    for name in "ab":
        harness.registry.entry(name).gate.breaker.resume(0.0)
    harness.clock.advance(2.0)
    await harness.noted.reached(new.record.message_id, SENT)
    assert [one.provider_name for one in (await harness.kept(new.record.message_id)).attempts] == ["b", "b"]
