"""The provider of docs/providers.md, beyond what its package is held to by its own `ProviderConformance`."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web
from tests.support.build import sms
from tests.support.waiting import within

from postwire.core.message import Channel, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.delivery import attempt
from postwire.providers.base import Context, ProviderHealth
from postwire.providers.handover import Handover

FILE = Path(__file__).parents[2] / "docs/examples/acme/postwire_acme.py"
MESSAGE = OutboundMessage(sms("A secret body"))
LONG = 3600.0

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@pytest.fixture(scope="module")
def acme() -> Any:
    spec = importlib.util.spec_from_file_location("postwire_acme", FILE)
    assert spec
    assert spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules["postwire_acme"] = module  # where its dataclass looks for its types
    spec.loader.exec_module(module)
    yield module
    del sys.modules["postwire_acme"]


class Api:
    """Answers as a test says, on a port of this machine."""

    url: str

    def __init__(self) -> None:
        self.answer: Answer = self.take
        self.requests: list[web.BaseRequest] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        return await self.answer(request)

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"id": "a-1"}, status=201)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    made = Api()
    runner = web.ServerRunner(web.Server(made.handle), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def provider(acme: Any, api: Any) -> AsyncIterator[Any]:
    made = acme.KIND.make(Context("phone", (Channel.SMS,), lambda: 1), acme.AcmeSettings(url=api.url, token="4711"))
    yield made
    await made.close()


async def send(provider: Any, seconds: float = LONG) -> DispatchResult:
    loop = asyncio.get_running_loop()
    return await within(attempt.send(provider, MESSAGE, Handover("the-key"), loop, seconds))


def answering(status: int, body: object = None, **headers: str) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("status", "body", "headers", "result"),
    [
        (201, {"id": "a-1"}, {}, DispatchResult(Outcome.SUCCESS, provider_message_id="a-1")),
        (202, "odd", {}, DispatchResult(Outcome.SUCCESS)),
        (429, {}, {"Retry-After": "7"}, DispatchResult(Outcome.RATE_LIMITED, retry_after=7.0)),
        (429, {}, {"Retry-After": "soon"}, DispatchResult(Outcome.RATE_LIMITED)),
        (400, {"code": "opted_out", "to": "+1"}, {}, DispatchResult(Outcome.REJECTED, error_code="opted_out")),
        (400, {"code": "+12025550101"}, {}, DispatchResult(Outcome.ERROR, error_code="http_400", provider_fault=False)),
        (302, {}, {"Location": "/"}, DispatchResult(Outcome.UNCERTAIN, error_code="http_302")),
    ],
)
async def test_every_answer_is_a_result(
    provider: Any, api: Api, status: int, body: object, headers: dict[str, str], result: DispatchResult
) -> None:
    api.answer = answering(status, body, **headers)
    assert await send(provider) == result
    assert len(api.requests) == 1, "one request an attempt"


async def test_a_check_says_that_the_token_is_refused(provider: Any, api: Api) -> None:
    api.answer = answering(401)
    assert await provider.check() == ProviderHealth(ok=False, detail="Acme answers 401", misconfigured=True)


async def test_a_check_says_that_nobody_listens(acme: Any) -> None:
    closed = acme.KIND.make(
        Context("phone", (Channel.SMS,), lambda: 1), acme.AcmeSettings(url="http://127.0.0.1:1", token="4711")
    )
    health = await closed.check()
    assert (health.ok, health.detail) == (False, "not reached: ClientConnectorError")
    await closed.close()


def test_an_address_that_is_none_is_refused(acme: Any) -> None:
    with pytest.raises(ValueError, match=r"^url: must be an address"):
        acme.AcmeSettings(url="acme", token="t").check()
    assert "4711" not in repr(acme.AcmeSettings(url="http://a", token="4711"))
