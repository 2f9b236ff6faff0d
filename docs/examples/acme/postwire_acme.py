"""Acme as a kind of provider: SMS by an HTTP API that takes JSON."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import aiohttp

from postwire.config.bind import setting
from postwire.core import Channel, DispatchResult, OutboundMessage, Outcome, Sms
from postwire.providers.base import Context, Kind, ProviderHealth
from postwire.providers.handover import Handover

REJECTED: Final = frozenset({"invalid_number", "opted_out"})
"""Acme's codes for what no repeat would change."""


@dataclass(frozen=True, slots=True)
class AcmeSettings:
    """Keys of `[providers.NAME]` beside those that every provider has."""

    url: str = setting(help="Where Acme's API is.")
    token: str = setting(help="What Acme knows us by.", secret=True)
    sender: str = setting("Acme", help="Who messages are from that do not say so themselves.")

    def check(self) -> None:
        """Raises ValueError, led by a key, for what one field alone cannot tell."""
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("url: must be an address such as https://api.acme.example")


class AcmeProvider:
    """Hands each message over once. Limits, time-outs, retries and routes are Postwire's."""

    kind: Final = "acme"
    dedup_window: Final = 24 * 3600.0  # Acme knows an Idempotency-Key for a day

    def __init__(self, context: Context, settings: AcmeSettings) -> None:
        self.name = context.name
        self.channels = context.channels
        self._settings = settings
        self._connect_timeout = context.connect_timeout
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """See `Provider.send`."""
        sms = message.content
        assert isinstance(sms, Sms)  # it carries nothing else
        body = {"to": sms.to, "text": sms.body, "from": sms.sender or self._settings.sender}
        headers = {"Idempotency-Key": handover.key}
        try:
            with ExitStack() as before:
                before.enter_context(handover.connecting())  # until the request leaves: see `_leaving`
                request = self._client().post(
                    f"{self._settings.url}/messages",
                    json=body,
                    headers=headers,
                    allow_redirects=False,
                    trace_request_ctx=before,
                )
                async with request as response:
                    return _verdict(response.status, response.headers, await _json(response))
        except aiohttp.ClientError as error:
            if handover.is_before(error):
                raise  # Postwire makes an `ERROR` of it: surely not sent, so another provider is asked
            return DispatchResult(Outcome.UNCERTAIN, error_code="cut_off", detail="the connection was cut off")

    async def check(self) -> ProviderHealth:
        """See `Provider.check`: asks who we are, and sends nothing."""
        try:
            async with self._client().get(f"{self._settings.url}/account") as response:
                if response.status == 200:
                    return ProviderHealth(ok=True)
                refused = response.status in (401, 403)
                return ProviderHealth(ok=False, detail=f"Acme answers {response.status}", misconfigured=refused)
        except aiohttp.ClientError as error:
            return ProviderHealth(ok=False, detail=f"not reached: {type(error).__name__}")  # its text has the address

    async def close(self) -> None:
        """See `Closing.close`."""
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:  # a session belongs to a running loop, and there is none while a provider is made
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_leaving)
            self._session = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {self._settings.token}"},
                connector=aiohttp.TCPConnector(limit=0),  # max_concurrent is the limit
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
                trace_configs=[trace],
            )
        return self._session


async def _leaving(_session: object, context: SimpleNamespace, _sent: object) -> None:
    """From here on the message may arrive, whatever becomes of the request."""
    if context.trace_request_ctx is not None:  # as it is for a check
        context.trace_request_ctx.close()


async def _json(response: aiohttp.ClientResponse) -> Mapping[str, Any]:
    try:
        answer = await response.json(content_type=None)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _verdict(status: int, headers: Mapping[str, str], answer: Mapping[str, Any]) -> DispatchResult:
    """What an answer of Acme's means. Of what it says, only codes are kept: the rest may name the recipient."""
    if status in (200, 201, 202):
        return DispatchResult(Outcome.SUCCESS, provider_message_id=str(answer.get("id", "")))
    if status == 429:
        wait = headers.get("Retry-After", "")
        return DispatchResult(Outcome.RATE_LIMITED, retry_after=float(wait) if wait.isdecimal() else None)
    if status in (401, 403):
        return DispatchResult(Outcome.MISCONFIGURED, error_code=f"http_{status}", detail="Acme refuses the token")
    if (code := answer.get("code")) in REJECTED:
        return DispatchResult(Outcome.REJECTED, error_code=code)
    if 400 <= status < 500:  # of no use to repeat it here, and no reason to leave Acme alone
        return DispatchResult(Outcome.ERROR, error_code=f"http_{status}", provider_fault=False)
    return DispatchResult(Outcome.UNCERTAIN, error_code=f"http_{status}")


KIND: Final = Kind(
    settings=AcmeSettings,
    make=AcmeProvider,
    channels=(Channel.SMS,),
    summary="Acme, by its HTTP API.",
    max_concurrent=20,  # at once is what Acme allows an account
)
