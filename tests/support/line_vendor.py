"""A vendor who takes a line of JSON for each message, somewhere on this machine, and a provider that sends by it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from tests.support import listeners

from postwire.config.bind import setting
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context, Kind, Provider, ProviderHealth
from postwire.providers.handover import Handover
from postwire.testing import Answer, BlackHole, ProviderConformance, Request

MAX_LINE: Final = 8 * 1024 * 1024
TOKEN: Final = "t0ken-of-ours"


@dataclass(frozen=True, slots=True)
class LineSettings:
    """Keys of the kind."""

    port: int = setting(help="Where it listens.")
    token: str = setting(help="What it knows us by.", secret=True)


class LineProvider:
    """One line there and one back, on a connection that the next call uses again."""

    kind: Final = "line"
    dedup_window: Final = 60.0

    def __init__(self, context: Context, settings: LineSettings) -> None:
        self.name, self.channels = context.name, context.channels
        self._connect_timeout, self._settings = context.connect_timeout, settings
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._all: set[asyncio.StreamWriter] = set()

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """See `Provider.send`."""
        line = json.dumps(self.request(message, handover)).encode() + b"\n"
        try:
            with handover.connecting():
                reader, writer = await self._connection()
            try:
                writer.write(line)
                answer = await reader.readline()
            except BaseException:
                self._drop(writer)
                raise
        except OSError as error:
            if handover.is_before(error):
                raise
            answer = b""
        if not answer:
            self._drop(writer)
            return DispatchResult(Outcome.UNCERTAIN, error_code="cut_off")
        self._idle.append((reader, writer))
        return self.verdict(json.loads(answer))

    def request(self, message: OutboundMessage, handover: Handover) -> dict[str, Any]:
        """What the vendor is told."""
        content, positions = message.content, handover.positions
        reported = {"token": self._settings.token, "key": handover.key}
        if not isinstance(content, Email):
            return reported | {"to": [content.to], "text": content.body}
        to = content.recipients
        if positions is not None:
            to = tuple(to[position] for position in positions)
        return reported | {"to": list(to), "text": content.text}

    def verdict(self, answer: dict[str, Any]) -> DispatchResult:
        """What an answer means."""
        outcome = Outcome(answer["code"])
        return DispatchResult(outcome, provider_message_id=answer.get("id", ""), error_code=answer["code"])

    async def check(self) -> ProviderHealth:
        """See `Provider.check`."""
        _, writer = await self._connection()
        self._drop(writer)
        return ProviderHealth(ok=True)

    def renew(self, settings: LineSettings) -> None:
        """See `Renewable.renew`."""
        self._settings = settings

    async def close(self) -> None:
        """See `Closing.close`."""
        for writer in list(self._all):
            self._drop(writer)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            self._drop(writer)
        async with asyncio.timeout(self._connect_timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._settings.port)
        self._all.add(writer)
        return reader, writer

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._all.discard(writer)
        writer.close()


KIND: Final = Kind(
    settings=LineSettings, make=LineProvider, channels=(Channel.SMS, Channel.EMAIL), summary="Lines of JSON."
)


class LineConformance(ProviderConformance):
    """Plays the vendor. What is derived from it makes the provider, or has it made from `KIND`."""

    kind = "line"
    declared = KIND
    secrets = (TOKEN,)
    make_from: Any = LineProvider

    def prepare(self) -> None:
        """See `ProviderConformance.prepare`."""
        self._how = Answer.SUCCESS
        self._port = 0
        self._requests: list[Request] = []

    def make(self, context: Context) -> Provider:
        """See `ProviderConformance.make`."""
        port = self._hole.port if self._how is Answer.UNREACHABLE else self._port
        made: Provider = self.make_from(context, LineSettings(port, TOKEN))
        return made

    async def start(self) -> None:
        """See `ProviderConformance.start`."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._hole = BlackHole()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=MAX_LINE)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """See `ProviderConformance.stop`."""
        await listeners.close(self._server)
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()
        self._hole.close()

    async def answer(self, how: Answer) -> None:
        """See `ProviderConformance.answer`."""
        self._how = how

    def received(self) -> list[Request]:
        """See `ProviderConformance.received`."""
        return self._requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                asked = json.loads(line)
                email = "@" in asked["to"][0]
                recipients = tuple(asked["to"]) if email else None
                self._requests.append(Request(line, asked["key"], asked["text"], recipients))
                if self._how is Answer.SILENCE:
                    await reader.read()
                if self._how in (Answer.SILENCE, Answer.CUT_OFF):
                    return
                answer = {"code": self._how.value, "words": f"{asked['to'][0]}: {asked['text']}"}
                if self._how is Answer.SUCCESS:
                    answer["id"] = f"line-{asked['key']}"
                writer.write(json.dumps(answer).encode() + b"\n")
        except OSError:
            pass  # the provider has gone
        finally:
            self._writers.discard(writer)
            writer.close()
