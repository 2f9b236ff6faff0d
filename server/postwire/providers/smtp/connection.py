"""One connection to a mail server: made, secured, logged in; then envelopes and emails over it, one after another.

The protocol is aiosmtplib's, driven from here: its `sendmail` does not tell whether an email has left, and leaves
connections behind in the middle of one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from aiosmtplib import SMTPException, SMTPResponse, SMTPResponseException, SMTPTimeoutError
from aiosmtplib.auth import auth_crammd5_verify, auth_login_encode, auth_plain_encode
from aiosmtplib.protocol import SMTPProtocol

from postwire.providers.connecting import ConnectFailed, connect, tls_failed, tls_name
from postwire.providers.resolving import NameResolver
from postwire.providers.smtp.replies import CLOSING, Reply
from postwire.providers.smtp.settings import SmtpSettings

LEAVE: Final = 1.0
"""Seconds that servers have to end connections that we have taken leave of."""

_READY: Final = 220
_LOGGED_IN: Final = 235
_CHALLENGE: Final = 334
_GO_AHEAD: Final = 354
_NOT_THIS_MECHANISM: Final = (504, 534)
"""Answers to AUTH that say nothing of the password (RFC 4954, section 6)."""

_TRUSTED: Final = ("PLAIN", "LOGIN", "CRAM-MD5")
_IN_THE_CLEAR: Final = ("CRAM-MD5", "PLAIN", "LOGIN")
"""Mechanisms, the first that the server has is used. Where TLS hides the password, one that works with any store of
passwords comes first."""


class Lost(Exception):
    """The connection is gone, or about to be: by its end (`reply` is None) or by a 421."""

    def __init__(self, reply: Reply | None = None) -> None:
        super().__init__()
        self.reply = reply


class NoReply(Exception):
    """The server has not answered in time, or not in SMTP."""


@dataclass(frozen=True, slots=True, repr=False)
class Envelope:
    """Whom an email is from and for, as `wire_address` has it. `size` is the email's, in bytes.

    `chosen`: the message itself names the sender.
    """

    sender: str
    chosen: bool
    recipients: tuple[str, ...]
    size: int
    smtputf8: bool


class Connection:
    """See the module. Every fault leaves it unusable; whoever has it then calls `abort`."""

    def __init__(self, protocol: SMTPProtocol, settings: SmtpSettings, gone: asyncio.Future[None]) -> None:
        self._protocol = protocol
        self.gone = gone
        """Done once the connection has ended."""
        self._timeout = settings.command_timeout
        self._extensions: dict[str, str] = {}
        self._in_transaction = False
        self.settings = settings
        """Those that it was made with."""

    @classmethod
    async def open(
        cls, settings: SmtpSettings, context: ssl.SSLContext | None, names: NameResolver, connect_timeout: float
    ) -> Connection:
        """Make a connection that is ready for an email. `connect_timeout` (seconds) is for TCP and for TLS, each.

        Raises:
            ConnectFailed: that did not succeed.
        """
        tls = context if settings.security == "tls" else None
        protocol, gone = await _connect(settings, tls, names, connect_timeout)
        self = cls(protocol, settings, gone)
        try:
            await self._greet()
            if context is not None and settings.security == "starttls":
                await self._start_tls(context, connect_timeout)
            if settings.username is not None:
                await self._log_in(settings.username, settings.password or "")
        except Lost as lost:
            self.abort()
            if lost.reply is None:
                raise ConnectFailed("disconnected", "the server ended the connection") from None
            raise ConnectFailed(lost.reply.error_code, "the server takes no more connections now") from None
        except NoReply:
            self.abort()
            raise ConnectFailed("no_reply", "the server did not answer in time, or not in SMTP") from None
        except BaseException:
            self.abort()
            raise
        return self

    @property
    def is_usable(self) -> bool:
        """Whether it has not been seen to be closed."""
        return self._protocol.is_connected

    def has(self, extension: str) -> bool:
        """Whether the server has an extension of SMTP, by its name in capitals."""
        return extension in self._extensions

    async def begin(self, envelope: Envelope) -> tuple[Reply, list[Reply]]:
        """Begin an email: MAIL, and RCPT for each recipient where that was taken. Return the answers.

        Raises:
            Lost: the server has ended the connection.
            NoReply: it has not answered.
        """
        if self._in_transaction:
            if not (reset := await self._command("RSET")).is_positive:
                raise Lost(reset)
            self._in_transaction = False
        options = [f"SIZE={envelope.size}"] if self.has("SIZE") else []
        if envelope.smtputf8:
            options += ["SMTPUTF8"] + (["BODY=8BITMIME"] if self.has("8BITMIME") else [])
        reply = await self._command(f"MAIL FROM:<{envelope.sender}>", *options)
        if not reply.is_positive:
            return reply, []
        self._in_transaction = True
        return reply, [await self._command(f"RCPT TO:<{recipient}>") for recipient in envelope.recipients]

    async def announce(self) -> Reply | None:
        """Say DATA. Return None if the email may follow, or the refusal. Raises as `begin` does."""
        reply = await self._command("DATA")
        return None if reply.code == _GO_AHEAD else reply

    def listen(self) -> asyncio.Task[Reply | None]:
        """Begin to wait for the answer to an email, which some servers give before they have read it all.

        The task gives None where the connection ends without one. There is no time-out.
        """
        return asyncio.get_running_loop().create_task(self._final_answer())

    async def write(self, pieces: Iterable[bytes], answer: asyncio.Task[Reply | None]) -> None:
        """Write an email, all but what ends it. Returns early once there is an answer, or will be none.

        Raises:
            Lost: the connection is gone.
        """
        end = b"\r\n"
        for piece in pieces:
            if answer.done():
                return
            # A line that begins with a full stop gets one more (RFC 5321, section 4.5.2), wherever pieces meet.
            stuffed = (end + piece).replace(b"\r\n.", b"\r\n..")[len(end) :]
            end = (end + piece)[-2:]
            with _our_faults():
                self._protocol.write(stuffed)
                # As `asyncio.StreamWriter.drain` does, which itself would close the transport once it is let go of.
                await self._protocol._drain_helper()
            await asyncio.sleep(0)

    def finish(self) -> None:
        """Write what ends an email: from now on, it may have been sent.

        Raises:
            Lost: the connection was gone before.
        """
        with _our_faults():
            self._protocol.write(b".\r\n")
        self._in_transaction = False  # once it has answered

    def quit(self) -> None:
        """Take leave, and have the server end the connection, for which it has `LEAVE`."""
        with suppress(OSError, SMTPException):
            self._protocol.write(b"QUIT\r\n")
        asyncio.get_running_loop().call_later(LEAVE, self.abort)

    def abort(self) -> None:
        """End the connection at once."""
        transport = self._protocol.transport
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()

    async def _greet(self) -> None:
        greeting = await self._answer(self._timeout)
        if greeting.code == CLOSING:
            raise Lost(greeting)
        if greeting.code != _READY:
            raise ConnectFailed(greeting.error_code, "the server takes no emails from here")
        await self._say_hello()

    async def _say_hello(self) -> None:
        name = self.settings.local_hostname or _own_name(self._protocol)
        raw = await self._raw("EHLO", name)
        if raw.code // 100 == 2:
            said = raw.message.upper().replace("AUTH=", "AUTH ")  # as servers older than RFC 4954 say it
            lines = (line.strip().partition(" ") for line in said.split("\n")[1:])
            self._extensions = {keyword: parameters for keyword, _, parameters in lines}
            return
        self._extensions = {}
        if not (reply := await self._command("HELO", name)).is_positive:
            raise ConnectFailed(reply.error_code, "the server does not take our name: see local_hostname")

    async def _start_tls(self, context: ssl.SSLContext, timeout: float) -> None:
        if not self.has("STARTTLS"):
            raise ConnectFailed(
                "no_starttls", "the server offers no STARTTLS: see security and port", misconfigured=True
            )
        try:
            await self._protocol.start_tls(context, server_hostname=tls_name(self.settings.host), timeout=timeout)
        except SMTPResponseException as error:
            raise ConnectFailed(Reply.of(error.code, error.message).error_code, "the server refuses STARTTLS") from None
        except (OSError, SMTPException) as error:
            raise tls_failed(error, "see security and port") from None
        await self._say_hello()

    async def _log_in(self, username: str, password: str) -> None:
        offered = self._extensions.get("AUTH", "").split()
        order = _IN_THE_CLEAR if self.settings.security == "none" else _TRUSTED
        usable = [mechanism for mechanism in order if mechanism in offered]
        if not usable:
            raise ConnectFailed("no_auth", "the server offers no way to log in: see security", misconfigured=True)
        for mechanism in usable:
            reply = await self._authenticate(mechanism, username, password)
            if reply.code == _LOGGED_IN:
                return
            if reply.code not in _NOT_THIS_MECHANISM:
                break
        raise ConnectFailed(
            reply.error_code,
            "the server refuses the username or the password",
            misconfigured=reply.is_permanent,
        )

    async def _authenticate(self, mechanism: str, username: str, password: str) -> Reply:
        if mechanism == "PLAIN":
            return await self._command("AUTH PLAIN", auth_plain_encode(username, password).decode())
        if mechanism == "LOGIN":
            name, word = auth_login_encode(username, password)
            reply = await self._command("AUTH LOGIN", name.decode())
            return await self._command(word.decode()) if reply.code == _CHALLENGE else reply
        challenge = await self._raw("AUTH CRAM-MD5")
        if challenge.code != _CHALLENGE:
            return Reply.of(*challenge)
        try:
            answer = auth_crammd5_verify(username, password, challenge.message)
        except SMTPException:
            raise NoReply from None
        return await self._command(answer.decode())

    async def _command(self, *words: str) -> Reply:
        """Say something, and return the answer's codes. Raises `Lost` or `NoReply`."""
        return Reply.of(*await self._raw(*words))

    async def _raw(self, *words: str) -> SMTPResponse:
        with _our_faults():
            raw = await self._protocol.execute_command(*(word.encode() for word in words), timeout=self._timeout)
        if raw.code == CLOSING:
            raise Lost(Reply.of(*raw))
        return raw

    async def _final_answer(self) -> Reply | None:
        try:
            return await self._answer()
        except (Lost, NoReply):
            return None

    async def _answer(self, timeout: float | None = None) -> Reply:
        with _our_faults():
            return Reply.of(*await self._protocol.read_response(timeout))


