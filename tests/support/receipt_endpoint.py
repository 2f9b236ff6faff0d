"""The endpoint of receipts in this process, with readers that a test steers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final

from tests.support.configs import KINDS as MOCKS

from postwire.config.provider_receipts import ProviderReceiptsConfig
from postwire.config.schema import load
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.core.reference import References
from postwire.http_connections import Listener
from postwire.providers.receipts.base import Fetch, Fetched, Forged, ReceiptCall, ReceiptSupport, Unreadable
from postwire.receipts.http import ReceiptApp
from postwire.receipts.readers import Readers
from postwire.receipts.reception import Reception

PUBLIC_URL: Final = "https://hooks.example.com/pw"
REFERENCES: Final = References(b"a key of a test")
MESSAGE_ID: Final = "01890a5d-ac96-774b-bcce-b302099a8057"
REFERENCE: Final = REFERENCES.make(MESSAGE_ID, 1)
RECEIPT: Final = Receipt(ReceiptState.DELIVERED, event_id="e1")


class Reader:
    """Believes calls with the header `x-signature: good`, and reads from them what their body says."""

    refused_status = 401

    def __init__(self, secret: str | None) -> None:
        self.secret = secret
        self.calls: list[ReceiptCall] = []
        self.read_in: list[threading.Thread] = []

    async def verify(self, call: ReceiptCall, fetch: Fetch) -> None:
        self.calls.append(call)
        signature = call.headers.get("x-signature", "")
        if signature == "fetched":
            await fetch("https://example.com/key")
        elif signature == "broken":
            raise TypeError("a reader that fails at what it is given")
        elif signature != "good":
            raise Forged("signature" if signature else "missing")

    def read(self, call: ReceiptCall, now: int) -> Sequence[Receipt | Inbound]:
        self.read_in.append(threading.current_thread())
        body = call.body.strip()
        if body == b"unreadable":
            raise Unreadable("it is not JSON")
        if body == b"broken":
            raise KeyError("a reader that fails at what it is given")
        if body == b"inbound":
            return [Inbound("+1", "+2", "STOP")]
        return [] if body == b"unused" else [RECEIPT]


class NotAcceptable(Reader):
    """One that tells a vendor with 406 not to come again."""

    refused_status = 406


def _make(cls: type[Reader]) -> Any:
    def make(_: Any, table: ProviderReceiptsConfig) -> Reader | None:
        return cls(table.secret) if table.secret != "none" else None

    return make


KINDS: Final = {
    "mock": replace(MOCKS["mock"], receipts=None),
    "signing": replace(MOCKS["mock"], receipts=ReceiptSupport(("secret",), _make(Reader))),
    "other": replace(MOCKS["mock"], receipts=ReceiptSupport(("secret",), _make(NotAcceptable))),
}

TOML: Final = """
[receipts]
listen = "127.0.0.1:0"
public_url = "https://hooks.example.com/pw"
[providers.one]
kind = "signing"
channels = ["sms"]
[providers.two]
kind = "other"
channels = ["sms"]
[providers.silent]
kind = "mock"
channels = ["sms"]
[providers.open]
kind = "signing"
channels = ["sms"]
[providers.open.receipts]
secret = "none"
"""


class Endpoint:
    """A listener, and what became of the calls: `kept`, by provider, and `refused`, by provider and reason."""

    def __init__(self, folder: Path, tls: SSLContext | None = None) -> None:
        (folder / "postwire.toml").write_text(TOML, encoding="utf-8")
        self.config = load(path=None, environ={}, kinds=KINDS, cwd=folder)
        self.readers = Readers(self.config, KINDS)
        self.kept: list[tuple[str, Receipt | Inbound]] = []
        self.refused: list[tuple[str, str]] = []
        self.faults: list[Exception] = []
        self.may_keep = asyncio.Event()
        self.may_keep.set()
        self.keeping = asyncio.Semaphore(0)
        self.trouble: Exception | None = None
        self.fetched: Exception | None = None
        self.reception = Reception(
            self.readers, REFERENCES, keep=self._keep, fetch=self._fetch, observer=self, on_fault=self.faults.append
        )
        self.app = ReceiptApp(self.reception, PUBLIC_URL, lambda: 1_700_000_000_000_000)
        self.listener = Listener(self.app.app, tls)
        self.port = self.listener.listen("127.0.0.1", 0)

    def receipt_refused(self, provider_name: str, reason: str) -> None:
        self.refused.append((provider_name, reason))

    def calls(self, name: str = "one") -> list[ReceiptCall]:
        """Those that a provider's reader was asked about."""
        reader: Any = self.readers.of(name)
        calls: list[ReceiptCall] = reader.calls
        return calls

    def read_in(self) -> list[threading.Thread]:
        """In which threads the calls of `one` were read."""
        reader: Any = self.readers.of("one")
        threads: list[threading.Thread] = reader.read_in
        return threads

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def call(
        self, target: str = "/receipts/one", body: bytes = b"{}", *, method: str = "POST", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Call once; returns the status, the headers by names in lower case, and the body."""
        reader, writer = await self.connect()
        writer.write(request(target, body, method=method, **headers))
        try:
            return await answer_of(reader)
        finally:
            writer.close()

    async def _keep(self, provider_name: str, reported: Sequence[Receipt | Inbound]) -> None:
        self.keeping.release()
        await self.may_keep.wait()
        if self.trouble:
            raise self.trouble
        self.kept += [(provider_name, one) for one in reported]

    async def _fetch(self, url: str) -> Fetched:
        if self.fetched:
            raise self.fetched
        return Fetched(200, b"a key")


def request(target: str, body: bytes, *, method: str = "POST", **headers: str) -> bytes:
    """A call, as bytes; it is signed unless a signature is given."""
    sent = {"host": "elsewhere.example.com", "content_length": str(len(body)), "x_signature": "good"} | headers
    lines = [f"{method} {target} HTTP/1.1", *(f"{key.replace('_', '-')}: {value}" for key, value in sent.items())]
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(status.split()[1]), headers, body


@asynccontextmanager
async def opened(folder: Path, tls: SSLContext | None = None) -> AsyncIterator[Endpoint]:
    """An endpoint that is open."""
    endpoint = Endpoint(folder, tls)
    endpoint.listener.start()
    try:
        yield endpoint
    finally:
        endpoint.may_keep.set()
        await endpoint.listener.stop(5.0)
        await endpoint.reception.stop(5.0)
