"""Posts events to one receiver, and says what its answers mean."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import aiohttp

from postwire.config.notify import NotifyConfig
from postwire.config.providers import CONNECT_TIMEOUT
from postwire.core import standard_webhooks
from postwire.core.event_window import MAX_PAUSE, StateEvent
from postwire.core.outcome import Outcome
from postwire.notify.cloud_events import CONTENT_TYPE, body_of
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse
from postwire.providers.http.sender import CutOff, HttpSender, why_not_reached

_OF_ALL: Final = frozenset({401, 402, 403, 404, 405, 407, 408, 410, 421, 423, 424, 425, 426, 429, 451, 511})
"""Of the statuses from 400 to 499, those that say nothing of one event: the address, the secret or the receiver is not
as it should be, or it is not the time."""

_GONE: Final = 410

BODY_TIMEOUT: Final = 1.0
"""Seconds for the body of an answer, of which nothing is asked. Read whole, it leaves the connection for the next
event; one that does not end must not have the event come again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try. `outcome` is SUCCESS, RATE_LIMITED, REJECTED (this event is refused) or ERROR; `detail` says
    why, with nothing of the address. `pause` is for how many seconds nothing is to be posted, where that was said."""

    outcome: Outcome
    detail: str = ""
    pause: float | None = None


class Poster:
    """One receiver. One request for each call, whatever happens: redirects are not followed, nothing is repeated."""

    def __init__(self, config: NotifyConfig) -> None:
        """Raises OSError where `ca_file` is of no use."""
        self._config = config
        self._sender = HttpSender(
            connect_timeout=min(CONNECT_TIMEOUT, config.timeout),
            body_timeout=min(BODY_TIMEOUT, config.timeout / 2),
            ca_file=config.ca_file,
        )
        self.renew(config)

    def renew(self, config: NotifyConfig) -> None:
        """Sign with the secrets of `config` from now on."""
        self._keys = [
            standard_webhooks.key_of(secret) for secret in (config.secret, config.previous_secret) if secret is not None
        ]

    async def post(self, event: StateEvent, now: int) -> Answer:
        """Post an event; `now` is in µs since the epoch."""
        config = self._config
        body = body_of(event, config.tenant)
        signed = standard_webhooks.signed_headers(self._keys, event.id, now // 1_000_000, body)
        request = HttpRequest("POST", config.url, {"Content-Type": CONTENT_TYPE, **signed}, body)
        try:
            async with asyncio.timeout(config.timeout):
                response = await self._sender.send(request, Handover(event.id))
        except CutOff as error:
            response = HttpResponse(error.status, complete=False)  # the head of an answer says all that is asked
        except (aiohttp.ClientError, OSError) as error:
            return Answer(Outcome.ERROR, why_not_reached(error))
        return answer_of(response, now)

    async def close(self) -> None:
        """Close all connections."""
        await self._sender.close()


def answer_of(response: HttpResponse, now: int) -> Answer:
    """What an answer means. Source: Standard Webhooks, "Delivery success and failure"."""
    status, detail = response.status, f"it answers {response.status}"
    retry_after = response.retry_after(now)
    if 200 <= status < 300:
        return Answer(Outcome.SUCCESS)
    if status == 429 or (status == 503 and retry_after is not None):
        return Answer(Outcome.RATE_LIMITED, detail, retry_after)
    if status == _GONE:  # nobody wants to know any more: asked now and then, until the configuration says so, too
        return Answer(Outcome.ERROR, detail, MAX_PAUSE)
    if 400 <= status < 500 and status not in _OF_ALL:
        return Answer(Outcome.REJECTED, detail)
    return Answer(Outcome.ERROR, detail, retry_after)
