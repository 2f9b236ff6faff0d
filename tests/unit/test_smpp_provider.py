"""What becomes of attempts by SMPP, whatever the message centre does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.smpp_sending import LONG, TO, Kept, made, opened, send
from tests.support.smsc import PASSWORD, SYSTEM_ID, Reply, Smsc

from postwire.core.message import OutboundMessage, Sms
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.handover import Handover
from postwire.providers.smpp import provider as providers
from postwire.providers.smpp.pdu import Command, Status
from postwire.providers.smpp.settings import SmppSettings
from postwire.testing.attempts import until

# Parts.


async def test_the_ids_of_all_parts_are_kept() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        result = await send(provider, LONG)
    assert result == DispatchResult(Outcome.SUCCESS, "1,2,3,4")
    assert "".join(one.text for one in smsc.submitted) == LONG
    assert [one.body.short_message[3:6] for one in smsc.submitted] == [
        bytes((smsc.submitted[0].body.short_message[3], 4, number)) for number in range(1, 5)
    ]


async def test_parts_that_are_throttled_are_handed_over_again_once_one_was_taken(monkeypatch: Any) -> None:
    monkeypatch.setattr(providers, "FIRST_PAUSE", 0.001)
    async with Smsc() as smsc, opened(smsc) as provider:
        smsc.replies.extend([Reply(), Reply(Status.ESME_RTHROTTLED), Reply(Status.ESME_RMSGQFUL), Reply()])
        result = await send(provider, LONG)
    assert (result.outcome, result.provider_message_id.count(",")) == (Outcome.SUCCESS, 3)
    assert len(smsc.submitted) == 6
    taken = [one.body.short_message for one in smsc.submitted if one.is_taken]
    assert len(taken) == 4
    assert set(taken) == {one.body.short_message for one in smsc.submitted}, "no part is left out, or sent twice"


async def test_parts_that_are_throttled_for_too_long_leave_it_open(monkeypatch: Any) -> None:
    monkeypatch.setattr(providers, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(providers, "RESUBMIT_FOR", 0.05)
    async with Smsc() as smsc, opened(smsc) as provider:
        smsc.replies.append(Reply())
        smsc.reply = Reply(Status.ESME_RTHROTTLED)
        result = await send(provider, LONG)
    assert (result.outcome, result.error_code) == (Outcome.UNCERTAIN, "ESME_RTHROTTLED")


@pytest.mark.parametrize("status", [Status.ESME_RTHROTTLED, Status.ESME_RMSGQFUL])
async def test_a_first_part_that_is_throttled_is_the_only_one(status: Status) -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        smsc.reply = Reply(status)
        result = await send(provider, LONG)
    assert (result.outcome, result.error_code, len(smsc.submitted)) == (Outcome.RATE_LIMITED, status.name, 1)


async def test_a_first_part_that_is_refused_is_the_only_one() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        smsc.reply = Reply(Status.ESME_RINVDSTADR)
        result = await send(provider, LONG)
    assert (result.outcome, len(smsc.submitted)) == (Outcome.REJECTED, 1)


async def test_a_part_that_is_refused_where_others_were_taken_leaves_it_open() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        smsc.replies.extend([Reply(), Reply(), Reply(Status.ESME_RINVDSTADR)])
        result = await send(provider, LONG)
    assert (result.outcome, result.error_code) == (Outcome.UNCERTAIN, "ESME_RINVDSTADR")
    assert len(smsc.submitted) == 4, "nothing is handed over twice"


async def test_the_parts_that_are_left_go_by_a_bind_that_is_made_anew(monkeypatch: Any) -> None:
    monkeypatch.setattr(providers, "FIRST_PAUSE", 0.001)
    async with Smsc() as smsc, opened(smsc, window=1) as provider:
        smsc.replies.extend([Reply(), Reply(), Reply(cut=True)])
        result = await send(provider, LONG)
        assert (result.outcome, result.error_code) == (Outcome.UNCERTAIN, "disconnected")
        await until(lambda: len(smsc.submitted) == 4, "the last part was not handed over")
    assert len(smsc.bound) == 2


# Answers that do not come.


async def test_what_is_not_answered_is_uncertain_and_an_answer_that_comes_later_is_nobodys() -> None:
    async with Smsc() as smsc, opened(smsc, response_timeout=0.1) as provider:
        hold = asyncio.Event()
        smsc.replies.extend([Reply(hold=hold, message_id="late"), Reply(message_id="next")])
        result = await send(provider)
        assert (result.outcome, result.error_code) == (Outcome.UNCERTAIN, "no_answer")
        hold.set()
        assert (await send(provider)).provider_message_id == "next"
        await until(lambda: smsc.enquiries > 0, "it was not asked for a sign of life")
    assert len({one.pdu.sequence for one in smsc.submitted}) == 2
    assert len(smsc.bound) == 1, "a message centre that is slow and alive is kept"


async def test_an_answer_to_something_else_answers_nothing() -> None:
    async with Smsc() as smsc, opened(smsc, response_timeout=0.1) as provider:
        smsc.replies.append(Reply(shift=1))
        assert (await send(provider)).error_code == "no_answer"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(cut=True),
        Reply(raw=b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Reply(raw=b"\0\0\0\x01\0\0\0\0"),
        Reply(raw=b"\xff" * 16),
    ],
    ids=["cut", "http", "tiny", "huge"],
)
async def test_a_connection_that_is_lost_leaves_it_open_and_is_made_again(reply: Reply) -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        smsc.replies.append(reply)
        result = await send(provider)
        assert (result.outcome, result.error_code) == (Outcome.UNCERTAIN, "disconnected")
        assert (await send(provider)).outcome is Outcome.SUCCESS
        assert len(smsc.bound) == 2


async def test_what_is_answered_by_a_nack_was_not_taken() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        smsc.replies.append(Reply(Status.ESME_RINVCMDLEN, nack=True))
        result = await send(provider)
    assert (result.outcome, result.error_code) == (Outcome.ERROR, "ESME_RINVCMDLEN")


async def test_who_gives_no_sign_of_life_is_left_and_bound_to_again() -> None:
    async with Smsc() as smsc, opened(smsc, enquire_link=0.05, response_timeout=0.05):
        await until(lambda: smsc.enquiries > 1, "nothing was asked")
        assert len(smsc.bound) == 1
        smsc.answers_enquiries = False
        await until(lambda: len(smsc.bound) > 1, "it was not bound to again")


async def test_one_bind_that_hangs_holds_no_other() -> None:
    async with Smsc() as smsc, opened(smsc, binds=2, window=2, response_timeout=0.2) as provider:
        await until(lambda: len(smsc.bound) == 2, "there are two binds")
        smsc.replies.extend([Reply(silent=True)] * 2)
        smsc.answers_enquiries = False
        hung = [send(provider), send(provider)]
        await until(lambda: len(smsc.submitted) == 2, "both were handed over")
        for _ in range(20):
            assert (await send(provider)).outcome is Outcome.SUCCESS
        assert {(await one).outcome for one in hung} == {Outcome.UNCERTAIN}


# The window, and the rate.


async def test_no_more_is_under_way_than_the_window_holds() -> None:
    async with Smsc() as smsc, opened(smsc, window=3) as provider:
        hold = asyncio.Event()
        smsc.reply = Reply(hold=hold)
        calls = [send(provider) for _ in range(10)]
        await until(lambda: len(smsc.submitted) == 3, "the window was not filled")
        calls[5].cancel()
        hold.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in results].count(True) == 1
    assert (len(smsc.submitted), smsc.most_waiting) == (9, 3)


async def test_a_window_that_stays_full_is_no_fault_of_the_message() -> None:
    async with Smsc() as smsc, opened(smsc, window=1, response_timeout=0.2) as provider:
        hold = asyncio.Event()
        smsc.reply = Reply(hold=hold)
        first = send(provider)
        await until(lambda: len(smsc.submitted) == 1, "the window was not filled")
        waiting = [await send(provider)]
        assert {one.outcome for one in waiting} <= {Outcome.RATE_LIMITED, Outcome.UNCERTAIN}
        assert (await first).outcome is Outcome.UNCERTAIN


async def test_pdus_follow_one_another_as_slowly_as_is_asked_for() -> None:
    async with Smsc() as smsc, opened(smsc, submit_rate=50.0) as provider:
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(send(provider) for _ in range(6)))
        assert asyncio.get_running_loop().time() - begun >= 0.1


async def test_who_would_wait_too_long_for_a_turn_is_to_come_again() -> None:
    async with Smsc() as smsc, opened(smsc, submit_rate=0.01) as provider:
        assert (await send(provider)).outcome is Outcome.SUCCESS
        result = await send(provider)
    assert (result.outcome, result.error_code) == (Outcome.RATE_LIMITED, "submit_rate")
    assert result.retry_after is not None
    assert 90 < result.retry_after <= 100


# Binds.


async def test_a_wrong_password_is_our_account_and_another_is_bound_with() -> None:
    async with Smsc() as smsc:
        provider = made(smsc, password="wrong")
        refused = await provider.open()
        assert (refused.ok, refused.misconfigured) == (False, True)
        assert not smsc.bound
        provider.renew(
            SmppSettings(host="127.0.0.1", port=smsc.port, system_id=SYSTEM_ID, password=PASSWORD, sender="x")
        )
        assert (await provider.open()).ok
        await provider.close()


async def test_another_password_is_bound_with_and_what_is_under_way_is_waited_for() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        hold = asyncio.Event()
        smsc.replies.append(Reply(hold=hold))
        before = send(provider)
        await until(lambda: len(smsc.submitted) == 1, "it was handed over")
        smsc.password = "another"
        settings = SmppSettings(
            host="127.0.0.1", port=smsc.port, system_id=SYSTEM_ID, password="another", sender="+15005550006"
        )
        provider.renew(settings)
        hold.set()
        assert (await before).outcome is Outcome.SUCCESS
        assert (await send(provider)).outcome is Outcome.SUCCESS
    assert (len(smsc.bound), smsc.unbound) == (2, 2)


async def test_an_account_that_is_refused_later_is_misconfigured() -> None:
    async with Smsc() as smsc, opened(smsc, connect_timeout=2.0) as provider:
        smsc.password = "another"
        smsc.hang_up()
        await until(lambda: not smsc.sessions, "the connection is gone")
        results = [await send(provider) for _ in range(3)]
    assert results[-1].outcome is Outcome.MISCONFIGURED
    assert results[-1].error_code == "ESME_RINVPASWD"


@pytest.mark.parametrize("status", [Status.ESME_RTHROTTLED, Status.ESME_RMSGQFUL])
async def test_a_bind_that_is_throttled_is_rate_limited(status: Status) -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        smsc.bind_status = status
        smsc.hang_up()
        await until(lambda: not smsc.sessions, "the connection is gone")
        results = [await send(provider) for _ in range(2)]
    assert (results[-1].outcome, results[-1].error_code) == (Outcome.RATE_LIMITED, status.name)


async def test_who_does_not_answer_a_bind_is_an_error() -> None:
    async with Smsc() as smsc:
        smsc.answers_binds = False
        provider = made(smsc, response_timeout=0.1)
        health = await provider.open()
        assert (health.ok, health.misconfigured) == (False, False)
        await provider.close()


async def test_a_check_binds_and_unbinds_and_sends_nothing() -> None:
    async with Smsc() as smsc:
        provider = made(smsc)
        assert (await provider.check()).ok
        assert (len(smsc.bound), smsc.unbound, smsc.submitted) == (1, 1, [])
        assert (await provider.open()).ok
        assert (await provider.check()).ok
        assert len(smsc.bound) == 2, "a bind that is there is enough to see"
        await provider.close()


async def test_a_pair_sends_by_one_and_receives_by_the_other() -> None:
    kept = Kept()
    async with Smsc() as smsc, opened(smsc, kept, bind="pair") as provider:
        await until(lambda: len(smsc.bound) == 2, "there are two binds")
        assert set(smsc.bound) == {Command.BIND_TRANSMITTER, Command.BIND_RECEIVER}
        assert (await send(provider)).outcome is Outcome.SUCCESS
        smsc.receipt("0000000001")
        await until(lambda: len(smsc.delivered) == 1, "the receipt was not answered")
    assert smsc.unbound == 2
    assert len(kept.found) == 1


async def test_who_dismisses_us_is_answered_and_bound_to_again() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        hold = asyncio.Event()
        smsc.replies.append(Reply(hold=hold))
        call = send(provider)
        await until(lambda: len(smsc.submitted) == 1, "it was handed over")
        smsc.sessions[0].dismiss()
        hold.set()
        assert (await call).outcome is Outcome.SUCCESS
        assert (await send(provider)).outcome is Outcome.SUCCESS
        assert (len(smsc.bound), smsc.unbound) == (2, 1)


async def test_closing_waits_for_answers_that_come_soon_and_unbinds() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        hold = asyncio.Event()
        smsc.replies.append(Reply(hold=hold))
        call = send(provider)
        await until(lambda: len(smsc.submitted) == 1, "it was handed over")
        closing = asyncio.ensure_future(provider.close())
        await asyncio.sleep(0)
        hold.set()
        assert (await call).outcome is Outcome.SUCCESS
        await closing
        assert (smsc.unbound, smsc.sessions) == (1, [])
        assert (await send(provider)).outcome is Outcome.ERROR


def test_a_preview_shows_every_part_and_no_secret() -> None:
    shown = made(Smsc()).preview(OutboundMessage(Sms(TO, "\u20ac" * 71 + "\u65e5")), Handover("key", message_id="one"))
    assert shown.lines == (
        "submit_sm 1/2 from 15005550006 to 15005550187, data_coding 8",
        "submit_sm 2/2 from 15005550006 to 15005550187, data_coding 8",
    )
    first, second = shown.body.decode().split("\n")
    assert (first[:11], second[-5:]) == ("05 00 03 76", "65 e5")
