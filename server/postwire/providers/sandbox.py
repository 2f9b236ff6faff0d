"""The sandbox: a provider for the tests of others, that sends nothing and has everything arrive.

Whatever it takes can be read in the inbox, and is reported as delivered. Recipients that force an outcome do so, as
with a mock: see `simulated.SIMULATORS`. Nothing is drawn, so that a test which asks for no failure meets none; whoever
wants some by chance takes a mock. A server in production does not start with a sandbox.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from postwire.config.bind import setting
from postwire.config.types import Duration
from postwire.core.message import Channel, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import ReceiptState
from postwire.providers import simulated
from postwire.providers.base import Context, Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.pending_receipts import PendingReceipts


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How a sandbox behaves. Times are in seconds; `receipt_delay` begins once the attempt has taken its time."""

    latency: Duration = setting(0.0, help="How long each attempt takes.")
    receipt_delay: Duration = setting(0.0, help="How long after a message it reports that it was delivered.")


class SandboxProvider:
    """See the module."""

    kind: Final = "sandbox"
    simulated: Final = True
    reports: Final = True

    def __init__(self, context: Context, settings: SandboxSettings) -> None:
        self.name = context.name
        self.channels = context.channels
        self.settings = settings
        self._pending = PendingReceipts(context.report)
        self._to_inbox = context.to_inbox

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """See `Provider.send`."""
        settings = self.settings
        result = simulated.decide(self.kind, message, handover, _succeed)
        assert result is not None
        if (taken_by := simulated.taken_by(result, handover)) is not None:
            self._to_inbox(message, handover, taken_by)
        receipts = simulated.receipts(self.kind, message, result, handover, _deliver)
        self._pending.add(receipts, settings.latency + settings.receipt_delay)
        if settings.latency:
            await asyncio.sleep(settings.latency)
        return result

    async def check(self) -> ProviderHealth:
        """See `Provider.check`: there is nothing to reach."""
        return ProviderHealth(ok=True)

    async def close(self) -> None:
        """See `Closing.close`. What it has not reported yet it never will."""
        await self._pending.close()


def _succeed() -> Outcome:
    return Outcome.SUCCESS


def _deliver(outcome: Outcome) -> tuple[ReceiptState | None, int]:
    """What is reported of a recipient. Who is to be uncertain stays so."""
    return (ReceiptState.DELIVERED, 1) if outcome is Outcome.SUCCESS else (None, 0)


KIND: Final = Kind(
    settings=SandboxSettings,
    make=SandboxProvider,
    channels=tuple(Channel),
    summary="Sends nothing, delivers everything, and shows it: for tests.",
    for_tests_only=True,
)
