"""What message centres deliver over SMPP: kept first, and answered then."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.smpp_sending import TO, Kept, opened, send
from tests.support.smsc import Reply, Smsc, receipt_of

from postwire.core.errors import StoreUnavailable
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers.smpp.bodies import DataSm, DeliverSm, Tag
from postwire.providers.smpp.pdu import Command, Status, encode
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
