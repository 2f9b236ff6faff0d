"""Who hears of receipts that are applied, and what is let go of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support import build
from tests.support.providers import FakeProvider
from tests.support.receipts import hash_of, pending
from tests.support.reported import booted, came, receipt

from postwire.core.message import DEFAULT_TENANT, MessageState
from postwire.core.receipts import KeptReceipt, Receipt, ReceiptState
from postwire.outbox.sqlite import SqliteOutbox
from postwire.receipts.upkeep import ReceiptUpkeep

UNDELIVERED = MessageState.UNDELIVERED


# Whoever suppresses.


class Hearing:
    """Hears of what is reported; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.heard: list[tuple[str, bytes | None, str, ReceiptState, bool]] = []
        self.failures = failures

    async def __call__(self, tenant: str, address_hash: bytes | None, sender: str, one: KeptReceipt) -> None:
        self.heard.append((tenant, address_hash, sender, one.state, one.permanent))
        if self.failures:
            self.failures -= 1
            raise ValueError("it fails")


async def test_whoever_suppresses_hears_of_what_may_matter_once_it_is_applied(outbox: SqliteOutbox) -> None:
    hearing = Hearing()
    harness = await booted(outbox, on_reported=hearing)
    record = await harness.send(build.command(build.sms()))
    forged = receipt(record, ReceiptState.UNDELIVERED, permanent=True, recipient="+15005550199", code="30005")
    await came(harness, receipt(record, ReceiptState.ACCEPTED), forged)
    await harness.noted.reached(record.message_id, UNDELIVERED)
    await harness.calm()
    ours = hash_of("+15005550100")
    assert hearing.heard == [(DEFAULT_TENANT, ours, "", ReceiptState.UNDELIVERED, True)], "whom it was sent to"
    assert await pending(outbox) == []


@pytest.mark.parametrize(("hearing", "sender"), [(Hearing(), "ada@example.com"), (None, "")])
async def test_of_who_has_sent_it_no_more_is_kept_than_it_takes(
    outbox: SqliteOutbox, hearing: Hearing | None, sender: str
) -> None:
    """It lies in clear where contents are encrypted, too."""
    content = replace(build.email("a@b.test", "c@b.test"), sender="Ada Lovelace <Ada@Example.com>")
    harness = await booted(outbox, on_reported=hearing)
    record = await harness.send(build.command(content))
    (found,) = await outbox.reported([record.message_id])
    assert (len(found.recipient_hashes), found.sender) == (2, sender)


async def test_what_was_not_heard_is_said_again(outbox: SqliteOutbox) -> None:
    hearing = Hearing(failures=1)
    harness = await booted(outbox, on_reported=hearing)
    record = await harness.send()
    await came(harness, receipt(record, ReceiptState.COMPLAINED))
    await harness.calm()
    assert len(hearing.heard) == 1
    assert await pending(outbox) == [record.message_id]
    harness.clock.advance(6.0)
    await harness.calm()
    assert len(hearing.heard) == 2
    assert await pending(outbox) == []


# What is let go of.


async def test_what_was_kept_is_not_looked_for_among_what_is_held(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("one")
    harness = await booted(outbox, provider)
    assert harness.tracker

    async def report(message_id: str) -> None:
        await came(harness, receipt(message_id, provider_message_id="v-1"))

    provider.meanwhile = report
    await harness.send()
    assert not harness.tracker.has_held


async def test_of_too_many_that_are_held_one_is_dropped_and_counted(outbox: SqliteOutbox) -> None:
    harness = await booted(outbox)
    harness.inbox._max_held = 2
    await came(harness, *(Receipt(ReceiptState.DELIVERED, provider_message_id=f"x-{at}") for at in range(3)))
    assert harness.noted.events.count(("receipt refused", "one unknown")) == 1
    assert len(await outbox.held_keys()) == 2


async def test_what_is_held_for_too_long_is_dropped_and_counted(outbox: SqliteOutbox) -> None:
    harness = await booted(outbox)
    assert harness.tracker
    upkeep = ReceiptUpkeep(
        outbox=outbox,
        tracker=harness.tracker,
        clock=harness.clock,
        observer=harness.noted,
        hold_unknown=600_000_000,
        wait=3 * 24 * build.HOUR,
    )
    upkeep.start()
    await came(harness, *(Receipt(ReceiptState.DELIVERED, provider_message_id=f"x-{at}") for at in range(3)))
    await harness.calm()
    harness.clock.advance(590.0)
    await harness.calm()
    assert len(await outbox.held_keys()) == 3
    harness.clock.advance(30.0)
    await harness.calm()
    assert await outbox.held_keys() == []
    assert harness.noted.events.count(("receipt refused", "one unknown")) == 3
    harness.clock.advance(30.0)
    await harness.calm()
    assert not harness.tracker.has_held
    await upkeep.stop()
