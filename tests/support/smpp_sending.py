"""Providers of the kind `smpp` and a message centre of tests: opened, closed, and asked to send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.support.smsc import PASSWORD, SYSTEM_ID, Smsc

from postwire.core.message import Channel, OutboundMessage, Sms
from postwire.core.outcome import DispatchResult
from postwire.core.receipts import Inbound, Receipt
from postwire.providers.base import Context
from postwire.providers.handover import Handover
from postwire.providers.smpp.provider import SmppProvider
from postwire.providers.smpp.settings import SmppSettings

TO, LONG = "+15005550187", "\U0001f600" * 100
"""A number; a text of four parts, whose characters take two units each."""


class Kept:
    """Keeps what is reported, unless it cannot."""

    def __init__(self) -> None:
        self.found: list[Receipt | Inbound] = []
        self.error: Exception | None = None
        self.hold: asyncio.Event | None = None

    async def report(self, reported: Sequence[Receipt | Inbound]) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        self.found += reported


def made(smsc: Smsc, kept: Kept | None = None, *, connect_timeout: float = 10.0, **settings: Any) -> SmppProvider:
    chosen: dict[str, Any] = {"port": smsc.port, "password": PASSWORD, "sender": "+15005550006"} | settings
    context = Context("tried", (Channel.SMS,), lambda: 1, connect_timeout, (kept or Kept()).report)
    return SmppProvider(context, SmppSettings(host="127.0.0.1", system_id=SYSTEM_ID, **chosen))


@asynccontextmanager
async def opened(smsc: Smsc, kept: Kept | None = None, **settings: Any) -> AsyncIterator[SmppProvider]:
    provider = made(smsc, kept, **settings)
    try:
        health = await provider.open()
        assert health.ok, health.detail
        yield provider
    finally:
        await provider.close()


def send(provider: SmppProvider, body: str = "Hello") -> asyncio.Task[DispatchResult]:
    message = OutboundMessage(Sms(TO, body))
    return asyncio.ensure_future(
        provider.send(message, Handover("key", message_id="01a3a2c5-5800-7000-8000-000000000001"))
    )
