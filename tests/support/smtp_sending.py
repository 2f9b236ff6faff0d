"""Providers of the kind `smtp` for a scripted server, and attempts of theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.smtp_server import SmtpServer

from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.providers.base import Context
from postwire.providers.handover import Handover
from postwire.providers.smtp.provider import SmtpProvider
from postwire.providers.smtp.settings import SmtpSettings

MESSAGE_ID = "01a3a2c5-5800-7000-8000-000000000001"
SENDER = "no-reply@example.org"
CREATED = 1_800_000_000_000_000


def settings(server: SmtpServer, **changes: Any) -> SmtpSettings:
    keys: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "security": "none", "sender": SENDER}
    made = SmtpSettings(**keys | changes)
    made.check()
    return made


@asynccontextmanager
async def provider_of(server: SmtpServer, **changes: Any) -> AsyncIterator[SmtpProvider]:
    made = SmtpProvider(Context("relay", (Channel.EMAIL,), lambda: 1, 10.0), settings(server, **changes))
    try:
        yield made
    finally:
        await made.close()


def mail(*to: str, **fields: Any) -> Email:
    return Email(**{"to": to or ("ada@example.com",), "subject": "Hi", "text": "Hello\n", **fields})


def handover(positions: tuple[int, ...] | None = None) -> Handover:
    return Handover("key", positions, message_id=MESSAGE_ID, created=CREATED, now=CREATED)


async def send(
    provider: SmtpProvider, email: Email | None = None, positions: tuple[int, ...] | None = None
) -> DispatchResult:
    return await provider.send(OutboundMessage(email or mail()), handover(positions))


def verbs(lines: list[str]) -> list[str]:
    """The commands of a connection, without what follows them."""
    return [line.partition(" ")[0] for line in lines]