@contextmanager
def _our_faults() -> Iterator[None]:
    """Make faults of ours of the library's, whose texts have what the server said."""
    try:
        yield
    except SMTPTimeoutError:
        raise NoReply from None
    except OSError:
        raise Lost from None
    except SMTPException:  # it has said something that is no answer
        raise NoReply from None


async def _connect(
    settings: SmtpSettings, context: ssl.SSLContext | None, names: NameResolver, timeout: float
) -> tuple[SMTPProtocol, asyncio.Future[None]]:
    """Connect, with TLS if there is a context for it. Return the future that is done at the connection's end, too."""
    loop = asyncio.get_running_loop()
    gone = loop.create_future()
    connected = await connect(settings.host, settings.effective_port, names, timeout)
    try:
        async with asyncio.timeout(timeout):
            _, protocol = await loop.create_connection(
                lambda: SMTPProtocol(loop, lambda _: _note(gone)),
                sock=connected,
                ssl=context,
                server_hostname=tls_name(settings.host) if context else None,
            )
    except (OSError, SMTPException) as error:
        raise tls_failed(error, "see security and port") from None
    return protocol, gone


def _note(gone: asyncio.Future[None]) -> None:
    if not gone.done():
        gone.set_result(None)


def _own_name(protocol: SMTPProtocol) -> str:
    """This machine's name, if it is one in full, or else the address that it has for the server (RFC 5321, 4.1.4)."""
    name = socket.gethostname()
    if "." in name and name.isascii():
        return name
    transport = protocol.transport
    address = transport.get_extra_info("sockname") if transport else None
    if not address:
        return "[127.0.0.1]"
    return f"[IPv6:{address[0]}]" if ":" in address[0] else f"[{address[0]}]"
