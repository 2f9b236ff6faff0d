"""One connection to a message centre: bound, asked and answered, and ended. `Session` decides; here are the bytes."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, Protocol, cast

from postwire.providers.connecting import connect, tls_failed, tls_name
from postwire.providers.resolving import NameResolver
from postwire.providers.smpp.answers import EXPIRED, LOST, NO_SMPP, NOT_SUBMITTED, Answer
from postwire.providers.smpp.bodies import bind_body
from postwire.providers.smpp.pdu import RESPONSE, Command, Framer, Malformed, Pdu, Status, encode
from postwire.providers.smpp.session import FIRST_SEQUENCE, LEAVE, Ending, Limits, Phase, Session
from postwire.providers.smpp.settings import SmppSettings


class Owner(Protocol):
    """Whoever has connections, and hears of what happens to them."""

    def freed(self, connection: Connection) -> None:
        """A connection may have room for submissions."""
        ...

    def named(self, body: bytes) -> str:
        """A message was taken, by an answer with this body: return its id, as it is kept."""
        ...

    def delivered(self, connection: Connection, pdu: Pdu) -> None:
        """A message centre delivers something, and waits for an answer."""
        ...

    def unavailable(self, connection: Connection) -> None:
        """A connection is bound no longer, or will soon not be."""
        ...


class Connection(asyncio.BufferedProtocol):
    """See the module. Every fault ends it."""

    def __init__(self, settings: SmppSettings, role: Command, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        """Those that it was made with."""
        self.role = role
        """How it is bound: the command that asks for that."""
        self.bound: asyncio.Future[Answer] = loop.create_future()
        """What has come of the request to be bound."""
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done once the connection has ended."""
        self.is_leaving = False
        """Whether it is we who end it."""
        self._owner, self._loop = owner, loop
        self._framer = Framer()
        self._in = bytearray(_READ)
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._out: list[bytes] = []
        self._unwritten: list[int] = []
        """Submissions among these, by their sequence numbers."""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._holds: set[str] = set()
        limits = Limits(settings.window, settings.enquire_link, settings.response_timeout)
        self._session = Session(limits, loop.time())

    @classmethod
    async def open(
        cls,
        settings: SmppSettings,
        role: Command,
        owner: Owner,
        context: ssl.SSLContext | None,
        names: NameResolver,
        connect_timeout: float,
    ) -> Connection:
        """Make a connection, and ask to be bound. `connect_timeout` (seconds) is for TCP and for TLS, each.

        Raises:
            ConnectFailed: there is none.
        """
        loop = asyncio.get_running_loop()
        connected = await connect(settings.host, settings.effective_port, names, connect_timeout)
        try:
            async with asyncio.timeout(connect_timeout):
                _, self = await loop.create_connection(
                    lambda: cls(settings, role, owner, loop),
                    sock=connected,
                    ssl=context,
                    server_hostname=tls_name(settings.host) if context else None,
                )
        except OSError as error:
            raise tls_failed(error, "see tls and port") from None
        return self

    @property
    def room(self) -> int:
        """How many submissions it takes now."""
        return self._session.room

    @property
    def is_bound(self) -> bool:
        """Whether it is, and will go on to be as far as is known."""
        return self._session.phase is Phase.BOUND

    def submit(self, body: bytes) -> asyncio.Future[Answer]:
        """Hand a message over: there has to be `room`. The future is done with an answer, or for want of one."""
        sequence = self._session.submit(self._loop.time())
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answers[sequence] = answer
        self._unwritten.append(sequence)
        self._write(encode(Command.SUBMIT_SM, 0, sequence, body))
        self._arm()
        return answer

    def answer(self, pdu: Pdu, status: int, body: bytes = b"") -> None:
        """Answer a request of the message centre's."""
        self._write(encode(pdu.command | RESPONSE, status, pdu.sequence, body))

    def leave(self, patience: float = LEAVE) -> None:
        """End the connection in good order: `gone` is done `session.LEAVE` after `patience`, or hardly later, which is
        for how many seconds answers are waited for."""
        self.is_leaving = True
        self._leave(patience)

    def _leave(self, patience: float) -> None:
        self._session.leave(self._loop.time(), patience)
        self._owner.unavailable(self)
        if self._session.phase is Phase.ENDED:
            self.abort()
        self._look()

    def abort(self) -> None:
        """End the connection at once. What is not written never is."""
        self._owner.unavailable(self)
        self._drop()
        if self._transport is not None:
            self._transport.abort()

    def hold(self, reason: str) -> None:
        """Read no more for now, for a reason."""
        if self._transport is not None and not self._holds:
            self._transport.pause_reading()
        self._holds.add(reason)

    def release(self, reason: str) -> None:
        """Read again, unless there are other reasons not to."""
        self._holds.discard(reason)
        if self._transport is not None and not self._holds and not self._transport.is_closing():
            self._transport.resume_reading()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._transport = cast(asyncio.Transport, transport)  # which that of uvloop is by its methods alone
        settings = self.settings
        body = bind_body(settings.system_id, settings.password, settings.system_type)
        self._write(encode(self.role, 0, FIRST_SEQUENCE, body))
        self._arm()

    def get_buffer(self, sizehint: int) -> bytearray:
        """See `asyncio.BufferedProtocol`: a whole read of 256 KiB may be 16,000 PDUs, which would hold the loop."""
        return self._in

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        data = bytes(memoryview(self._in)[:nbytes])
        session, room = self._session, self._session.room
        now = self._loop.time()
        try:
            for pdu in self._framer.feed(data):
                session.heard(now)
                self._take(pdu, now)
        except Malformed:
            _settle(self.bound, NO_SMPP)
            self.abort()
            return
        if session.phase is not Phase.BOUND:
            self._look()
            return
        self._arm()  # what is due next may be so before what was
        if session.room > room:
            self._owner.freed(self)

    def pause_writing(self) -> None:
        """See `asyncio.BufferedProtocol`: who does not read our answers is not listened to."""
        self.hold("writing")

    def resume_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self.release("writing")

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._drop()
        self._session.end()
        if self._timer is not None:
            self._timer.cancel()
        self._owner.unavailable(self)
        _settle(self.bound, LOST)
        for answer in self._answers.values():
            _settle(answer, LOST)
        self._answers.clear()
        if not self.gone.done():
            self.gone.set_result(None)

    # What stands in PDUs.

    def _take(self, pdu: Pdu, now: float) -> None:
        command, sequence, session = pdu.command, pdu.sequence, self._session
        if command == Command.SUBMIT_SM_RESP:
            self._answered(pdu)
        elif command == Command.ENQUIRE_LINK:
            self.answer(pdu, Status.ESME_ROK)
        elif command in DELIVERIES:
            self._owner.delivered(self, pdu)
        elif command == self.role | RESPONSE:
            if pdu.status != Status.ESME_ROK:
                self._refused(pdu)
            elif session.bound(sequence):
                _settle(self.bound, Answer())
        elif command == Command.GENERIC_NACK:
            self._refused(pdu) if session.phase is Phase.BINDING else self._answered(pdu)
        elif command == Command.UNBIND:
            session.dismissed(sequence, now)
            self._owner.unavailable(self)
        elif command == Command.UNBIND_RESP:
            if session.unbound(sequence):
                self._end(Ending.LEFT)
        elif not pdu.is_response and command != Command.ALERT_NOTIFICATION:
            self._write(encode(Command.GENERIC_NACK, Status.ESME_RINVCMDID, sequence))

    def _refused(self, pdu: Pdu) -> None:
        if pdu.sequence == FIRST_SEQUENCE:
            _settle(self.bound, Answer(_status_of(pdu)))

    def _answered(self, pdu: Pdu) -> None:
        """A submission was answered: by what belongs to it, or by the word that it was not understood."""
        status = _status_of(pdu)
        # At once, and though it may come too late: the next PDU may be the receipt.
        message_id = self._owner.named(pdu.body) if status == Status.ESME_ROK else ""
        if self._session.answered(pdu.sequence):
            _settle(self._answers.pop(pdu.sequence), Answer(status, message_id))
            if status == Status.ESME_RINVBNDSTS:  # and so it would be with all others
                self._leave(self.settings.response_timeout)

    # Time.

    def _arm(self) -> None:
        """Have the session looked at when something is due. The timer that is there may be early, never late."""
        at = self._session.next_due()
        if at is None or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(at, self._expire), at

    def _expire(self) -> None:
        self._timer = None
        self._look()

    def _look(self) -> None:
        """Do what is due."""
        room = self._session.room
        due = self._session.due(self._loop.time())
        for sequence in due.expired:
            _settle(self._answers.pop(sequence), EXPIRED)
        if due.enquire is not None:
            self._write(encode(Command.ENQUIRE_LINK, 0, due.enquire))
        if due.unbind is not None:
            self._write(encode(Command.UNBIND, 0, due.unbind))
        if due.unbound is not None:
            self._write(encode(Command.UNBIND_RESP, 0, due.unbound))
        if due.ending is not None:
            self._end(due.ending)
            return
        self._arm()
        if self._session.room > room:
            self._owner.freed(self)

    def _end(self, ending: Ending) -> None:
        if ending is Ending.SILENT:
            _settle(self.bound, EXPIRED)
        if self._transport is not None and ending is Ending.LEFT:
            self._flush()
            self._transport.close()
            # What it has not read by then it never will.
            self._loop.call_later(_CLOSE, self._transport.abort)
        else:
            self.abort()

    # Bytes.

    def _write(self, octets: bytes) -> None:
        """Write a PDU: all of one turn of the loop go out together."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(octets)

    def _flush(self) -> None:
        if self._transport is None or self._transport.is_closing():
            self._drop()
        elif self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()
            self._unwritten.clear()

    def _drop(self) -> None:
        """Write nothing of what is left: it was surely not handed over."""
        self._out.clear()
        for sequence in self._unwritten:
            if self._session.answered(sequence):
                _settle(self._answers.pop(sequence), NOT_SUBMITTED)
        self._unwritten.clear()


def _status_of(pdu: Pdu) -> int:
    """A PDU's status. None of `generic_nack` is good news."""
    is_refusal = pdu.command == Command.GENERIC_NACK and pdu.status == Status.ESME_ROK
    return Status.ESME_RUNKNOWNERR if is_refusal else pdu.status


def _settle(future: asyncio.Future[Answer], answer: Answer) -> None:
    """Have a future be done, unless whoever waited has gone."""
    if not future.done():
        future.set_result(answer)


_READ: Final = 16 * 1024
"""Octets that are read at once."""

DELIVERIES: Final = frozenset({Command.DELIVER_SM, Command.DATA_SM})
"""What receipts come by (SMPP 3.4, appendix B)."""

_CLOSE: Final = 1.0
"""Seconds that the other side has to read what is left."""
