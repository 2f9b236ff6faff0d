"""Suppressions that nobody has to add: by what is reported, what a vendor refuses, and what people write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.harness import Harness
from tests.support.providers import FakeProvider
from tests.support.receipts import REFERENCES
from tests.support.waiting import within

from postwire.core.inbound import Words
from postwire.core.message import DEFAULT_TENANT, MessageState, Sms
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.principal import LOCAL
from postwire.core.receipts import Inbound, KeptReceipt, Receipt, ReceiptState
from postwire.core.suppression import Suppression, SuppressionReason
from postwire.delivery import NewSuppression
from postwire.delivery.receipts import ReceiptAddresses, ReceiptTracker
from postwire.outbox.sqlite import SqliteOutbox
from postwire.receipts.inbox import ReceiptInbox
from postwire.receipts.suppressing import AutomaticSuppressions

NUMBER, OURS = "+15005550006", "+15005550009"
DAY = 86_400.0


class Tried:
    """What is tried, and what is suppressed then."""

    def __init__(self, outbox: SqliteOutbox, tenants: Sequence[str] = ()) -> None:
        self.harness = Harness(outbox)
        self.addresses = self.harness.suppressions.addresses
        self.automatic = AutomaticSuppressions(outbox, self.harness.clock, self.addresses, Words(), lambda: tenants)

    async def report(self, state: ReceiptState, sender: str = "", **fields: Any) -> None:
        receipt = KeptReceipt(1, "acme", 1, state, START, **fields)
        await self.automatic.reported(DEFAULT_TENANT, self.addresses.hash(NUMBER), sender, receipt)

    async def write(self, text: str, sender: str = NUMBER) -> None:
        await self.automatic.inbound("acme", Inbound(sender, OURS, text))

    async def found(self, tenant: str = DEFAULT_TENANT) -> list[Suppression]:
        return [one for _, one in await self.harness.suppressions.check([NUMBER], tenant)]

    async def scopes(self, tenant: str = DEFAULT_TENANT) -> list[tuple[str, str, str]]:
        return [(one.reason.value, one.sender, one.source) for one in await self.found(tenant)]


@pytest.mark.parametrize(
    ("state", "fields", "expected"),
    [
        (ReceiptState.UNDELIVERED, {"permanent": True}, [("hard_bounce", "", "receipt:acme")]),
        (ReceiptState.COMPLAINED, {}, [("complaint", "", "receipt:acme")]),
        (ReceiptState.OPTED_OUT, {}, [("opt_out", "acme", "receipt:acme")]),
        (ReceiptState.OPTED_OUT, {"sender": OURS}, [("opt_out", OURS, "receipt:acme")]),
        (ReceiptState.UNDELIVERED, {}, []),
        (ReceiptState.DELIVERED, {"permanent": True}, []),
        (ReceiptState.ACCEPTED, {}, []),
    ],
)
async def test_a_receipt_suppresses_where_it_says_so(
    outbox: SqliteOutbox, state: ReceiptState, fields: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    tried = Tried(outbox)
    for _ in range(2):
        await tried.report(state, **fields)
        assert await tried.scopes() == expected


async def test_of_somebody_who_is_not_known_any_more_nothing_follows(outbox: SqliteOutbox) -> None:
    tried = Tried(outbox)
    complained = KeptReceipt(1, "acme", 1, ReceiptState.COMPLAINED, START)
    await tried.automatic.reported(DEFAULT_TENANT, None, "", complained)
    assert not outbox.has_suppressions


async def test_what_an_operator_has_said_stays(outbox: SqliteOutbox) -> None:
    tried = Tried(outbox)
    await tried.harness.suppressions.add([NewSuppression(NUMBER, source="list 7")], LOCAL)
    await tried.report(ReceiptState.COMPLAINED)
    assert await tried.scopes() == [("manual", "", "list 7")]


async def test_stop_and_start_are_for_every_tenant_and_a_repeat_changes_nothing(outbox: SqliteOutbox) -> None:
    tried = Tried(outbox, ["acme", "globex"])
    stopped = [("opt_out", OURS, "inbound:acme"), ("opt_out", "acme", "inbound:acme")]
    for text in ("STOP", " stop\n", "Unsubscribe"):
        await tried.write(text)
        for tenant in (DEFAULT_TENANT, "acme", "globex"):
            assert await tried.scopes(tenant) == stopped
    for text in ("unstop", "START"):
        await tried.write(text)
        for tenant in (DEFAULT_TENANT, "acme", "globex"):
            assert await tried.scopes(tenant) == []


@pytest.mark.parametrize(
    ("recipient", "senders"),
    [
        ("12345", {"12345"}),
        ("+12345", {"12345"}),  # as the readers of most vendors have it, which no sender is
        ("38600123", {"38600123", "+38600123"}),  # which may be either
        ("+38600123", {"38600123", "+38600123"}),
        (OURS, {OURS}),
        ("", set()),
    ],
)
async def test_who_writes_stop_to_a_short_code_gets_no_more_from_it(
    outbox: SqliteOutbox, recipient: str, senders: set[str]
) -> None:
    """Messages name it without a plus, and vendors may have one in front of it."""
    tried = Tried(outbox)
    await tried.automatic.inbound("acme", Inbound(NUMBER, recipient, "STOP"))
    assert {sender for _, sender, _ in await tried.scopes()} == senders | {"acme"}
    await tried.automatic.inbound("acme", Inbound(NUMBER, recipient, "START"))
    assert await tried.scopes() == []


async def test_whatever_else_is_written_changes_nothing(outbox: SqliteOutbox) -> None:
    tried = Tried(outbox)
    await tried.write("please stop")
    await tried.write("STOP", sender="ACME")  # nobody that could be written to
    assert not outbox.has_suppressions


async def test_nobody_takes_back_what_was_said_later_by_sending_it_again(outbox: SqliteOutbox) -> None:
    tried = Tried(outbox)
    inbox = ReceiptInbox(
        outbox=outbox,
        tracker=ReceiptTracker(ReceiptAddresses(REFERENCES, "", (), ())),
        clock=tried.harness.clock,
        observer=tried.harness.noted,
        address_hash=tried.addresses.hash,
        on_inbound=tried.automatic.inbound,
    )
    start, stop = Inbound(NUMBER, OURS, "START", "e-1"), Inbound(NUMBER, OURS, "STOP", "e-2")
    await inbox.keep("acme", [start, stop, start])
    await inbox.keep("acme", [start])
    assert len(await tried.found()) == 2
    await inbox.keep("other", [start])  # whose ids are its own
    await inbox.keep("acme", [Inbound(NUMBER, OURS, "START")])
    assert await tried.found() == []
    await inbox.keep("acme", [stop])
    assert await tried.found() == []


async def test_start_takes_back_no_more_than_an_opt_out_from_this_number(outbox: SqliteOutbox) -> None:
    tried = Tried(outbox)
    added = [
        NewSuppression(NUMBER, SuppressionReason.OPT_OUT, sender="+15005550001"),
        NewSuppression(NUMBER, SuppressionReason.COMPLAINT, sender=OURS),
        NewSuppression(NUMBER),
    ]
    await tried.harness.suppressions.add(added, LOCAL)
    await tried.report(ReceiptState.OPTED_OUT)
    await tried.write("START")
    assert [one[:2] for one in await tried.scopes()] == [
        ("manual", ""),
        ("opt_out", "+15005550001"),
        ("complaint", OURS),
    ]


async def test_what_is_sent_from_that_number_is_stopped_and_nothing_else(outbox: SqliteOutbox) -> None:
    tried = Tried(outbox)
    await tried.automatic.inbound(tried.harness.provider.name, Inbound(NUMBER, OURS, "stop"))
    states = [
        (await tried.harness.send(build.command(Sms(NUMBER, "Hi", sender)))).state
        for sender in (OURS, "", "+15005550001")
    ]
    assert states == [MessageState.FAILED, MessageState.FAILED, MessageState.SENT]


async def test_a_vendor_that_refuses_somebody_is_not_asked_again_at_once(outbox: SqliteOutbox) -> None:
    refused = DispatchResult(Outcome.REJECTED, error_code="21610", opted_out=True)
    harness = Harness(outbox, provider=FakeProvider(answer=refused), notes_refusals=True)
    assert (await harness.send(build.command())).attempts[0].error_code == "21610"
    again = await harness.send(build.command())
    assert (again.attempts, again.error_code) == ((), "suppressed")
    (found,) = [one for _, one in await harness.suppressions.check([build.sms().to], DEFAULT_TENANT)]
    assert (found.reason, found.sender) == (SuppressionReason.OPT_OUT, harness.provider.name)
    harness.clock.advance(31 * DAY)
    assert (await harness.send(build.command())).attempts[0].error_code == "21610"


async def test_it_is_asked_again_where_that_is_not_wanted(outbox: SqliteOutbox) -> None:
    refused = DispatchResult(Outcome.REJECTED, error_code="21610", opted_out=True)
    harness = Harness(outbox, provider=FakeProvider(answer=refused))
    for _ in range(2):
        assert (await harness.send(build.command())).attempts
    assert not outbox.has_suppressions


@pytest.mark.parametrize(("state", "scoped"), [(ReceiptState.COMPLAINED, False), (ReceiptState.OPTED_OUT, True)])
async def test_who_is_reported_gets_no_further_message(outbox: SqliteOutbox, state: ReceiptState, scoped: bool) -> None:
    heard = asyncio.Event()

    async def reported(tenant: str, of: bytes | None, sender: str, receipt: KeptReceipt) -> None:
        await automatic.reported(tenant, of, sender, receipt)
        heard.set()

    harness = Harness(outbox, receipts_of=["fake"], on_reported=reported)
    addresses = harness.suppressions.addresses
    automatic = AutomaticSuppressions(outbox, harness.clock, addresses, Words(), lambda: ())
    await harness.boot()
    content = build.email("ada@example.com", "bob@example.com")
    record = await harness.send(build.command(content))
    reference = REFERENCES.make(record.message_id, 1)
    await within(harness.inbox.keep("fake", [Receipt(state, reference, recipient="Bob@example.com")]))
    await within(heard.wait())
    again = await harness.send(build.command(content))
    assert [one.state for one in again.recipients] == [MessageState.SENT, MessageState.FAILED]
    other = await harness.send(build.command(build.email("bob@example.com", sender="other@example.com")))
    assert other.state is (MessageState.SENT if scoped else MessageState.FAILED)
    await harness.drain(60.0)
