"""A message centre that does what it is told to, however wrong: it throttles, falls silent, cuts connections, and
delivers receipts before it has answered."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from tests.support import listeners

from postwire.providers.smpp.bodies import Bind, BindResp, DeliverSm, SubmitSm, SubmitSmResp
from postwire.providers.smpp.pdu import RESPONSE, Command, Framer, Malformed, Pdu, Status, encode
from postwire.providers.sms.encoding import from_gsm

SYSTEM_ID, PASSWORD = "postwire", "sm5cpw0r"

BINDS: Final = (Command.BIND_TRANSCEIVER, Command.BIND_TRANSMITTER, Command.BIND_RECEIVER)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a submission comes to. `message_id` is by default the number of the message, in ten digits.

    `receipt`: the state that is reported of it; `early`: before it is answered. `silent`: there is no answer.
    `cut`: the connection ends instead. `raw`: these octets come instead. `nack`: it is answered by a generic_nack.
    `shift`: how far off the sequence number is. `hold`: it is answered once this is set.
    """

    status: int = 0
    message_id: str | None = None
    receipt: str = ""
    early: bool = False
    silent: bool = False
    cut: bool = False
    raw: bytes = b""
    nack: bool = False
    shift: int = 0
    hold: asyncio.Event | None = None


TAKEN: Final = Reply()


@dataclass(frozen=True, slots=True, repr=False)
class Submitted:
    """One submit_sm. `is_taken`: its answer says so."""

    pdu: Pdu
    body: SubmitSm
    connection: int
    is_taken: bool

    @property
    def text(self) -> str:
        """What it says, without a header."""
        octets = self.body.payload
        if self.body.esm_class & 0x40:
            octets = octets[octets[0] + 1 :]
        return octets.decode("utf-16-be") if self.body.data_coding == 8 else from_gsm(octets)


@dataclass(slots=True)
class Answered:
    """An answer to a deliver_sm of ours."""

    status: int
    at: float = field(default_factory=lambda: asyncio.get_running_loop().time())


class Smsc:
    """Takes everything, but for what it is told. An asynchronous context manager, at a free port of this machine."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.password = PASSWORD
        self.bind_status = 0
        """That of binds with the right password."""
        self.answers_binds = True
        self.answers_enquiries = True
        self.reply: Reply | Callable[[SubmitSm], Reply] = TAKEN
        """What submissions come to, after those of `replies`."""
        self.replies: deque[Reply] = deque()
        self.submitted: list[Submitted] = []
        self.bound: list[Command] = []
        """Every bind that there was, in order."""
        self.unbound = 0
        """How many sessions were ended in good order."""
        self.enquiries = 0
        self.delivered: list[Answered] = []
        self.answers: list[Pdu] = []
        """To whatever else it asked for."""
        self.most_waiting = 0
        """How many submissions of one session waited for their answers at once, at most."""
        self.backlog: list[DeliverSm] = []
        """What is to be delivered on the next session that receives."""
        self.sessions: list[Session] = []
        """Those that there are."""
        self._tls = tls
        self._connections = 0
        self._ids = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, at the port of before if there was one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Session(self), "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all connections, and listen no longer."""
        await listeners.close(self._server)
        self.hang_up()
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """End all connections."""
        for session in list(self.sessions):
            session.abort()

    def deliver(self, deliver: DeliverSm) -> None:
        """Deliver something on a session that receives, as soon as there is one; it is answered in `delivered`.

        What is not answered before its session ends is delivered again.
        """
        session = next((one for one in self.sessions if one.receives), None)
        if session is None:
            self.backlog.append(deliver)
        else:
            session.deliver(deliver)

    def receipt(self, message_id: str, state: str = "DELIVRD", error: str = "000") -> None:
        """Deliver the receipt of a message."""
        self.deliver(receipt_of(message_id, state, error))

    def opened(self, session: Session) -> int:
        """A connection was made. Return its number."""
        self.sessions.append(session)
        self._connections += 1
        return self._connections

    def next_id(self) -> str:
        """The next message's id."""
        self._ids += 1
        return f"{self._ids:010}"

    def next_reply(self, body: SubmitSm) -> Reply:
        """What the next submission comes to."""
        if self.replies:
            return self.replies.popleft()
        return self.reply if isinstance(self.reply, Reply) else self.reply(body)


