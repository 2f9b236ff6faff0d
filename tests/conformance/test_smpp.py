"""The kind `smpp`, against a message centre of ours."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from tests.support.smsc import PASSWORD, SYSTEM_ID, Reply, Smsc, Submitted

from postwire.providers.base import Context, Provider
from postwire.providers.smpp.pdu import Status
from postwire.providers.smpp.provider import KIND
from postwire.providers.smpp.settings import SmppSettings
from postwire.testing import Answer, BlackHole, ProviderConformance, Request
from postwire.testing.attempts import until

REPLIES = {
    Answer.RATE_LIMITED: Reply(Status.ESME_RTHROTTLED),
    Answer.ERROR: Reply(Status.ESME_RSYSERR),
    Answer.REJECTED: Reply(Status.ESME_RINVDSTADR),
    Answer.MISCONFIGURED: Reply(Status.ESME_RINVSYSTYP),
    Answer.SILENCE: Reply(silent=True),
    Answer.CUT_OFF: Reply(cut=True),
}
TRIED = 1.0
"""Seconds to connect, at least: the connection to this machine is made in them, for sure."""


class TestSmpp(ProviderConformance):
    kind = "smpp"
    declared = KIND
    secrets = (PASSWORD,)
    # A message centre does not put messages off, and what of its answers says nothing is an answer all the same.
    answers = frozenset(Answer) - {Answer.DEFERRED, Answer.UNCERTAIN}

    def prepare(self) -> None:
        """See `ProviderConformance.prepare`."""
        self.smsc = Smsc()
        self.hole: BlackHole | None = None
        self.provider: Any = None
        self.is_there = False

    def make(self, context: Context) -> Provider:
        """See `ProviderConformance.make`."""
        settings = SmppSettings(
            host="127.0.0.1",
            port=self.smsc.port,
            system_id=SYSTEM_ID,
            password=PASSWORD,
            sender="+15005550006",
            window=100,
        )
        made = self.provider = KIND.make(
            replace(context, connect_timeout=max(TRIED, context.connect_timeout)), settings
        )
        return made

    async def start(self) -> None:
        """See `ProviderConformance.start`."""
        await self.smsc.start()
        self.is_there = True

    async def stop(self) -> None:
        """See `ProviderConformance.stop`."""
        if self.hole is not None:
            self.hole.close()
            self.hole = None
        if self.is_there:
            await self.smsc.stop()
            self.is_there = False
            if self.provider is not None:
                await until(lambda: not self.provider._binds._up, "the end of a connection was not seen")

    async def answer(self, how: Answer) -> None:
        """See `ProviderConformance.answer`."""
        if how is Answer.UNREACHABLE and self.is_there and self.provider is not None:
            await self.stop()
            self.hole = _hole_at(self.smsc.port)
        elif how is not Answer.UNREACHABLE and not self.is_there:
            await self.stop()
            await self.start()
        self.smsc.reply = REPLIES.get(how, Reply())

    def received(self) -> list[Request]:
        """See `ProviderConformance.received`."""
        messages: dict[tuple[int, bytes], list[Submitted]] = {}
        found: list[list[Submitted]] = []
        for one in self.smsc.submitted:
            header = one.body.short_message[:5] if one.body.esm_class & 0x40 else b""
            if not header or len(messages.get((one.connection, header), [])) == header[4]:
                messages.pop((one.connection, header), None)
            if not header:
                found.append([one])
            elif (parts := messages.get((one.connection, header))) is not None:
                parts.append(one)
            else:
                messages[one.connection, header] = parts = [one]
                found.append(parts)
        return [_request(parts) for parts in found]


def _request(parts: list[Submitted]) -> Request:
    parts.sort(key=lambda one: one.body.short_message[5] if one.body.esm_class & 0x40 else 0)
    return Request(b"".join(one.pdu.body for one in parts), text="".join(one.text for one in parts))


def _hole_at(port: int) -> BlackHole:
    """A hole where somebody else has listened."""
    hole = BlackHole()
    hole.close()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(0)
    hole._sockets.append(listener)
    for _ in range(4):
        waiting = socket.socket()
        hole._sockets.append(waiting)
        waiting.setblocking(False)
        waiting.connect_ex(("127.0.0.1", port))
    return hole
