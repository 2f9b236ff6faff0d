"""What every outbox keeps to about guards: the commit that accepts a message counts it, and decides whether it may."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.outboxes import Reopen, kept_bytes

from postwire.core.errors import GuardExceeded, RequestIdReused
from postwire.core.guards import Cap, GuardRules, Guards
from postwire.core.message import DEFAULT_TENANT, Email, Sms
from postwire.outbox.base import Accepted, NewMessage, NotAccepted, Outbox

HOUR = build.HOUR
STEP = HOUR // 60
TWO = Guards(GuardRules(max_per_recipient=Cap(2, HOUR)))
PREFIX = Guards(GuardRules(max_per_prefix={"+44": Cap(3, HOUR)}, max_per_recipient=Cap(2, HOUR)))
MACHINE = "a boot of the machine", 5_000_000


def new(
    to: str = "+447700900123",
    *,
    guards: Guards = TWO,
    now: int = START,
    tenant: str = DEFAULT_TENANT,
    request_id: str = "",
    body: str = "Hello",
) -> NewMessage:
    """A message that guards have looked at. `to` is a number, or email addresses with commas between."""
    content = Email(tuple(to.split(",")), subject="Hi") if "@" in to else Sms(to, body)
    of = build.command(content, request_id=request_id or build.new_request_id(), tenant=tenant)
    made = build.new_message(of, record=build.accepted(of, provider_name=""))
    return replace(made, guarded=guards.check(of.message, now))


async def accept(outbox: Outbox, *news: NewMessage) -> list[str]:
    """What becomes of messages that are handed over together."""
    return words(await outbox.accept_all(news))


def words(verdicts: Sequence[Accepted | NotAccepted]) -> list[str]:
    of = {GuardExceeded: "full", RequestIdReused: "reused"}
    return [
        ("created" if one.created else "repeat") if isinstance(one, Accepted) else of[type(one)] for one in verdicts
    ]


async def test_as_many_are_accepted_as_there_is_room_for(outbox: Outbox) -> None:
    assert await accept(outbox, *(new() for _ in range(4))) == ["created", "created", "full", "full"]
    with pytest.raises(GuardExceeded) as raised:
        await outbox.accept(new(now=START + 5 * STEP))
    # What was counted at START leaves with the end of its step.
    end = (START // STEP + 1) * STEP
    assert raised.value.retry_delay == pytest.approx((end + HOUR - START - 5 * STEP) / 1e6, abs=1e-3)
    later = end + HOUR
    assert await accept(outbox, new(now=later - 1)) == ["full"]
    assert await accept(outbox, *(new(now=later) for _ in range(3))) == ["created", "created", "full"]


async def test_a_refused_message_is_nowhere_and_its_request_id_is_free(outbox: Outbox) -> None:
    await accept(outbox, new(), new())
    refused = new(request_id="r")
    position = await outbox.last_position()
    assert await accept(outbox, refused) == ["full"]
    assert await outbox.find_by_request_id("r", DEFAULT_TENANT) is None
    assert await outbox.get(refused.record.message_id, DEFAULT_TENANT) is None
    assert await outbox.last_position() == position
    assert (await outbox.stats()).unsettled == 2
    assert await accept(outbox, new("+14155550132", request_id="r")) == ["created"]


async def test_repeats_are_always_accepted_and_not_counted(outbox: Outbox) -> None:
    first = new(request_id="r")
    assert await accept(outbox, first, build.repeated(first), build.repeated(first)) == ["created", "repeat", "repeat"]
    other = new(request_id="r", body="Another")
    assert await accept(outbox, other, build.repeated(first)) == ["reused", "repeat"]
    last = new()
    assert await accept(outbox, last) == ["created"]
    assert await accept(outbox, build.repeated(first), new(), build.repeated(last)) == ["repeat", "full", "repeat"]


async def test_who_comes_after_a_refused_message_of_its_request_id_is_new(outbox: Outbox) -> None:
    await accept(outbox, new(), new())
    one, other = new(request_id="r"), new("+14155550132", request_id="r")
    assert await accept(outbox, one, other, build.repeated(one)) == ["full", "created", "reused"]


async def test_a_refusal_disturbs_no_other_message_of_the_same_commit(outbox: Outbox) -> None:
    async def frame(*news: NewMessage) -> list[str]:
        return await accept(outbox, *news)

    free = replace(new("+14155550132"), guarded=None)
    found = await asyncio.gather(
        frame(new(), new(), new(), free),
        frame(new("a@example.com"), new(), new("a@example.com,b@example.com"), new("b@example.com,a@example.com")),
        frame(new(), new("+14155550199")),
    )
    assert list(found) == [
        ["created", "created", "full", "created"],
        ["created", "full", "created", "full"],
        ["full", "created"],
    ]
    # The email that was refused is not counted for the one who had room.
    assert await accept(outbox, new("b@example.com"), new("b@example.com")) == ["created", "full"]


async def test_a_message_counts_once_for_each_of_its_recipients(outbox: Outbox) -> None:
    assert await accept(outbox, new("a@example.com,A@Example.com,b@example.com")) == ["created"]
    assert await accept(outbox, new("a@EXAMPLE.com"), new("a@example.com")) == ["created", "full"]


async def test_each_tenant_and_each_rule_counts_by_itself(outbox: Outbox) -> None:
    for tenant in ("acme", "globex"):
        news = [new(guards=PREFIX, tenant=tenant) for _ in range(3)]
        assert await accept(outbox, *news) == ["created", "created", "full"]
        others = [new(f"+44770090000{number}", guards=PREFIX, tenant=tenant) for number in range(2)]
        assert await accept(outbox, *others) == ["created", "full"]
        verdicts = await outbox.accept_all([new("+447700900005", guards=PREFIX, tenant=tenant)])
        assert "guards.max_per_prefix: message.sms.to" in str(verdicts[0])


async def test_of_many_that_come_at_once_never_one_too_many_is_accepted(outbox: Outbox) -> None:
    guards = Guards(GuardRules(max_per_prefix={"+1": Cap(50, HOUR)}))
    frames = [accept(outbox, *(new("+14155550132", guards=guards) for _ in range(7))) for _ in range(20)]
    found = [one for frame in await asyncio.gather(*frames) for one in frame]
    assert found == ["created"] * 50 + ["full"] * 90


async def test_times_that_come_out_of_order_let_nothing_through_twice(outbox: Outbox) -> None:
    assert await accept(outbox, new(now=START + 2 * HOUR), new(now=START)) == ["created", "created"]
    assert await accept(outbox, new(now=START)) == ["full"]
    assert await accept(outbox, new(now=START + 2 * HOUR)) == ["full"]


async def test_counts_are_kept_when_the_outbox_is_closed(reopen: Reopen) -> None:
    outbox = await reopen()
    assert await accept(outbox, new(), new()) == ["created", "created"]
    outbox = await reopen()
    assert await accept(outbox, new(), new("+14155550132")) == ["full", "created"]


@pytest.mark.parametrize("machine", [MACHINE, None])
async def test_a_clock_that_was_set_in_an_earlier_boot_is_made_up_for(
    reopen: Reopen, machine: tuple[str, int] | None
) -> None:
    outbox = await reopen()
    await outbox.realign(START, START, START, machine)
    assert await accept(outbox, new(), new()) == ["created", "created"]
    for hours in (5, -7):
        await outbox.keep_ahead(hours * HOUR)
        outbox = await reopen()
        now = START + hours * HOUR  # as the wall clock has it, and so the due clock from now on
        await outbox.realign(now, now, now, machine)
        assert await accept(outbox, new(now=now)) == ["full"]
        await outbox.keep_ahead(-hours * HOUR)
        outbox = await reopen()
        await outbox.realign(START, START, START, machine)
    assert await accept(outbox, new(now=START + HOUR + STEP)) == ["created"]


@pytest.mark.parametrize("hours", [5, -7])
async def test_on_the_same_boot_of_the_machine_no_clock_that_was_set_meanwhile_matters(
    reopen: Reopen, hours: int
) -> None:
    name, uptime = MACHINE
    outbox = await reopen()
    await outbox.realign(START, START, START, MACHINE)
    assert await accept(outbox, new(), new()) == ["created", "created"]
    outbox = await reopen()
    now = START + hours * HOUR
    await outbox.realign(now, now, now, (name, uptime + HOUR // 2))
    assert await accept(outbox, new(now=now)) == ["full"]
    assert await accept(outbox, new(now=now + HOUR // 2 + STEP)) == ["created"]


async def test_a_clock_that_was_set_back_meanwhile_locks_nobody_out_for_longer_than_a_window(reopen: Reopen) -> None:
    outbox = await reopen()
    await outbox.realign(START, START, START)
    assert await accept(outbox, new(), new()) == ["created", "created"]
    outbox = await reopen()
    now = START - 24 * HOUR
    await outbox.realign(now, now, now)
    assert await accept(outbox, new(now=now)) == ["full"]
    assert await accept(outbox, new(now=now + HOUR + STEP)) == ["created"]


async def test_what_is_over_is_removed_a_few_at_a_time(outbox: Outbox) -> None:
    await accept(outbox, *(new(f"{number}@example.com") for number in range(5)), new("x@example.com", now=START + HOUR))
    assert await outbox.remove_counts(START + HOUR - 1, 9) == 0
    over = START + HOUR + STEP
    # Of one commit, all are counted by the latest of their times.
    assert await outbox.remove_counts(over, 9) == 0
    assert [await outbox.remove_counts(over + HOUR, 4) for _ in range(3)] == [4, 2, 0]
    assert await accept(outbox, *(new("1@example.com", now=over + HOUR) for _ in range(3))) == [
        "created",
        "created",
        "full",
    ]


async def test_the_file_tells_no_number_and_no_address(reopen: Reopen, tmp_path: Path) -> None:
    outbox = await reopen()
    number, address = "+447700900987", "canary@example.com"
    sent = [new(number, guards=PREFIX), new(address), new(address)]
    for one in sent:  # settled at once, so that no content is left
        made = replace(one, record=build.accepted(provider_name="p"))
        await outbox.accept(made)
        await outbox.advance(made.record, build.ended(made.record))
    assert await accept(outbox, new(address)) == ["full"]
    while not await outbox.purge_erased():
        pass
    await reopen()
    found = await kept_bytes(tmp_path)
    assert found
    for secret in (number, number[1:], address, "canary"):
        assert secret.encode() not in found
