"""What a vendor is to the sender, and the provider that is made of one."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import aiohttp

from postwire.config.bind import entries, setting
from postwire.config.ca_file import check_ca_file
from postwire.config.masking import MASK, masked
from postwire.core.errors import FieldViolation
from postwire.core.message import OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context, Preview, Provider, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.http.messages import HttpRequest, HttpResponse
from postwire.providers.http.sender import CutOff, HttpSender, ProxyRefused, why_not_reached
from postwire.providers.http.verdicts import TAKEN
from postwire.providers.pieces import whole

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)  # without slots: kinds derive from several such classes
class HttpSettings:
    """Keys of every kind that calls a vendor over HTTP."""

    ca_file: str | None = setting(None, help="A file of authorities to trust, in place of the system's.")
    proxy: str | None = setting(None, help="A proxy to go through, as http://user:password@host:port.", secret=True)

    def check(self) -> None:
        """Raises ValueError, led by a key, where the file or a secret is of no use, or a key is empty."""
        check_ca_file(self.ca_file)
        for entry in entries(type(self)):
            value = getattr(self, entry.name)
            if value == "" and (entry.secret or entry.optional):  # the others have checks of their own
                raise ValueError(f"{entry.name}: is empty")
            if entry.secret and isinstance(value, str) and _CONTROL.search(value):
                # No request could be made with it, and each attempt would seem to have been cut short.
                raise ValueError(f"{entry.name}: has a control character, such as the end of a line")


class VendorNotReady(Exception):
    """What a vendor needs for a request cannot be had now. Its text holds no secret."""


class HttpVendor(Protocol):
    """One vendor, made from its settings: what it is sent, and what its answers mean. No I/O, and no state.

    One that has to get something before it can make a request, such as a token, may have `async def prepare(self)`
    beside these, which is called before each of them and raises `VendorNotReady`. One whose request has an email in
    base64 may have `mime(message, handover)`, for who wants to read it.
    """

    def request(self, message: OutboundMessage, handover: Handover) -> HttpRequest:
        """Return what hands `message` over. Called once for each attempt."""
        ...

    def verdict(self, message: OutboundMessage, response: HttpResponse, handover: Handover) -> DispatchResult:
        """Return what an answer to the request for `message` means: see `verdicts.judge`."""
        ...

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None) -> FieldViolation | None:
        """See `Selective.carries`."""
        ...

    def probe(self) -> HttpRequest:
        """Return a request that sends nothing, and that only somebody with the right key gets a good answer to."""
        ...

    def health(self, response: HttpResponse) -> ProviderHealth:
        """Return what an answer to `probe` says: see `health_by_status`."""
        ...


_CUT_OFF: Final = DispatchResult(
    Outcome.UNCERTAIN, error_code="cut_off", detail="the connection ended before the whole answer was there"
)


class HttpProvider:
    """See `Provider`: a vendor, and the sender that is the same for all."""

    def __init__(
        self,
        context: Context,
        settings: HttpSettings,
        kind: str,
        vendor: Callable[[Any], HttpVendor],
        dedup_window: float,
    ) -> None:
        self.name, self.channels = context.name, context.channels
        self.kind = kind
        self.dedup_window = dedup_window
        self._make_vendor = vendor
        self._sender = HttpSender(connect_timeout=context.connect_timeout, ca_file=settings.ca_file)
        self.renew(settings)

    def renew(self, settings: HttpSettings) -> None:
        """See `Renewable.renew`."""
        self._settings = settings
        self._proxy = settings.proxy
        self._vendor = self._make_vendor(settings)
        self.carries = self._vendor.carries
        self._prepare: Callable[[], Awaitable[None]] | None = getattr(self._vendor, "prepare", None)

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """See `Provider.send`."""
        vendor = self._vendor
        try:
            if self._prepare is not None:
                with handover.connecting():
                    await self._prepare()
            request = vendor.request(message, handover)
            response = await self._sender.send(request, handover, proxy=self._proxy)
        except VendorNotReady as error:
            return DispatchResult(Outcome.ERROR, error_code="not_ready", detail=str(error))
        except CutOff as error:
            if error.status not in TAKEN:
                return _CUT_OFF
            response = HttpResponse(error.status, complete=False)
        except ProxyRefused as error:
            return _refused_by_proxy(error.status)
        except (aiohttp.ClientError, OSError) as error:
            if handover.is_before(error):
                raise
            return _CUT_OFF
        return vendor.verdict(message, response, handover)

    def preview(self, message: OutboundMessage, handover: Handover) -> Preview:
        """See `Previewing.preview`. The vendor that makes the request knows no secret."""
        vendor = self._make_vendor(masked(self._settings))
        request = vendor.request(message, handover)
        headers = dict(request.headers)
        if authorization := headers.get("Authorization"):
            scheme, space, _ = authorization.partition(" ")
            headers["Authorization"] = f"{scheme} {MASK}" if space else MASK  # the vendor's key may stand alone
        lines = [f"{request.method} {request.url}", *(f"{name}: {value}" for name, value in headers.items())]
        if request.signing:
            lines.append("(signed as it is sent)")
        if (mime := getattr(vendor, "mime", None)) is not None:
            lines.append("(with this email in it, in base64)")
            return Preview(tuple(lines), whole(mime(message, handover)))
        return Preview(tuple(lines), whole(request.body))

    async def check(self) -> ProviderHealth:
        """See `Provider.check`."""
        try:
            if self._prepare is not None:
                await self._prepare()
            response = await self._sender.send(self._vendor.probe(), Handover(""), proxy=self._proxy)
        except VendorNotReady as error:
            return ProviderHealth(ok=False, detail=str(error), misconfigured=True)
        except ProxyRefused as error:
            return ProviderHealth(
                ok=False, detail=f"the proxy answers {error.status}", misconfigured=error.status == 407
            )
        except CutOff:
            return ProviderHealth(ok=False, detail="the vendor's answer was cut off")
        except (aiohttp.ClientError, OSError) as error:
            return ProviderHealth(ok=False, detail=why_not_reached(error))
        return self._vendor.health(response)

    async def close(self) -> None:
        """See `Closing.close`."""
        await self._sender.close()


S = TypeVar("S", bound=HttpSettings)


def http_provider(
    kind: str, vendor: Callable[[S], HttpVendor], *, dedup_window: Callable[[S], float] = lambda settings: 0.0
) -> Callable[[Context, S], Provider]:
    """Return what makes providers of a kind: for `Kind.make`.

    `dedup_window` is for how many seconds the vendor knows a key: see `Deduplicating`.
    """

    def make(context: Context, settings: S) -> Provider:
        return HttpProvider(context, settings, kind, vendor, dedup_window(settings))

    return make


def health_by_status(response: HttpResponse) -> ProviderHealth:
    """What an answer says by its status: 2xx is good, 401 and 403 are a wrong key."""
    status = response.status
    if 200 <= status < 300:
        return ProviderHealth(ok=True)
    if status in (401, 403):
        return ProviderHealth(ok=False, detail=f"the vendor refuses the key ({status})", misconfigured=True)
    if status in _ELSEWHERE:
        return ProviderHealth(
            ok=False, detail=f"the vendor answers {status}: check the address and the account", misconfigured=True
        )
    return ProviderHealth(ok=False, detail=f"the vendor answers {status}")


def health_of_any_answer(response: HttpResponse) -> ProviderHealth:
    """What an answer says where there is nothing that could be asked without a message: that somebody is there."""
    health = health_by_status(response)
    if response.status in (404, 405) or not (health.misconfigured or response.status >= 500):
        return ProviderHealth(ok=True)
    return health


_ELSEWHERE: Final = (301, 302, 307, 308, 402, 404, 405)


def _refused_by_proxy(status: int) -> DispatchResult:
    outcome = Outcome.MISCONFIGURED if status in (403, 405, 407) else Outcome.ERROR
    return DispatchResult(outcome, error_code=f"proxy_{status}", detail="the proxy did not pass the request on")