def receipt_of(message_id: str, state: str, error: str = "000") -> DeliverSm:
    """A receipt as appendix B of SMPP 3.4 has it."""
    text = (
        f"id:{message_id} sub:001 dlvrd:001 submit date:2611300900 done date:2611300901 stat:{state} err:{error} text:"
    )
    return DeliverSm(
        source_addr_ton=1,
        source_addr_npi=1,
        source_addr="15005550187",
        destination_addr="15005550006",
        esm_class=0x04,
        short_message=text.encode(),
    )


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, smsc: Smsc) -> None:
        self.smsc = smsc
        self.receives = False
        self.deliveries = 0
        """How many there were."""
        self._framer = Framer()
        self._bound = False
        self._waiting = 0
        self._sequence = 0
        self._delivering: dict[int, DeliverSm] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._number = self.smsc.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.smsc.sessions.remove(self)
        for deliver in self._delivering.values():
            self.smsc.deliver(deliver)
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            for pdu in self._framer.feed(data):
                self._take(pdu)
        except Malformed:
            self.abort()

    def abort(self) -> None:
        """End the connection."""
        self._transport.abort()

    def deliver(self, deliver: DeliverSm) -> None:
        """Deliver something."""
        self._sequence += 1
        self.deliveries += 1
        self._delivering[self._sequence] = deliver
        self._transport.write(encode(Command.DELIVER_SM, 0, self._sequence, deliver.body()))

    def dismiss(self) -> None:
        """Ask to be unbound from."""
        self._sequence += 1
        self._transport.write(encode(Command.UNBIND, 0, self._sequence))

    def write(self, octets: bytes) -> None:
        """Write whatever it is."""
        self._transport.write(octets)

    def _take(self, pdu: Pdu) -> None:
        smsc, command = self.smsc, pdu.command
        if command in BINDS:
            self._bind(pdu)
        elif command == Command.SUBMIT_SM:
            assert self._bound, "a message came on a session that is not bound"
            self._submit(pdu)
        elif command == Command.DELIVER_SM_RESP:
            smsc.delivered.append(Answered(pdu.status))
            self._delivering.pop(pdu.sequence, None)
        elif command in (Command.DATA_SM_RESP, Command.GENERIC_NACK):
            smsc.answers.append(pdu)
        elif command == Command.ENQUIRE_LINK:
            smsc.enquiries += 1
            if smsc.answers_enquiries:
                self._answer(pdu)
        elif command == Command.UNBIND:
            smsc.unbound += 1
            self._answer(pdu)
            self._transport.close()
        elif command == Command.UNBIND_RESP:
            smsc.unbound += 1
            self._transport.close()

    def _bind(self, pdu: Pdu) -> None:
        smsc, body = self.smsc, Bind.read(pdu.body)
        if not smsc.answers_binds:
            return
        status = smsc.bind_status
        if (body.system_id, body.password) != (SYSTEM_ID, smsc.password):
            status = Status.ESME_RINVPASWD
        if status:
            self._answer(pdu, status)
            self._transport.close()
            return
        smsc.bound.append(Command(pdu.command))
        self._bound, self.receives = True, pdu.command != Command.BIND_TRANSMITTER
        self._answer(pdu, 0, BindResp(system_id="smsc").body())
        if self.receives:
            backlog, smsc.backlog = smsc.backlog, []
            for deliver in backlog:
                self.deliver(deliver)

    def _submit(self, pdu: Pdu) -> None:
        smsc, body = self.smsc, SubmitSm.read(pdu.body)
        reply = smsc.next_reply(body)
        is_taken = not reply.status and not reply.raw
        smsc.submitted.append(Submitted(pdu, body, self._number, is_taken))
        self._waiting += 1
        smsc.most_waiting = max(smsc.most_waiting, self._waiting)
        if reply.cut:
            self.abort()
        elif reply.raw:
            self.write(reply.raw)
        elif reply.hold is not None:
            task = asyncio.get_running_loop().create_task(self._later(pdu, reply, reply.hold))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif not reply.silent:
            self._conclude(pdu, reply)

    async def _later(self, pdu: Pdu, reply: Reply, hold: asyncio.Event) -> None:
        await hold.wait()
        self._conclude(pdu, reply)

    def _conclude(self, pdu: Pdu, reply: Reply) -> None:
        self._waiting -= 1
        if reply.status:
            command = Command.GENERIC_NACK if reply.nack else pdu.command | RESPONSE
            self.write(encode(command, reply.status, pdu.sequence + reply.shift))
            return
        message_id = self.smsc.next_id() if reply.message_id is None else reply.message_id
        if reply.receipt and reply.early:
            self.smsc.deliver(receipt_of(message_id, reply.receipt))
        self.write(
            encode(pdu.command | RESPONSE, 0, pdu.sequence + reply.shift, SubmitSmResp(message_id=message_id).body())
        )
        if reply.receipt and not reply.early:
            self.smsc.deliver(receipt_of(message_id, reply.receipt))

    def _answer(self, pdu: Pdu, status: int = 0, body: bytes = b"") -> None:
        self._transport.write(encode(pdu.command | RESPONSE, status, pdu.sequence, body))


@contextmanager
def smsc_thread() -> Iterator[tuple[Smsc, asyncio.AbstractEventLoop]]:
    """A message centre in a thread of its own, and the loop that it runs in."""
    loop, smsc = asyncio.new_event_loop(), Smsc()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(smsc.start(), loop).result(30)
    try:
        yield smsc, loop
    finally:
        asyncio.run_coroutine_threadsafe(smsc.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
