"""`postwire.v1.ProviderService`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

from google.protobuf import duration_pb2

from postwire.api import convert
from postwire.api.call import CallContext
from postwire.core.breaker import BreakerState
from postwire.core.obstacles import Obstacle
from postwire.core.receipts import ReceiptState
from postwire.core.validation import Violations, check_reason
from postwire.delivery import Control, ProviderStatus
from postwire.providers import capabilities
from postwire.v1 import provider_service_pb2 as pb

_BREAKER_STATES: Final[Mapping[BreakerState, pb.BreakerState.ValueType]] = {
    one: pb.BreakerState.Value(f"BREAKER_STATE_{one.name}") for one in BreakerState
}
_AVAILABILITIES: Final[Mapping[Obstacle | None, pb.Availability.ValueType]] = {
    None: pb.AVAILABILITY_AVAILABLE,
    Obstacle.UNAVAILABLE: pb.AVAILABILITY_UNAVAILABLE,
    Obstacle.MISCONFIGURED: pb.AVAILABILITY_MISCONFIGURED,
}
_RATIOS: Final = (
    *("error_ratio", "rate_limited_ratio", "uncertain_ratio", "rejected_ratio"),
    *("connect_error_ratio", "deferred_ratio"),
    *("delivered_ratio", "undelivered_ratio", "doubled_receipt_ratio"),
)
_TIMES: Final = ("latency", "retry_after", "receipt_delay")
_MAX_SECONDS: Final = 24 * 3600


class ReceiptFigures(Protocol):
    """How many receipts there were, and how late they came."""

    def counts(self, provider_name: str) -> Mapping[ReceiptState, int]:
        """How many of a provider there were, by what they reported."""
        ...

    def delay(self, provider_name: str) -> int | None:
        """By how much they came after the end of their attempts, in µs; None where there were none."""
        ...


class ProviderServicer:
    """Converts and calls."""

    def __init__(self, control: Control, receipts: ReceiptFigures) -> None:
        self._control = control
        self._receipts = receipts

    async def ListProviders(self, request: pb.ListProvidersRequest, call: CallContext) -> pb.ListProvidersResponse:
        """See the contract."""
        return pb.ListProvidersResponse(providers=map(self._provider_to, self._control.list()))

    async def GetProvider(self, request: pb.GetProviderRequest, call: CallContext) -> pb.GetProviderResponse:
        """See the contract."""
        return pb.GetProviderResponse(provider=self._provider_to(self._control.get(_name(request))))

    async def WatchProviders(
        self, request: pb.WatchProvidersRequest, call: CallContext
    ) -> AsyncIterator[pb.WatchProvidersResponse]:
        """See the contract."""
        async with aclosing(self._control.watch()) as changes:
            async for changed in changes:
                yield pb.WatchProvidersResponse(providers=map(self._provider_to, changed))

    async def DrainProvider(self, request: pb.DrainProviderRequest, call: CallContext) -> pb.DrainProviderResponse:
        """See the contract."""
        return pb.DrainProviderResponse(
            provider=self._provider_to(await self._control.drain(*_steered(request), by=call.principal))
        )

    async def ResumeProvider(self, request: pb.ResumeProviderRequest, call: CallContext) -> pb.ResumeProviderResponse:
        """See the contract."""
        return pb.ResumeProviderResponse(
            provider=self._provider_to(await self._control.resume(*_steered(request), by=call.principal))
        )

    async def ResetBreaker(self, request: pb.ResetBreakerRequest, call: CallContext) -> pb.ResetBreakerResponse:
        """See the contract."""
        return pb.ResetBreakerResponse(
            provider=self._provider_to(await self._control.reset(*_steered(request), by=call.principal))
        )

    async def UpdateMockProvider(
        self, request: pb.UpdateMockProviderRequest, call: CallContext
    ) -> pb.UpdateMockProviderResponse:
        """See the contract."""
        found = Violations()
        changes = _changes_from(request, found)
        name = _name(request, found)
        try:
            status = await self._control.update_mock(name, changes, by=call.principal)
        except ValueError as error:
            field, _, description = str(error).partition(": ")
            found.malformed(field, description)
            found.raise_any()
            raise
        return pb.UpdateMockProviderResponse(provider=self._provider_to(status))

    def _provider_to(self, status: ProviderStatus) -> pb.Provider:
        wire = _provider_to(status)
        name = status.provider.name
        for state, count in self._receipts.counts(name).items():
            wire.receipts.add(state=convert.RECEIPT_STATES[state], count=count)
        if (delay := self._receipts.delay(name)) is not None:
            wire.receipt_delay.FromMicroseconds(delay)
        return wire


class _Named(Protocol):
    name: str


def _name(request: _Named, found: Violations | None = None) -> str:
    """The provider that a request names. Refuses whatever is wrong with the request's shape."""
    found = found or Violations()
    if not request.name:
        found.malformed("name", "must name a provider; ListProviders names them all")
    found.raise_any()
    return request.name


class _Reasoned(_Named, Protocol):
    reason: str


def _steered(request: _Reasoned) -> tuple[str, str]:
    """The provider that a request names, and the reason that it gives. Refuses whatever is wrong with its shape."""
    found = Violations()
    check_reason(request.reason, found)
    return _name(request, found), request.reason


def _changes_from(request: pb.UpdateMockProviderRequest, found: Violations) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name in _RATIOS:
        if request.HasField(name):
            changes[name] = getattr(request, name)
            if not 0 <= changes[name] <= 1:
                found.malformed(name, "must be a number from 0 to 1")
    for name in _TIMES:
        if request.HasField(name):  # type: ignore[arg-type]  # the stub wants literals
            value: duration_pb2.Duration = getattr(request, name)
            changes[name] = value.seconds + value.nanos / 1e9
            if not (0 <= changes[name] <= _MAX_SECONDS and 0 <= value.nanos < 1_000_000_000):
                found.malformed(name, "must be a duration from 0s to 24h")
    if request.HasField("misconfigured"):
        changes["misconfigured"] = request.misconfigured
    if request.HasField("seed"):
        changes["seed"] = request.seed
    return changes


def _provider_to(status: ProviderStatus) -> pb.Provider:
    provider, breaker = status.provider, status.breaker
    special = capabilities.of(provider)
    wire = pb.Provider(
        name=provider.name,
        kind=provider.kind,
        channels=[convert.CHANNELS[channel] for channel in provider.channels],
        breaker=pb.Breaker(
            state=_BREAKER_STATES[breaker.state],
            calls=breaker.calls,
            failures=breaker.failures,
            slow_calls=breaker.slow_calls,
            failure_ratio=breaker.failure_ratio,
        ),
        in_flight=status.in_flight,
        max_concurrent=status.limits.max_concurrent,
        rate=status.limits.rate,
        unserved_route_keys=status.unserved_route_keys,
        capabilities=special.words,
        availability=_AVAILABILITIES[status.unavailable],
    )
    if status.next_probe_time is not None:
        convert.set_time(wire.breaker.next_probe_time, status.next_probe_time)
    if special.seed is not None:
        wire.seed = special.seed
        wire.seeded = special.seeded
    if status.note:
        convert.fill_note(wire.note, status.note)
    return wire
