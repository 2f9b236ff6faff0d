"""The mock: a provider that sends nothing, and whose outcomes can be foretold.

It is there for trying Postwire out, for tests of the systems that call it, and for drills. Two of them carry everything
while the configuration declares no provider.

Draws: one per attempt, from SplitMix64 over the seed, taken on entry to `send` before anything is awaited. The draw u
in [0, 1) is compared against the cumulative ratios of error, rate_limited, uncertain and rejected, in this order; above
them all it is a success. Booting or re-seeding starts at draw 0, so the same seed gives the same outcomes, by attempt
index, whatever other providers do. Simulator recipients force an outcome and use no draw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.core.splitmix import SplitMix64
from postwire.providers.base import Context, Kind, ProviderHealth
from postwire.units import Duration, Ratio, Seed

SIMULATORS: Final[Mapping[str, Outcome]] = MappingProxyType(
    {
        "+15005550001": Outcome.REJECTED,
        "+15005550002": Outcome.ERROR,
        "+15005550003": Outcome.RATE_LIMITED,
        "+15005550004": Outcome.UNCERTAIN,
        "+15005550006": Outcome.SUCCESS,
        "rejected@simulator.postwire.test": Outcome.REJECTED,
        "error@simulator.postwire.test": Outcome.ERROR,
        "rate-limited@simulator.postwire.test": Outcome.RATE_LIMITED,
        "uncertain@simulator.postwire.test": Outcome.UNCERTAIN,
        "success@simulator.postwire.test": Outcome.SUCCESS,
    }
)
"""The recipients that force an outcome."""

_DETAILS: Final = {
    Outcome.SUCCESS: "",
    Outcome.RATE_LIMITED: "the mock throttled the call",
    Outcome.ERROR: "the mock failed",
    Outcome.REJECTED: "the mock refused the message",
    Outcome.UNCERTAIN: "the mock did not say whether it sent the message",
}


@dataclass(frozen=True, slots=True)
class MockSettings:
    """How a mock behaves. Ratios are shares of attempts; `latency` and `retry_after` are in seconds."""

    seed: Seed | None = None
    error_ratio: Ratio = 0.0
    rate_limited_ratio: Ratio = 0.0
    uncertain_ratio: Ratio = 0.0
    rejected_ratio: Ratio = 0.0
    latency: Duration = 0.0
    retry_after: Duration = 0.0

    def check(self) -> None:
        """Raises ValueError, led by a key, where the ratios leave no room for a success ratio of at least 0."""
        # A hair's breadth is allowed, since 0.1 + 0.2 + 0.7 is over 1 in binary.
        total = self.error_ratio + self.rate_limited_ratio + self.uncertain_ratio + self.rejected_ratio
        if total > 1 + 1e-9:
            raise ValueError(
                f"error_ratio: together with rate_limited_ratio, uncertain_ratio and rejected_ratio it is {total:g}, "
                "and must be at most 1"
            )


class OutcomeDraws:
    """The stream of outcomes that a seed decides, in the proportions of the settings."""

    __slots__ = ("_generator",)

    def __init__(self, seed: int) -> None:
        self._generator = SplitMix64(seed)

    def next(self, settings: MockSettings) -> Outcome:
        """Take one draw."""
        u = self._generator.next_unit()
        edge = settings.error_ratio
        if u < edge:
            return Outcome.ERROR
        edge += settings.rate_limited_ratio
        if u < edge:
            return Outcome.RATE_LIMITED
        edge += settings.uncertain_ratio
        if u < edge:
            return Outcome.UNCERTAIN
        edge += settings.rejected_ratio
        return Outcome.REJECTED if u < edge else Outcome.SUCCESS


class MockProvider:
    """See the module. Its `seed` is the one in use; `seeded` tells whether somebody chose it."""

    kind: Final = "mock"
    deduplicates: Final = False
    simulated: Final = True

    def __init__(self, context: Context, settings: MockSettings) -> None:
        self.name = context.name
        self.channels = context.channels
        self.settings = settings
        self.seeded = settings.seed is not None
        self.seed = context.random_seed() if settings.seed is None else settings.seed
        self._draws = OutcomeDraws(self.seed)

    async def send(
        self, message: OutboundMessage, *, idempotency_key: str, positions: tuple[int, ...] | None = None
    ) -> DispatchResult:
        """See `Provider.send`."""
        settings = self.settings
        result = self._decide(message, settings, f"mock-{idempotency_key}", positions)
        if settings.latency:
            await asyncio.sleep(settings.latency)
        return result

    async def check(self) -> ProviderHealth:
        """See `Provider.check`: nothing stands between a mock and nowhere."""
        return ProviderHealth(ok=True)

    async def close(self) -> None:
        """See `Provider.close`."""

    def update(self, changes: Mapping[str, Any]) -> None:
        """Change settings, by their names, from the next attempt on. A `seed` starts the draws anew.

        Raises:
            ValueError: the settings would not go together; nothing is changed.
        """
        settings = replace(self.settings, **changes)
        settings.check()
        self.settings = settings
        if "seed" in changes:
            self.seed = changes["seed"]
            self.seeded = True
            self._draws = OutcomeDraws(self.seed)

    def _decide(
        self,
        message: OutboundMessage,
        settings: MockSettings,
        provider_message_id: str,
        positions: tuple[int, ...] | None,
    ) -> DispatchResult:
        content = message.content
        if isinstance(content, Email):
            addresses = content.recipients
            if positions is not None:
                addresses = tuple(addresses[position] for position in positions)
            forced = [SIMULATORS.get(address.lower()) for address in addresses]
            if any(forced) and len(addresses) > 1:
                # Those that force nothing fare alike, by one draw.
                drawn = Outcome.SUCCESS if all(forced) else self._draws.next(settings)
                each = [outcome or drawn for outcome in forced]
                return _result(
                    worst(each),
                    settings,
                    provider_message_id if Outcome.SUCCESS in each else "",
                    tuple(RecipientResult(outcome, _code(outcome)) for outcome in each),
                )
            outcome = forced[0]
        else:
            outcome = SIMULATORS.get(content.to)
        outcome = outcome or self._draws.next(settings)
        return _result(outcome, settings, provider_message_id if outcome is Outcome.SUCCESS else "")


def _code(outcome: Outcome) -> str:
    return "" if outcome is Outcome.SUCCESS else f"mock_{outcome.value}"


def _result(
    outcome: Outcome,
    settings: MockSettings,
    provider_message_id: str,
    recipients: tuple[RecipientResult, ...] = (),
) -> DispatchResult:
    return DispatchResult(
        outcome=outcome,
        provider_message_id=provider_message_id,
        error_code=_code(outcome),
        detail=_DETAILS[outcome],
        retry_after=settings.retry_after if outcome is Outcome.RATE_LIMITED and settings.retry_after else None,
        recipients=recipients,
    )


KIND: Final = Kind(
    settings=MockSettings,
    make=MockProvider,
    channels=tuple(Channel),
    summary="Sends nothing, and fails as often as it is told to.",
)
