"""A vendor that takes messages of any node over HTTP, writes them down, and reports later to any node."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook
from tests.nodes.ledger import Handed, Ledger, Reported, attempt_of
from tests.nodes.served import REQUEST_ID
from tests.support.receipt_vendors import SECRET
from tests.support.waiting import PATIENCE

from postwire.core.outcome import Outcome

ANSWERS: Final = {
    Outcome.SUCCESS: 0.84,
    Outcome.ERROR: 0.06,
    Outcome.RATE_LIMITED: 0.02,
    Outcome.REJECTED: 0.04,
    Outcome.UNCERTAIN: 0.04,
}
"""How often it answers what."""

LATENCY: Final = (0.005, 0.15)
"""Seconds until it does: there is to be something under way whenever a node ends."""

PAUSE: Final = 0.1
"""Seconds until it tries again to bring a receipt."""


class HttpVendor:
    """Providers of the kind `webhook`, by the last part of their addresses. `nodes` gives the addresses at which
    receipts are taken just now.

    While it `is_well` it takes every message at once; while it is not `is_free` it answers none; while it `reports` it
    says later what has become of some.
    """

    def __init__(self, ledger: Ledger, nodes: Callable[[], list[str]], seed: int) -> None:
        self.is_well = False
        self.reports = True
        self.is_free = asyncio.Event()
        self.is_free.set()
        self.came = asyncio.Condition()
        self.unreported: list[str] = []
        """The ids of the messages whose receipts no node has taken yet."""
        self._ledger = ledger
        self._nodes = nodes
        self._random = random.Random(seed)
        self._runner = web.AppRunner(self._app(), access_log=None)
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def start(self) -> None:
        """Listen at a free port."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3.0))

    async def has(self, message_id: str, count: int = 1) -> None:
        """Return once a message has come so often."""
        async with self.came, asyncio.timeout(PATIENCE):
            await self.came.wait_for(lambda: len(self.calls(message_id)) >= count)

    def calls(self, message_id: str) -> list[Handed]:
        """How a message has come."""
        return [one for one in self._ledger.handed if one.message_id == message_id]

    async def stop(self) -> None:
        """End it."""
        self.is_free.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session:
            await self._session.close()
        await self._runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{node}/{provider}", self._take)
        app.router.add_route("OPTIONS", "/{node}/{provider}", self._probe)
        return app

    async def _probe(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _take(self, request: web.Request) -> web.Response:
        value = await request.json()
        answer = self._answer()
        message_id, attempt = attempt_of(value["reference"])
        provider = request.match_info["provider"]
        # What it answers is what it has done, whoever is there to hear it.
        count = len(value.get("recipients", ("one",)))
        self._ledger.handed.append(
            Handed(
                message_id,
                attempt,
                provider,
                value["labels"][REQUEST_ID],
                time.time_ns(),
                dict.fromkeys(range(count), answer),
                request.match_info["node"],
            )
        )
        async with self.came:
            self.came.notify_all()
        await self.is_free.wait()
        if not self.is_well:
            await asyncio.sleep(self._random.uniform(*LATENCY))
        if answer is Outcome.SUCCESS and self.reports:
            self._report_later(provider, value)
        return _RESPONSES[answer](value["message_id"])

    def _answer(self) -> Outcome:
        if self.is_well:
            return Outcome.SUCCESS
        return self._random.choices(list(ANSWERS), list(ANSWERS.values()))[0]

    def _report_later(self, provider: str, value: dict[str, Any]) -> None:
        draw = self._random.random()
        state = "delivered" if draw < 0.5 else "undelivered" if draw < 0.6 else ""
        if state and "callback_url" in value:
            self.unreported.append(attempt_of(value["reference"])[0])
            task = asyncio.create_task(self._report(provider, value["callback_url"], value["reference"], state))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _report(self, provider: str, callback_url: str, reference: str, state: str) -> None:
        """Bring a receipt until some node takes it, as vendors do."""
        path = "/" + callback_url.split("/", 3)[3]
        body = json.dumps({"reference": reference, "state": state, "event_id": f"{reference}/{state}"})
        await asyncio.sleep(self._random.uniform(0.0, 0.3))
        while True:
            for node in self._random.sample(nodes := self._nodes(), len(nodes)):
                if await self._bring(node + path, body):
                    message_id, attempt = attempt_of(reference)
                    self._ledger.reported.append(Reported(provider, message_id, attempt, state))
                    self.unreported.remove(message_id)
                    return
            await asyncio.sleep(PAUSE)

    async def _bring(self, url: str, body: str) -> bool:
        assert self._session
        event, now = f"e{self._random.getrandbits(64):x}", int(time.time())
        signature = Webhook(SECRET).sign(event, datetime.fromtimestamp(now, UTC), body)
        headers = {"webhook-id": event, "webhook-timestamp": str(now), "webhook-signature": signature}
        try:
            async with self._session.post(url, data=body, headers=headers) as response:
                self._ledger.other[f"receipt: {response.status}"] += 1
                return response.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError):
            self._ledger.other["receipt: broken off"] += 1
            return False


_RESPONSES: Final[dict[Outcome, Callable[[str], web.Response]]] = {
    Outcome.SUCCESS: lambda key: web.json_response({"id": f"v-{key}"}),
    Outcome.ERROR: lambda key: web.Response(status=400),
    Outcome.RATE_LIMITED: lambda key: web.Response(status=429, headers={"Retry-After": "1"}),
    Outcome.REJECTED: lambda key: web.json_response({"error_code": "no"}, status=422),
    Outcome.UNCERTAIN: lambda key: web.Response(status=500),
}
