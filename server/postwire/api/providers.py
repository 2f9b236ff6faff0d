"""`postwire.v1.ProviderService`."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import duration_pb2

from postwire.api import convert
from postwire.api.guard import Context
from postwire.core.errors import ProviderNotMock
from postwire.core.validation import Violations
from postwire.providers.mock import MockProvider
from postwire.providers.registry import Registry, Slot
from postwire.v1 import provider_service_pb2 as pb
from postwire.v1 import provider_service_pb2_grpc as rpc

_RATIOS: Final = ("error_ratio", "rate_limited_ratio", "uncertain_ratio", "rejected_ratio")
_TIMES: Final = ("latency", "retry_after")
_MAX_SECONDS: Final = 24 * 3600


class ProviderServicer(rpc.ProviderServiceServicer):
    """Converts and calls."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ListProviders(self, request: pb.ListProvidersRequest, context: Context) -> pb.ListProvidersResponse:
        """See the contract."""
        return pb.ListProvidersResponse(providers=[_provider_to(slot) for slot in self._registry])

    async def GetProvider(self, request: pb.GetProviderRequest, context: Context) -> pb.GetProviderResponse:
        """See the contract."""
        return pb.GetProviderResponse(provider=_provider_to(self._slot(request.name)))

    async def UpdateMockProvider(
        self, request: pb.UpdateMockProviderRequest, context: Context
    ) -> pb.UpdateMockProviderResponse:
        """See the contract."""
        found = Violations()
        changes = _changes_from(request, found)
        slot = self._slot(request.name, found)
        provider = slot.provider
        if not isinstance(provider, MockProvider):
            raise ProviderNotMock(provider.kind)
        try:
            provider.update(changes)
        except ValueError as error:
            field, _, description = str(error).partition(": ")
            found.malformed(field, description)
            found.raise_any()
        return pb.UpdateMockProviderResponse(provider=_provider_to(slot))

    def _slot(self, name: str, found: Violations | None = None) -> Slot:
        """The provider that a request names. Refuses whatever is wrong with the request's shape first."""
        found = found or Violations()
        if not name:
            found.malformed("name", "must name a provider; ListProviders names them all")
        found.raise_any()
        return self._registry.slot(name)


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
    if request.HasField("seed"):
        changes["seed"] = request.seed
    return changes


def _provider_to(slot: Slot) -> pb.Provider:
    provider = slot.provider
    wire = pb.Provider(
        name=provider.name,
        kind=provider.kind,
        channels=[convert.CHANNELS[channel] for channel in provider.channels],
        in_flight=slot.in_flight,
    )
    if isinstance(provider, MockProvider):
        wire.seed = provider.seed
        wire.seeded = provider.seeded
    return wire
