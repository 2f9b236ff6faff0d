"""What message centres deliver over SMPP: kept first, and answered then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.smpp_sending import TO, Kept, opened, send
from tests.support.smsc import Reply, Smsc, receipt_of

from postwire.core.errors import StoreUnavailable
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.smpp import deliveries
from postwire.providers.smpp.bodies import DataSm, DeliverSm, Tag
from postwire.providers.smpp.deliveries import Deliveries
from postwire.providers.smpp.pdu import Command, Pdu, Status, encode
from postwire.testing.attempts import until


async def test_a_receipt_is_answered_once_it_is_kept() -> None:
    kept = Kept()
    async with Smsc() as smsc, opened(smsc, kept):
        kept.hold = asyncio.Event()
        smsc.receipt("0000000001")
        smsc.sessions[0].write(b"\0\0\0\x10\0\0\0\x15\0\0\0\0\0\0\0\x09")
        await asyncio.sleep(0.05)
        assert not smsc.delivered
        kept.hold.set()
        await until(lambda: len(smsc.delivered) == 1, "it was not answered")
    assert smsc.delivered[0].status == Status.ESME_ROK
    (receipt,) = kept.found
    assert isinstance(receipt, Receipt)
    assert (receipt.state, receipt.provider_message_id) == (ReceiptState.DELIVERED, "1")


@pytest.mark.parametrize("error", [StoreUnavailable(), RuntimeError("ours")], ids=["store", "fault"])
async def test_what_cannot_be_kept_is_to_come_again(error: Exception) -> None:
    kept, faults = Kept(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    async with Smsc() as smsc, opened(smsc, kept):
        kept.error = error
        smsc.receipt("0000000001")
        await until(lambda: len(smsc.delivered) == 1, "it was not answered")
        kept.error = None
        smsc.receipt("0000000001")
        await until(lambda: len(smsc.delivered) == 2, "it was not answered")
    assert [one.status for one in smsc.delivered] == [Status.ESME_RX_T_APPN, Status.ESME_ROK]
    assert faults == ([error] if isinstance(error, RuntimeError) else [])


async def test_a_receipt_may_come_before_the_answer_in_another_base() -> None:
    kept = Kept()
    async with Smsc() as smsc, opened(smsc, kept) as provider:
        smsc.reply = Reply(message_id="98F1")
        assert (await send(provider)).provider_message_id == "98F1"
        smsc.receipt("0000039153")
        await until(lambda: len(smsc.delivered) == 1, "it was not answered")
    (receipt,) = kept.found
    assert isinstance(receipt, Receipt)
    assert receipt.provider_message_id == "98F1"


async def test_a_receipt_may_come_by_data_sm_and_what_wants_no_answer_gets_none() -> None:
    kept = Kept()
    async with Smsc() as smsc, opened(smsc, kept):
        options = ((Tag.RECEIPTED_MESSAGE_ID, b"4711\0"), (Tag.MESSAGE_STATE, b"\x02"))
        body = DataSm(source_addr=TO[1:], esm_class=0x04, options=options).body()
        smsc.sessions[0].write(encode(Command.ALERT_NOTIFICATION, 0, 8))
        smsc.sessions[0].write(encode(Command.DATA_SM, 0, 9, body))
        await until(lambda: len(kept.found) == 1, "it was not kept")
        smsc.sessions[0].write(encode(Command.QUERY_SM, 0, 10))
        await until(lambda: len(smsc.answers) == 2, "they were not answered")
    assert [(one.command, one.status, one.sequence) for one in smsc.answers] == [
        (Command.DATA_SM_RESP, Status.ESME_ROK, 9),
        (Command.GENERIC_NACK, Status.ESME_RINVCMDID, 10),
    ]
    (receipt,) = kept.found
    assert isinstance(receipt, Receipt)
    assert (receipt.state, receipt.provider_message_id) == (ReceiptState.DELIVERED, "4711")


async def test_what_cannot_be_read_is_refused_for_good() -> None:
    async with Smsc() as smsc, opened(smsc):
        smsc.sessions[0].write(b"\0\0\0\x12\0\0\0\x05\0\0\0\0\0\0\0\x09ab")
        await until(lambda: len(smsc.delivered) == 1, "it was not answered")
    assert smsc.delivered[0].status == Status.ESME_RX_R_APPN


async def test_a_message_from_a_phone_is_taken() -> None:
    kept = Kept()
    async with Smsc() as smsc, opened(smsc, kept):
        smsc.deliver(
            DeliverSm(
                source_addr_ton=1,
                source_addr_npi=1,
                source_addr=TO[1:],
                dest_addr_ton=1,
                dest_addr_npi=1,
                destination_addr="15005550006",
                short_message=b"STOP",
            )
        )
        await until(lambda: len(smsc.delivered) == 1, "it was not answered")
    assert smsc.delivered[0].status == Status.ESME_ROK
    (inbound,) = kept.found
    assert isinstance(inbound, Inbound)
    assert (inbound.sender, inbound.recipient, inbound.text) == (TO, "+15005550006", "STOP")


async def test_a_thousand_receipts_at_once_are_all_answered() -> None:
    kept = Kept()
    async with Smsc() as smsc, opened(smsc, kept):
        for number in range(3_000):
            smsc.deliver(receipt_of(f"{number:010}", "DELIVRD"))
        await until(lambda: len(smsc.delivered) == 3_000, "not all were answered")
    assert len(kept.found) == 3_000


# What trouble does not do.


async def test_answers_are_read_though_what_is_delivered_cannot_be_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(deliveries, "MAX_WAITING", 10)
    kept = Kept()
    async with Smsc() as smsc, opened(smsc, kept, response_timeout=2.0) as provider:
        kept.hold = asyncio.Event()  # a store that is away
        for number in range(1_000):
            smsc.receipt(f"{number:010}")
        await until(lambda: smsc.sessions[0].deliveries == 1_000, "they were not delivered")
        assert await send(provider) == DispatchResult(Outcome.SUCCESS, "1")
        kept.hold.set()


async def test_who_delivers_more_than_can_be_kept_is_told_to_come_again(monkeypatch: Any) -> None:
    monkeypatch.setattr(deliveries, "MAX_WAITING", 10)
    monkeypatch.setattr(deliveries, "MAX_AT_ONCE", 10)
    monkeypatch.setattr(deliveries, "HOLD_TIME", 0.01)
    kept = Kept()
    async with Smsc() as smsc, opened(smsc, kept):
        kept.hold = asyncio.Event()
        for number in range(100):
            smsc.receipt(f"{number:010}")
        await until(lambda: len(smsc.delivered) >= 80, "those that wait were not answered")
        kept.hold.set()
        await until(lambda: len(smsc.delivered) == 100, "those that were being kept were not answered")
    refused = [one.status for one in smsc.delivered].count(Status.ESME_RX_T_APPN)
    assert (refused >= 80, refused + len(kept.found)) == (True, 100)


async def test_what_waits_for_a_store_that_is_away_does_not_wait_its_turn(monkeypatch: Any) -> None:
    monkeypatch.setattr(deliveries, "MAX_AT_ONCE", 10)
    tries = 0

    async def report(_: Sequence[Receipt | Inbound]) -> None:
        nonlocal tries
        tries += 1
        raise StoreUnavailable

    bound = Bound()
    several = Deliveries(bound, lambda _: (Inbound(TO, "", "STOP"),), report)
    for number in range(1, 101):
        several.add(Pdu(Command.DELIVER_SM, 0, number))
    assert several.task is not None
    await several.task
    assert bound.answers == dict.fromkeys(range(1, 101), Status.ESME_RX_T_APPN)
    assert tries == 1


async def test_what_cannot_be_kept_keeps_nothing_else_from_it(monkeypatch: Any) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    kept = Kept()
    wrong = ValueError("ours")

    async def report(reported: Sequence[Receipt | Inbound]) -> None:
        if any(isinstance(one, Receipt) and one.provider_message_id == "50" for one in reported):
            raise wrong
        kept.found += reported

    monkeypatch.setattr(kept, "report", report)
    async with Smsc() as smsc, opened(smsc, kept):
        for number in range(100, 0, -1):
            smsc.receipt(f"{number:010}")
        await until(lambda: len(smsc.delivered) == 100, "not all were answered")
    assert [one.status for one in smsc.delivered].count(Status.ESME_RX_T_APPN) == 1
    assert len({one.provider_message_id for one in kept.found if isinstance(one, Receipt)}) == 99
    assert set(faults) == {wrong}


class Bound:
    """A connection that notes what is answered."""

    def __init__(self) -> None:
        self.answers: dict[int, int] = {}

    def answer(self, pdu: Pdu, status: int, body: bytes = b"") -> None:
        self.answers[pdu.sequence] = status

    def hold(self, reason: str) -> None:
        pass

    def release(self, reason: str) -> None:
        pass


async def test_many_deliveries_of_no_use_do_not_hold_the_loop() -> None:
    bound, turns = Bound(), 0

    async def turn() -> None:
        nonlocal turns
        while len(bound.answers) < 900:
            turns += 1
            await asyncio.sleep(0)

    several = Deliveries(bound, lambda _: (), Kept().report)
    for number in range(1, 901):
        several.add(Pdu(Command.DELIVER_SM, 0, number))
    await turn()
    assert turns >= 4
