"""The provider: what becomes of an attempt, in one part or in several."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, OutboundMessage, Sms
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import Inbound, Receipt
from postwire.core.splitmix import SplitMix64
from postwire.providers.base import Context, Kind, Preview, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.verdicts import result
from postwire.providers.smpp.answers import NOT_SUBMITTED, Answer
from postwire.providers.smpp.binds import Binds, NoRoom
from postwire.providers.smpp.bodies import DataSm, DeliverSm, SubmitSm, read_body, read_submit_resp
from postwire.providers.smpp.message_ids import MessageIds
from postwire.providers.smpp.parts import cannot_send, parts_of
from postwire.providers.smpp.pdu import Pdu
from postwire.providers.smpp.receipts import read
from postwire.providers.smpp.settings import SmppSettings
from postwire.providers.smpp.statuses import is_throttled, meaning_of, name_of
from postwire.providers.sms.settings import sender_of, why_not
from postwire.providers.sms.several import combined

RESUBMIT_FOR: Final = 15.0
"""Seconds for which parts are handed over again that were throttled, where others were taken. With the time for an
answer, an attempt has as long."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0
"""Seconds before that: twice as long each time."""

ATTEMPT_TIMEOUT: Final = 30.0

_LACKS: Final = {
    "no_answer": "the message centre did not answer in time",
    "disconnected": "the connection ended without an answer",
}


class SmppProvider:
    """See `Provider`."""

    kind: Final = "smpp"
    reports: Final = True

    def __init__(self, context: Context, settings: SmppSettings) -> None:
        self.name, self.channels = context.name, context.channels
        self._settings = settings
        self._ids = MessageIds(settings.message_id_format)
        self._binds = Binds(
            settings,
            context.connect_timeout,
            named=self._named,
            read=self._read,
            report=context.report,
            jitter=SplitMix64(context.random_seed()).next_unit,
        )

    async def open(self) -> ProviderHealth:
        """See `Opening.open`."""
        return await self._binds.open()

    async def check(self) -> ProviderHealth:
        """See `Provider.check`: as far as being bound."""
        return await self._binds.check()

    def renew(self, settings: SmppSettings) -> None:
        """See `Renewable.renew`."""
        self._settings = settings
        self._binds.renew(settings)

    async def close(self) -> None:
        """See `Closing.close`."""
        await self._binds.close()

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None = None) -> FieldViolation | None:
        """See `Selective.carries`."""
        content, settings = message.content, self._settings
        assert isinstance(content, Sms)  # it has no other channel
        if (why := why_not(settings, message)) is not None:
            return why
        sender = sender_of(settings, content) or ""
        alphabet, most = settings.default_alphabet, settings.max_segments
        return cannot_send(content.body, sender, alphabet=alphabet, max_segments=most)

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """See `Provider.send`. The others of several parts follow once the first was taken."""
        try:
            with handover.connecting():
                bodies = [part.body() for part in self._parts(message, handover)]
                connection = await self._binds.room()
        except NoRoom as none:
            return none.result
        answer = await connection.submit(bodies[0])
        if len(bodies) == 1 or not answer.is_taken:
            return self._result(answer, message)
        answers = [answer, *await self._submit_rest(bodies[1:], handover.validity)]
        return combined([self._result(one, message) for one in answers])

    def preview(self, message: OutboundMessage, handover: Handover) -> Preview:
        """See `Previewing.preview`: the parts, and their octets in hexadecimal, since a terminal takes no others."""
        parts = self._parts(message, handover)
        lines = tuple(
            f"submit_sm {number}/{len(parts)} from {part.source_addr} to {part.destination_addr}, "
            f"data_coding {part.data_coding}"
            for number, part in enumerate(parts, 1)
        )
        return Preview(lines, "\n".join(part.payload.hex(" ") for part in parts).encode())

    def _parts(self, message: OutboundMessage, handover: Handover) -> list[SubmitSm]:
        content, settings = message.content, self._settings
        assert isinstance(content, Sms)
        return parts_of(
            content.body,
            to=content.to,
            sender=sender_of(settings, content) or "",
            message_id=handover.message_id,
            validity=handover.validity,
            alphabet=settings.default_alphabet,
            long=settings.long_messages,
        )

    async def _submit_rest(self, bodies: Sequence[bytes], validity: int | None) -> list[Answer]:
        until = asyncio.get_running_loop().time() + min(validity or RESUBMIT_FOR, RESUBMIT_FOR)
        return await asyncio.gather(*(self._submit(body, until) for body in bodies))

    async def _submit(self, body: bytes, until: float) -> Answer:
        """Hand over a part whose message is under way: again and again where it is throttled, while there is time."""
        loop = asyncio.get_running_loop()
        pause, answer = FIRST_PAUSE, NOT_SUBMITTED
        while (left := until - loop.time()) > 0:
            try:
                connection = await self._binds.room(left)
            except NoRoom:
                pass
            else:
                answer = await connection.submit(body)
                if answer is not NOT_SUBMITTED and (answer.lack or not is_throttled(answer.status)):
                    return answer
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return answer

    def _result(self, answer: Answer, message: OutboundMessage) -> DispatchResult:
        """What a part has come to."""
        if answer is NOT_SUBMITTED:
            detail = "no bind was there in time, or it ended before the message was written"
            return DispatchResult(Outcome.ERROR, error_code=answer.lack, detail=detail)
        if answer.lack:
            return DispatchResult(Outcome.UNCERTAIN, error_code=answer.lack, detail=_LACKS[answer.lack])
        if answer.is_taken:
            return DispatchResult(Outcome.SUCCESS, answer.message_id)
        return result(meaning_of(answer.status, message), name_of(answer.status))

    def _named(self, body: bytes) -> str:
        return self._ids.given(read_submit_resp(body))

    def _read(self, pdu: Pdu) -> Sequence[Receipt | Inbound]:
        """What is delivered. Raises Malformed."""
        body = read_body(pdu)
        assert isinstance(body, DeliverSm | DataSm)
        found = read(body, self._ids, self._settings.default_alphabet)
        return () if found is None else (found,)


def _max_concurrent(settings: Any) -> int:
    """As many attempts as binds take PDUs, when nothing else is said."""
    assert isinstance(settings, SmppSettings)
    return settings.window * settings.binds


KIND: Final = Kind(
    settings=SmppSettings,
    make=SmppProvider,
    channels=(Channel.SMS,),
    summary="Sends SMS by a message centre, by SMPP 3.4.",
    attempt_timeout=ATTEMPT_TIMEOUT,
    max_concurrent=10,
    max_concurrent_of=_max_concurrent,
)
