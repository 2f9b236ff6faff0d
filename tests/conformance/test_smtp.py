"""The kind `smtp`, against aiosmtpd, which speaks SMTP by itself."""

from __future__ import annotations

import asyncio
import email
import email.policy
import logging
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from tests.support import listeners

from postwire.providers.base import Context, Provider
from postwire.providers.smtp.provider import KIND
from postwire.providers.smtp.settings import SmtpSettings
from postwire.testing import Answer, BlackHole, ProviderConformance, Request

PASSWORD = "s3cret-of-ours"


class Lines(str):
    """A text of whole lines: an email of one part ends its last line, whether its text did or not."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str.__eq__(self.removesuffix("\n"), other.removesuffix("\n"))

    __hash__ = str.__hash__


class TestSmtp(ProviderConformance):
    kind = "smtp"
    declared = KIND
    secrets = (PASSWORD,)
    answers = frozenset(Answer) - {Answer.RATE_LIMITED}  # a server that asks to come again later puts the email off

    def prepare(self) -> None:
        """See `ProviderConformance.prepare`."""
        self.how = Answer.SUCCESS
        self.port = 0
        self.requests: list[Request] = []

    def make(self, context: Context) -> Provider:
        """See `ProviderConformance.make`."""
        port = self.hole.port if self.how is Answer.UNREACHABLE else self.port
        settings = SmtpSettings(
            "127.0.0.1",
            port,
            security="none",
            username="us",
            password=PASSWORD,
            sender="Postwire <no-reply@example.org>",
        )
        return KIND.make(context, settings)

    async def start(self) -> None:
        """See `ProviderConformance.start`."""
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # where aiosmtpd logs all that it is sent
        self.hole = BlackHole()
        self.servers: set[SMTP] = set()
        self.server = await asyncio.get_running_loop().create_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    def _serve(self) -> SMTP:
        served = SMTP(
            self,
            enable_SMTPUTF8=True,
            auth_require_tls=False,
            authenticator=self._authenticate,
            data_size_limit=64 << 20,
            hostname="mail.example.org",
            loop=asyncio.get_running_loop(),
        )
        self.servers.add(served)
        return served

    def _authenticate(self, *asked: Any) -> AuthResult:
        login = asked[-1]
        assert isinstance(login, LoginPassword)
        good = self.how is not Answer.MISCONFIGURED and login == LoginPassword(b"us", PASSWORD.encode())
        return AuthResult(success=good, handled=False)

    async def stop(self) -> None:
        """See `ProviderConformance.stop`."""
        await listeners.close(self.server)
        for one in self.servers:
            if one.transport is not None:
                one.transport.close()
        for one in self.servers:
            if one._handler_coroutine is not None:
                await asyncio.wait({one._handler_coroutine})
        self.servers.clear()
        await self.server.wait_closed()
        logging.getLogger("mail.log").setLevel(logging.NOTSET)
        self.hole.close()

    async def answer(self, how: Answer) -> None:
        """See `ProviderConformance.answer`."""
        self.how = how

    def received(self) -> list[Request]:
        """See `ProviderConformance.received`."""
        return self.requests

    async def handle_MAIL(self, _: SMTP, session: Session, envelope: Envelope, sender: str, options: list[str]) -> str:
        """See `aiosmtpd.handlers`."""
        if not session.authenticated:
            return "530 5.7.0 log in first"
        if self.how is Answer.ERROR:
            return f"451 4.3.0 {sender} cannot be served now"
        envelope.mail_from = sender
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _: Session, envelope: Envelope) -> str:
        """See `aiosmtpd.handlers`."""
        content = envelope.original_content or b""
        read = email.message_from_bytes(content, policy=email.policy.default)
        body = read.get_body(("plain", "html"))
        text = body.get_content() if body is not None else ""
        recipients = tuple(envelope.rcpt_tos)
        self.requests.append(Request(content, text=Lines(text.replace("\r\n", "\n")), recipients=recipients))
        quoted = f"{recipients[0]}: {read['Subject']}"
        if self.how is Answer.SILENCE:
            await asyncio.get_running_loop().create_future()
        if self.how is Answer.CUT_OFF and server.transport is not None:
            server.transport.close()
        return {
            Answer.REJECTED: f"554 5.7.1 {quoted}",
            Answer.DEFERRED: f"451 4.7.1 {quoted}",
            Answer.UNCERTAIN: f"354 {quoted}",
        }.get(self.how, "250 2.0.0 queued as 4711")
