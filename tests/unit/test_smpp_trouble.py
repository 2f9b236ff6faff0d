"""What one thing that goes wrong over SMPP does not do to others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tests.support.smpp_sending import LONG, opened, send
from tests.support.smsc import Reply, Smsc

from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.connecting import ConnectFailed
from postwire.providers.smpp.bind import Bind
from postwire.providers.smpp.bodies import SubmitSmResp
from postwire.providers.smpp.connection import Connection
from postwire.providers.smpp.pdu import RESPONSE, Command, Pdu, Status, encode
from postwire.testing.attempts import until

# Submissions.


async def test_what_was_not_written_since_the_connection_was_ending_goes_by_the_next(monkeypatch: Any) -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        taken = encode(Command.SUBMIT_SM | RESPONSE, 0, 2, SubmitSmResp(message_id="first").body())
        smsc.replies.append(Reply(raw=taken + b"\0\0\0\x01"))  # whereupon the connection is ended
        result = await send(provider, LONG)
        assert result == DispatchResult(Outcome.SUCCESS, "first,1,2,3")
        assert len(smsc.bound) == 2
        assert len(smsc.submitted) == 4


async def test_what_was_not_written_is_an_error_and_not_uncertain() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        call = send(provider)
        bound = provider._binds._up[0]
        asyncio.get_running_loop().call_soon(bound.abort)  # after it was handed over, and before it is written
        result = await call
        assert (result.outcome, result.error_code, smsc.submitted) == (Outcome.ERROR, "not_submitted", [])


async def test_a_session_that_is_not_bound_after_all_is_bound_anew() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        smsc.replies.append(Reply(Status.ESME_RINVBNDSTS))
        assert (await send(provider)).outcome is Outcome.ERROR
        assert (await send(provider)).outcome is Outcome.SUCCESS
        assert len(smsc.bound) == 2


# Sessions.


async def test_a_sign_of_life_is_asked_for_in_time_from_the_beginning() -> None:
    async with Smsc() as smsc, opened(smsc, enquire_link=0.05, response_timeout=60.0):
        await until(lambda: smsc.enquiries > 1, "nothing was asked")


async def test_another_password_cuts_off_no_answer_that_is_slow(monkeypatch: Any) -> None:
    async with Smsc() as smsc, opened(smsc, response_timeout=30.0) as provider:
        hold = asyncio.Event()
        smsc.replies.append(Reply(hold=hold))
        call = send(provider)
        await until(lambda: len(smsc.submitted) == 1, "it was not handed over")
        provider.renew(provider._settings)
        await asyncio.wait({call}, timeout=1.5)  # longer than a server that ends would wait
        hold.set()
        assert (await call).outcome is Outcome.SUCCESS


async def test_a_change_that_comes_while_a_bind_is_being_made_is_tried_at_once() -> None:
    connecting, again = asyncio.Event(), asyncio.Event()

    async def connect() -> Connection:
        if connecting.is_set():
            again.set()
        else:
            connecting.set()
            await asyncio.sleep(0)
            bind.try_now()
        raise ConnectFailed("ESME_RINVPASWD", "the password is not accepted", misconfigured=True)

    class Keeper:
        def came_up(self, connection: Connection) -> None: ...
        def failed(self, bind: Bind) -> None: ...

    bind = Bind(connect, Keeper(), lambda: 0.5)
    task = asyncio.ensure_future(bind.run())
    async with asyncio.timeout(5):
        await again.wait()
    task.cancel()
    await asyncio.wait({task})


async def test_what_comes_in_thousands_at_once_is_read_in_turns() -> None:
    async with Smsc() as smsc, opened(smsc) as provider:
        bound = provider._binds._up[0]
        smsc.sessions[0].write(b"".join(encode(Command.ENQUIRE_LINK, 0, number) for number in range(1, 20_001)))
        assert (await send(provider)).outcome is Outcome.SUCCESS
        assert len(bound.get_buffer(-1)) <= 16 * 1024


async def test_who_gives_up_waiting_as_room_comes_is_cancelled_and_no_more() -> None:
    async with Smsc() as smsc, opened(smsc, window=1) as provider:
        smsc.replies.append(Reply(silent=True))
        first = send(provider)
        await until(lambda: len(smsc.submitted) == 1, "it was not handed over")
        waiting = [send(provider), send(provider)]
        await until(lambda: len(provider._binds._waiters) == 2, "they do not wait")
        bound = provider._binds._up[0]
        waiting[0].cancel()
        bound._take(Pdu(Command.SUBMIT_SM_RESP, 0, smsc.submitted[0].pdu.sequence, b"x\0"), 0.0)
        provider._binds.freed(bound)
        given_up, went = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(given_up, asyncio.CancelledError)
        assert isinstance(went, DispatchResult)
        assert went.outcome is Outcome.SUCCESS
        assert (await first).outcome is Outcome.SUCCESS


async def test_who_comes_while_answers_are_waited_for_goes_by_the_new_bind() -> None:
    async with Smsc() as smsc, opened(smsc, connect_timeout=0.1) as provider:
        hold = asyncio.Event()
        smsc.replies.append(Reply(hold=hold))
        before = send(provider)
        await until(lambda: len(smsc.submitted) == 1, "it was not handed over")
        provider.renew(replace(provider._settings))
        after = send(provider)
        await asyncio.wait({after}, timeout=0.3)  # longer than a connection would take
        hold.set()
        assert (await before).outcome is Outcome.SUCCESS
        assert (await after).outcome is Outcome.SUCCESS
        assert len(smsc.bound) == 2
