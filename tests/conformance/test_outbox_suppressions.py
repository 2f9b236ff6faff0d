"""What every outbox keeps to about suppressions: found by hashes, apart by tenants, and gone once they have expired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import EVER, Q, Reopen, each, keep, queue_up

from postwire.core import lifecycle, suppressing
from postwire.core.audit import AuditEvent, AuditFilter
from postwire.core.message import DEFAULT_TENANT, DispatchOptions, MessageState
from postwire.core.outcome import Outcome
from postwire.core.suppression import Suppression, SuppressionPosition, SuppressionReason
from postwire.outbox.base import NewMessage, Outbox

EVENT = AuditEvent(START, "acme", "ops", "postwire.v1.S/Change", "3 addresses")


def hash_of(number: int) -> bytes:
    return number.to_bytes(4) * 8


def suppression(number: int = 0, **fields: Any) -> Suppression:
    made = Suppression(hash_of(number), SuppressionReason.MANUAL, "test", START + number, "key-1")
    return replace(made, **fields)


async def add(outbox: Outbox, *some: Suppression, tenant: str = DEFAULT_TENANT, only_new: bool = False) -> int:
    return await outbox.add_suppressions({tenant: some}, only_new=only_new)


async def listed(outbox: Outbox, tenant: str = DEFAULT_TENANT, now: int = START) -> list[Suppression]:
    """Newest first, a page at a time."""
    found: list[Suppression] = []
    after: SuppressionPosition | None = None
    while True:
        page = await outbox.list_suppressions(2, after, tenant, now)
        assert len(page.suppressions) <= 2
        found += page.suppressions
        if page.next_after is None:
            return found
        assert after is None or page.next_after < after
        after = page.next_after


async def looked_up(outbox: Outbox, *numbers: int, tenant: str = DEFAULT_TENANT, now: int = START) -> list[Suppression]:
    found = await outbox.suppressions([hash_of(number) for number in numbers], tenant, now)
    return sorted(found, key=lambda one: (one.address_hash, one.sender))


async def test_what_is_added_is_found_as_it_is(outbox: Outbox) -> None:
    some = [
        suppression(1, reason=SuppressionReason.HARD_BOUNCE, source="ü \U0001f600"),
        suppression(2, expire_time=START + 100, sender="+15005550006"),
        suppression(2, reason=SuppressionReason.OPT_OUT, sender="sms-mms"),
    ]
    assert await add(outbox, *some) == 3
    assert outbox.has_suppressions
    assert await looked_up(outbox, 1, 2, 3) == some
    assert await looked_up(outbox, 3) == []
    assert await looked_up(outbox) == []


async def test_tenants_have_lists_of_their_own(outbox: Outbox) -> None:
    await add(outbox, suppression(1))
    await outbox.add_suppressions({"acme": [suppression(1), suppression(2)], "beta": [suppression(3)]})
    assert await looked_up(outbox, 1, 2, 3) == [suppression(1)]
    assert await looked_up(outbox, 1, 2, 3, tenant="acme") == [suppression(1), suppression(2)]
    assert await listed(outbox, "beta") == [suppression(3)]
    assert await outbox.remove_suppressions([hash_of(1)], ["acme"], START) == 1
    assert await looked_up(outbox, 1) == [suppression(1)]
    assert await outbox.remove_suppressions([hash_of(1), hash_of(3)], [DEFAULT_TENANT, "acme", "beta"], START) == 2
    assert await listed(outbox) == []


async def test_one_that_is_there_changes_in_its_place(outbox: Outbox) -> None:
    await add(outbox, suppression(1), suppression(2))
    new = suppression(1, create_time=START + 50, reason=SuppressionReason.COMPLAINT, source="s", expire_time=START + 90)
    assert await add(outbox, new, suppression(3)) == 1
    assert await listed(outbox) == [suppression(3), suppression(2), replace(new, create_time=START + 1)]


async def test_of_two_of_one_call_the_last_counts(outbox: Outbox) -> None:
    assert await add(outbox, suppression(1), suppression(1, source="last")) == 1
    assert await listed(outbox) == [suppression(1, source="last")]


async def test_only_new_ones_leave_what_is_for_good(outbox: Outbox) -> None:
    await add(outbox, suppression(1), suppression(2, expire_time=START + 100))
    opted_out = {"reason": SuppressionReason.OPT_OUT, "create_time": START + 9}
    assert await add(outbox, *(suppression(number, **opted_out) for number in (1, 2, 3)), only_new=True) == 1
    assert await looked_up(outbox, 1, 2, 3) == [
        suppression(1),
        suppression(2, reason=SuppressionReason.OPT_OUT),
        suppression(3, **opted_out),
    ]


async def test_only_new_ones_end_nothing_sooner(outbox: Outbox) -> None:
    there = suppression(1, expire_time=START + 100)
    await add(outbox, there, suppression(2, expire_time=START + 5))
    sooner = {"reason": SuppressionReason.OPT_OUT, "expire_time": START + 50}
    await add(outbox, *(suppression(number, **sooner) for number in (1, 2)), only_new=True)
    assert await looked_up(outbox, 1, 2) == [there, suppression(2, **sooner)]


async def test_what_has_expired_is_not_there(outbox: Outbox) -> None:
    expiring = suppression(1, expire_time=START + 100)
    await add(outbox, expiring, suppression(2))
    assert await looked_up(outbox, 1, now=START + 99) == [expiring]
    assert await looked_up(outbox, 1, now=START + 100) == []
    assert await listed(outbox, now=START + 100) == [suppression(2)]
    assert await outbox.remove_suppressions([hash_of(1)], [DEFAULT_TENANT], START + 100) == 0
    await add(outbox, expiring)
    renewed = suppression(1, create_time=START + 100)
    assert await add(outbox, renewed) == 1, "it is a new one"
    assert await listed(outbox, now=START + 100) == [renewed, suppression(2)]


async def test_what_has_expired_is_removed_a_few_at_a_time(outbox: Outbox) -> None:
    assert await outbox.remove_expired_suppressions(START, 10) == 0
    await add(outbox, suppression(0), *(suppression(number, expire_time=START + number) for number in range(1, 7)))
    assert await outbox.remove_expired_suppressions(START + 4, 3) == 3
    assert await outbox.remove_expired_suppressions(START + 4, 3) == 1
    assert await outbox.remove_expired_suppressions(START + 4, 3) == 0
    assert [one.create_time - START for one in await listed(outbox)] == [6, 5, 0]


async def test_some_senders_and_one_reason_can_be_removed_alone(outbox: Outbox) -> None:
    opted_out = suppression(1, reason=SuppressionReason.OPT_OUT, sender="a")
    some = [suppression(1), opted_out, replace(opted_out, sender="b"), suppression(1, sender="c")]
    await add(outbox, *some)

    async def remove(**fields: Any) -> int:
        return await outbox.remove_suppressions([hash_of(1)], [DEFAULT_TENANT], START, **fields)

    assert await remove(senders=["a", "c"], reason=SuppressionReason.OPT_OUT) == 1
    assert await looked_up(outbox, 1) == [some[0], some[2], some[3]]
    assert await remove(senders=["c"]) == 1
    assert await remove(senders=[]) == 0
    assert await remove() == 1, "an address counts once"
    assert await looked_up(outbox, 1) == []


async def test_a_change_has_its_event(outbox: Outbox) -> None:
    await outbox.add_suppressions({DEFAULT_TENANT: [suppression(1)]}, EVENT)
    await outbox.remove_suppressions([hash_of(1)], [DEFAULT_TENANT], START, replace(EVENT, time=START + 1))
    page = await outbox.events(AuditFilter(), 10, None)
    assert page.events == (replace(EVENT, time=START + 1), EVENT)


async def test_a_page_goes_on_among_those_of_one_moment(outbox: Outbox) -> None:
    some = [suppression(number, create_time=START + number // 3) for number in range(9)]
    await add(outbox, *some)
    assert await listed(outbox) == some[::-1]


async def test_many_are_found_at_once(outbox: Outbox) -> None:
    await add(outbox, *(suppression(number) for number in range(1_000)))
    found = await outbox.suppressions([hash_of(number) for number in range(0, 2_000, 2)], DEFAULT_TENANT, START)
    assert {one.address_hash for one in found} == {hash_of(number) for number in range(0, 1_000, 2)}


async def test_they_outlive_the_process(reopen: Reopen) -> None:
    await add(await reopen(), suppression(1))
    outbox = await reopen()
    assert outbox.has_suppressions
    assert await looked_up(outbox, 1) == [suppression(1)]


def message(*numbers: int, scope: str = "p", tenant: str = DEFAULT_TENANT, at: str = "p", **options: Any) -> NewMessage:
    """One whose recipients have the hashes of these numbers; an email where there are several."""
    content = build.email(*(f"r{number}@example.com" for number in numbers)) if len(numbers) > 1 else None
    command = build.command(content, tenant=tenant, **options)
    new = build.new_message(command, record=build.accepted(command, provider_name=at, queue="q"))
    return replace(new, recipient_hashes=tuple(map(hash_of, numbers)), scope=scope)


async def accepted(outbox: Outbox, new: NewMessage) -> Any:
    done = await outbox.accept(new)
    assert done.created
    kept = await outbox.get(new.record.message_id, new.record.tenant)
    assert kept == done.record
    return kept


async def test_a_message_to_somebody_suppressed_fails_without_an_attempt(outbox: Outbox) -> None:
    await add(outbox, suppression(1))
    new = message(1)
    record = await accepted(outbox, new)
    assert (record.state, record.attempts, record.error_code) == (MessageState.FAILED, (), "suppressed")
    assert record.revision == new.record.revision
    assert await outbox.content(record.message_id, record.tenant) in (None, b""), "nobody is to have what it says"
    assert not (await outbox.orphans(10))
    again = await outbox.accept(new)
    assert (again.created, again.record) == (False, record)


async def test_others_are_written_to(outbox: Outbox) -> None:
    await add(outbox, suppression(1))
    await outbox.add_suppressions({"acme": [suppression(2)]})
    for new in (message(2), message(1, tenant="acme"), message(1, 2, ignore_suppression=True)):
        assert (await accepted(outbox, new)).state is MessageState.SENDING
    assert (await accepted(outbox, message(1, at=""))).state is MessageState.QUEUED, "it is asked before its attempt"


@pytest.mark.parametrize(
    ("sender", "state"), [("", MessageState.FAILED), ("p", MessageState.FAILED), ("q", MessageState.SENDING)]
)
async def test_the_scope_counts(outbox: Outbox, sender: str, state: MessageState) -> None:
    await add(outbox, suppression(1, sender=sender))
    assert (await accepted(outbox, message(1))).state is state


async def test_one_that_has_expired_counts_for_nobody(outbox: Outbox) -> None:
    await add(outbox, suppression(1, create_time=START - 10, expire_time=START))
    assert (await accepted(outbox, message(1))).state is MessageState.SENDING


async def test_of_an_email_the_others_go_on(outbox: Outbox) -> None:
    await add(outbox, suppression(2))
    record = await accepted(outbox, message(1, 2, 3))
    assert record.state is MessageState.SENDING
    assert [one.state for one in record.recipients] == [
        MessageState.SENDING,
        MessageState.FAILED,
        MessageState.SENDING,
    ]
    assert (record.recipients[1].outcome, record.recipients[1].error_code) == (Outcome.REJECTED, "suppressed")
    assert lifecycle.unresolved(record) == (0, 2)
    assert (await outbox.content(record.message_id, record.tenant)) is not None
    assert record.error_code == ""
    await add(outbox, suppression(1), suppression(3))
    assert (await accepted(outbox, message(1, 2, 3))).state is MessageState.FAILED


async def test_among_many_of_a_commit_each_has_its_own(outbox: Outbox) -> None:
    await add(outbox, *(suppression(number) for number in range(0, 300, 3)))
    news = [message(number) for number in range(300)]
    done = await outbox.accept_all([*news, news[0]])
    states = [getattr(one, "record").state for one in done]  # noqa: B009
    assert states == [MessageState.FAILED, MessageState.SENDING, MessageState.SENDING] * 100 + [MessageState.FAILED]


async def test_what_is_suppressed_later_is_fenced_and_kept_as_any_change(outbox: Outbox) -> None:
    new = await keep(outbox)
    dropped = lifecycle.drop_attempt(new.record, now=START + 1, due=START + 1)
    after = suppressing.suppress(dropped, {0}, now=START + 1)
    assert await outbox.advance(new.record, after)
    assert not await outbox.advance(new.record, after)
    assert await outbox.get(new.record.message_id, DEFAULT_TENANT) == after
    assert (after.state, after.attempts, after.error_code) == (MessageState.FAILED, (), "suppressed")
    assert await outbox.content(new.record.message_id, DEFAULT_TENANT) in (None, b"")


async def test_whoever_waits_is_known_to_ignore_it(outbox: Outbox) -> None:
    await queue_up(outbox, ignore_suppression=True)
    await queue_up(outbox)
    found: list[DispatchOptions] = []
    assert not await outbox.take(Q, EVER, each(10), lambda one: found.append(one.options))
    assert sorted(one.ignore_suppression for one in found) == [False, True]
