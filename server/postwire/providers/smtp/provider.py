"""The provider: what becomes of an attempt, and the connections that wait for the next."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult
from postwire.providers.base import Context, Kind, Preview, ProviderHealth
from postwire.providers.connecting import ConnectFailed
from postwire.providers.handover import Handover
from postwire.providers.mail.dkim import BodyHash
from postwire.providers.mail.mailboxes import needs_smtputf8, parse_mailbox, wire_address
from postwire.providers.mail.mime import Mime, build
from postwire.providers.pieces import each, whole
from postwire.providers.resolving import NameResolver
from postwire.providers.smtp.connection import LEAVE, Connection, Envelope, Lost, NoReply
from postwire.providers.smtp.replies import (
    CLOSING,
    Ended,
    Reply,
    result_of,
    sender_refused,
    verdict,
)
from postwire.providers.smtp.settings import SmtpSettings

IDLE: Final = 60.0
"""Seconds after which a connection that nobody has used is closed. Servers wait for five minutes (RFC 5321, section
4.5.3.2), and some for less."""

_LOST: Final = DispatchResult(
    Outcome.ERROR, error_code="disconnected", detail="the server ended the connection before it had the email"
)
_NO_REPLY: Final = DispatchResult(
    Outcome.ERROR, error_code="no_reply", detail="the server did not answer in time, or not in SMTP"
)
_UNANSWERED: Final = RecipientResult(
    Outcome.UNCERTAIN, "disconnected", detail="the connection ended without an answer to the email"
)
_NO_SMTPUTF8: Final = DispatchResult(
    Outcome.ERROR,
    error_code="no_smtputf8",
    detail="the server takes no addresses that are not in ASCII before the @",
    provider_fault=False,
)


@dataclass(frozen=True, slots=True, repr=False)
class _Prepared:
    """What an attempt is to hand over. `message_id` is what stands in the email's Message-ID."""

    envelope: Envelope
    pieces: list[bytes]
    message_id: str


