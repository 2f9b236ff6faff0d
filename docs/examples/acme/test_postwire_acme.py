"""The provider against Acme's API, as its documentation has it, on a port of this machine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web
from postwire_acme import KIND, AcmeSettings

from postwire.providers.base import Context, Provider
from postwire.testing import Answer, BlackHole, ProviderConformance, Request

TOKEN = "acme-token-4711"

ANSWERS: dict[Answer, tuple[int, dict[str, Any]]] = {
    Answer.SUCCESS: (201, {"id": "a-1"}),
    Answer.RATE_LIMITED: (429, {"code": "too_many_requests"}),
    Answer.ERROR: (409, {"code": "no_route"}),
    Answer.REJECTED: (422, {"code": "invalid_number"}),
    Answer.UNCERTAIN: (502, {}),
    Answer.MISCONFIGURED: (401, {"code": "unknown_token"}),
}


class TestAcme(ProviderConformance):
    kind = "acme"
    declared = KIND
    secrets = (TOKEN,)
    answers = frozenset(Answer) - {Answer.DEFERRED}  # Acme never asks to come again later

    def prepare(self) -> None:
        self.requests: list[Request] = []
        self.port = 0

    def make(self, context: Context) -> Provider:
        port = self.hole.port if self.how is Answer.UNREACHABLE else self.port
        return KIND.make(context, AcmeSettings(url=f"http://127.0.0.1:{port}", token=TOKEN))

    async def start(self) -> None:
        self.stopping = asyncio.Event()
        self.hole = BlackHole()
        self.runner = web.ServerRunner(web.Server(self.handle, access_log=None))
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        self.stopping.set()
        self.hole.close()
        await self.runner.cleanup()

    async def answer(self, how: Answer) -> None:
        self.how = how

    def received(self) -> list[Request]:
        return self.requests

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.method == "POST":
            self.requests.append(Request(body, request.headers["Idempotency-Key"], json.loads(body)["text"]))
        if self.how is Answer.SILENCE:
            await self.stopping.wait()
        if self.how in (Answer.SILENCE, Answer.CUT_OFF) and request.transport is not None:
            request.transport.close()
        status, answer = ANSWERS.get(self.how, (500, {}))
        if request.path == "/account" and status == 201:
            status = 200
        quoted = f"cannot process {body.decode()}"  # as vendors do: of what they say, only codes may be kept
        return web.json_response(answer | {"message": quoted}, status=status)
