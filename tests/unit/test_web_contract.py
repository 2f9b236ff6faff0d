"""Bodies of calls over HTTP: those of strangers take no room from those who may call."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from unittest.mock import AsyncMock

import pytest
from tests.support.access import access_of, declared, made_key
from tests.support.waiting import within

from postwire.api.guard import Calls, Guard
from postwire.http_body import SMALL_BODY
from postwire.v1 import provider_service_pb2 as pb
from postwire.web import contract as contract_module
from postwire.web.contract import CONTENT_TYPES, Contract
from postwire.web.responses import Event, Scope, Sending

SERVICE: Final = "postwire.v1.ProviderService"
ROOM: Final = 8 * SMALL_BODY
BODY: Final = json.dumps({"name": "sms-mms"}).encode() + b" " * SMALL_BODY


class Caller:
    """One call: `status` is that of its answer."""

    def __init__(self, contract: Contract, key: str, body: bytes, *, length: str = "", is_whole: bool = True) -> None:
        headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {key}".encode())]
        if length:
            headers.append((b"content-length", length.encode()))
        self._scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": f"/{SERVICE}/GetProvider",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
        }
        self._contract = contract
        self._events: list[Event] = [{"type": "http.request", "body": body, "more_body": not is_whole}]
        self.waits = asyncio.Event()
        self.status = 0

    async def call(self) -> int:
        await self._contract.answer(
            CONTENT_TYPES["application/json"], self._scope, self._receive, Sending(self._send, lambda: False)
        )
        return self.status

    async def _receive(self) -> Event:
        if self._events:
            return self._events.pop()
        self.waits.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, event: Event) -> None:
        self.status = event.get("status", self.status)


@pytest.mark.parametrize("length", ["", str(len(BODY))])
async def test_strangers_with_large_bodies_take_no_room_from_those_who_may_call(
    monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    monkeypatch.setattr(contract_module, "LEAST_ROOM", ROOM)
    key, faults = made_key(), list[Any]()
    servicer = AsyncMock()
    servicer.GetProvider.return_value = pb.GetProviderResponse()
    guard = Guard(Calls(), [], access_of(declared(key, "acme", "operate")))
    contract = Contract(guard, {SERVICE: servicer}, SMALL_BODY, faults.append)
    slow = Caller(contract, "pw_nobody", b" " * ROOM, is_whole=False)
    task = asyncio.create_task(slow.call())
    await within(slow.waits.wait())
    assert await within(Caller(contract, "pw_nobody", BODY).call()) == 503
    assert await within(Caller(contract, key.text, BODY, length=length).call()) == 200
    assert await within(Caller(contract, "pw_nobody", b"{}", length="2").call()) == 401, "what is small has room"
    task.cancel()
    await asyncio.wait([task])
    assert not faults