class SmtpProvider:
    """See `Provider`."""

    kind: Final = "smtp"

    def __init__(self, context: Context, settings: SmtpSettings) -> None:
        self.name, self.channels = context.name, context.channels
        self.selective = settings.sender is None
        self._connect_timeout = context.connect_timeout
        self._tls = None if settings.security == "none" else ssl.create_default_context(cafile=settings.ca_file)
        self._names = NameResolver()
        self._idle: list[tuple[Connection, asyncio.TimerHandle]] = []
        self._busy: set[Connection] = set()
        self._leaving: set[Connection] = set()
        self._closed = False
        self.renew(settings)

    def renew(self, settings: SmtpSettings) -> None:
        """See `Renewable.renew`."""
        self._signer = settings.dkim.signer()
        self._settings = settings
        self._leave_idle()

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None = None) -> FieldViolation | None:
        """See `Selective.carries`. What the server takes beyond ASCII is known only once it was asked."""
        content = message.content
        if isinstance(content, Email) and not content.sender and self._settings.sender is None:
            return FieldViolation("message.email.sender", f"must be given, since {self.name} has no sender of its own")
        return None

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """See `Provider.send`."""
        content = message.content
        assert isinstance(content, Email)  # it has no other channel
        try:
            with ExitStack() as before:
                before.enter_context(handover.connecting())
                prepared = await self._prepare(content, handover)
                connection, replies = await self._begin(prepared.envelope)
                try:
                    result = await _hand_over(connection, prepared, replies, before.close)
                except BaseException:
                    self._drop(connection)
                    raise
                self._keep(connection)
                return result
        except (ConnectFailed, Ended) as end:
            return end.result
        except Lost as lost:
            return _LOST if lost.reply is None else replace(_LOST, error_code=lost.reply.error_code)
        except NoReply:
            return _NO_REPLY

    def preview(self, message: OutboundMessage, handover: Handover) -> Preview:
        """See `Previewing.preview`: the envelope, and the email as it is signed."""
        content = message.content
        assert isinstance(content, Email)
        mime = self._mime(content, handover)
        prepared = self._prepared(content, handover, mime, [whole(mime.body)])
        envelope = prepared.envelope
        lines = (f"MAIL FROM:<{envelope.sender}>", *(f"RCPT TO:<{one}>" for one in envelope.recipients), "DATA")
        return Preview(lines, b"".join(prepared.pieces))

    async def check(self) -> ProviderHealth:
        """See `Provider.check`: as far as logging in."""
        try:
            connection = await self._connect()
        except ConnectFailed as failed:
            return failed.health
        self._leave(connection)
        await asyncio.wait({connection.gone}, timeout=LEAVE)
        return ProviderHealth(ok=True)

    async def close(self) -> None:
        """See `Closing.close`."""
        self._closed = True
        for connection in self._busy:
            connection.abort()
        self._leave_idle()
        left = {*self._busy, *self._leaving}
        if left:
            await asyncio.wait({connection.gone for connection in left}, timeout=LEAVE)
        for connection in left:
            connection.abort()

    async def _prepare(self, email: Email, handover: Handover) -> _Prepared:
        mime = self._mime(email, handover)
        hashed = BodyHash() if self._signer is not None else None
        pieces = []
        async for piece in each(mime.body):
            pieces.append(piece)
            if hashed is not None:
                hashed.update(piece)
        return self._prepared(email, handover, mime, pieces, hashed)

    def _mime(self, email: Email, handover: Handover) -> Mime:
        sender = self._settings.sender or ""
        return build(email, sender=sender, message_id=handover.message_id, created=handover.created)

    def _prepared(
        self, email: Email, handover: Handover, mime: Mime, pieces: list[bytes], hashed: BodyHash | None = None
    ) -> _Prepared:
        """An email whose body is there in pieces. `hashed` is their hash, where that was taken already."""
        settings, signer = self._settings, self._signer
        if signer is not None:
            if hashed is None:
                hashed = BodyHash()
                for piece in pieces:
                    hashed.update(piece)
            mime = signer.signed(mime, hashed.digest())
        pieces.insert(0, mime.head)
        author = parse_mailbox(email.sender or settings.sender or "")
        sender = wire_address(settings.return_path) if settings.return_path else author.address
        addresses, positions = email.recipients, handover.positions
        if positions is not None:
            addresses = tuple(addresses[position] for position in positions)
        recipients = tuple(map(wire_address, addresses))
        smtputf8 = mime.smtputf8 or any(map(needs_smtputf8, (sender, *recipients)))
        chosen = bool(email.sender) and settings.return_path is None
        envelope = Envelope(sender, chosen, recipients, sum(map(len, pieces)), smtputf8)
        return _Prepared(envelope, pieces, mime.message_id)

    async def _begin(self, envelope: Envelope) -> tuple[Connection, list[Reply]]:
        """Get a server to wait for an email. Return the connection, and its answers for the recipients.

        Raises:
            ConnectFailed: it could not be reached.
            Ended: it does not take this.
            Lost, NoReply: something went wrong with the connection.
        """
        if (connection := self._idle_one()) is not None:
            try:
                return connection, await self._announce(connection, envelope)
            except Lost:
                pass  # it has waited too long, or the server has been started anew meanwhile
        connection = await self._connect()
        return connection, await self._announce(connection, envelope)

    async def _announce(self, connection: Connection, envelope: Envelope) -> list[Reply]:
        self._busy.add(connection)
        try:
            if envelope.smtputf8 and not connection.has("SMTPUTF8"):
                raise Ended(_NO_SMTPUTF8)
            mail, replies = await connection.begin(envelope)
            if not mail.is_positive:
                raise Ended(sender_refused(mail, chosen=envelope.chosen))
            if any(one.is_positive for one in replies) and (refusal := await connection.announce()):
                raise Ended(_ended(refusal, replies))
            if not any(one.is_positive for one in replies):
                raise Ended(result_of([verdict(one, "the recipient") for one in replies]))
        except Ended:
            self._keep(connection)
            raise
        except BaseException:
            self._drop(connection)
            raise
        return replies

    async def _connect(self) -> Connection:
        return await Connection.open(self._settings, self._tls, self._names, self._connect_timeout)

    def _keep(self, connection: Connection) -> None:
        """Have a connection wait for the next attempt, if it can be used again."""
        self._busy.discard(connection)
        if self._closed or connection.settings is not self._settings:
            self._leave(connection)
        elif connection.is_usable:
            timer = asyncio.get_running_loop().call_later(IDLE, self._expire, connection)
            self._idle.append((connection, timer))

    def _drop(self, connection: Connection) -> None:
        self._busy.discard(connection)
        connection.abort()

    def _idle_one(self) -> Connection | None:
        """Take the connection that was used last, if it is still there."""
        while self._idle:
            connection, timer = self._idle.pop()
            timer.cancel()
            if connection.is_usable:
                return connection
        return None

    def _expire(self, connection: Connection) -> None:
        self._idle = [one for one in self._idle if one[0] is not connection]
        self._leave(connection)

    def _leave_idle(self) -> None:
        while (connection := self._idle_one()) is not None:
            self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        """Take leave of a server; `close` waits until it has heard of it."""
        self._leaving.add(connection)
        connection.gone.add_done_callback(lambda _: self._leaving.discard(connection))
        connection.quit()


async def _hand_over(
    connection: Connection, prepared: _Prepared, replies: list[Reply], leaving: Callable[[], None]
) -> DispatchResult:
    """Hand an email to a server that waits for it. `leaving` is called just before it may have been sent.

    Raises:
        Lost: the connection ended before that.
    """
    answer = connection.listen()
    try:
        await connection.write(prepared.pieces, answer)
        if answer.done():
            connection.abort()
            if (early := answer.result()) is None or early.code == CLOSING or early.is_positive:
                raise Lost(early)
            return _ended(early, replies)
        leaving()
        connection.finish()
        reply = await answer
    finally:
        answer.cancel()
    if reply is None:
        connection.abort()
        return result_of([_UNANSWERED if one.is_positive else verdict(one, "the recipient") for one in replies])
    if reply.code == CLOSING:
        connection.abort()
    return _ended(reply, replies, prepared.message_id)


def _ended(reply: Reply, replies: list[Reply], message_id: str = "") -> DispatchResult:
    """The result where an answer is for all recipients that were taken before."""
    final = verdict(reply, "the email", message_id)
    return result_of([final if one.is_positive else verdict(one, "the recipient") for one in replies])


KIND: Final = Kind(
    settings=SmtpSettings,
    make=SmtpProvider,
    channels=(Channel.EMAIL,),
    summary="A mail server, by SMTP.",
    # After the full stop RFC 5321, section 4.5.3.2.6, asks for ten minutes; less makes duplicates (RFC 1047).
    attempt_timeout=300.0,
    max_concurrent=10,
)
