"""The mock: a provider that sends nothing, and whose outcomes can be predicted.

It is there for trying Postwire out, for tests of the systems that call it, and for drills. Two of them carry everything
while the configuration declares no provider.

Draws: one per attempt, from SplitMix64 over the seed, taken on entry to `send` before anything is awaited. The draw u
in [0, 1) is compared against the cumulative ratios of error, rate_limited, uncertain, rejected, connect_error and
deferred, in this order; above them all it is a success. Booting or re-seeding starts at draw 0, so the same seed gives
the same outcomes, by attempt index, whatever other providers do. Simulator recipients force an outcome and use no draw,
and neither do attempts at a mock that is misconfigured.

It may report later what became of messages: see `mock_receipts`. A message whose attempt ends `UNCERTAIN`, or is given
up while the mock takes its time, may have been taken: it is reported, too, and is in the inbox like the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from postwire.config.bind import setting
from postwire.config.types import CountOrNone, Duration, Ratio, Seed
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import ReceiptState
from postwire.core.splitmix import SplitMix64
from postwire.providers import simulated
from postwire.providers.base import Context, Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.mock_receipts import ReceiptDraws
from postwire.providers.pending_receipts import PendingReceipts
from postwire.providers.simulated import MAYBE_TAKEN

RATIOS: Final = ("error", "rate_limited", "uncertain", "rejected", "connect_error", "deferred")
"""What the draw is compared against, in this order. Behind them all is success."""


@dataclass(frozen=True, slots=True)
class MockSettings:
    """How a mock behaves. Ratios are shares of attempts; times are in seconds.

    `connect_error_ratio` is that of attempts which reach nobody, as at an address where packets are dropped.
    `max_recipients` is how many an email may have; 0 is without a limit. The ratios of receipts are shares of the
    messages that it may have taken, and `receipt_delay` begins once the attempt has taken its time.
    """

    seed: Seed | None = setting(None, help="Makes its outcomes repeatable; they are random by default.")
    error_ratio: Ratio = setting(0.0, help="The ratio of attempts that end error.")
    rate_limited_ratio: Ratio = setting(0.0, help="That of attempts that end rate_limited.")
    uncertain_ratio: Ratio = setting(0.0, help="That of attempts that end uncertain.")
    rejected_ratio: Ratio = setting(0.0, help="That of attempts that end rejected.")
    latency: Duration = setting(0.0, help="How long each attempt takes.")
    retry_after: Duration = setting(0.0, help="How long it asks to be left alone when it throttles or puts off.")
    connect_error_ratio: Ratio = setting(0.0, help="The ratio of attempts that reach nobody.")
    deferred_ratio: Ratio = setting(0.0, help="That of attempts that are put off, as by a server that greylists.")
    misconfigured: bool = setting(False, help="Whether it refuses its account.")
    dedup_window: Duration = setting(0.0, help="For how long it knows a message that it has had already.")
    open_delay: Duration = setting(0.0, help="How long it takes until it can be used.")
    max_recipients: CountOrNone = setting(0, help="How many recipients an email may have; 0: any number.")
    delivered_ratio: Ratio = setting(0.0, help="The ratio of the messages it took that it reports as delivered.")
    undelivered_ratio: Ratio = setting(0.0, help="That of those that it reports as undelivered.")
    receipt_delay: Duration = setting(0.0, help="How long after a message it reports.")
    doubled_receipt_ratio: Ratio = setting(0.0, help="The ratio of its reports that come twice.")

    def check(self) -> None:
        """Raises ValueError, led by a key, where ratios leave no room for one of at least 0 for what is left."""
        # A hair's breadth is allowed, since 0.1 + 0.2 + 0.7 is over 1 in binary.
        total = sum(getattr(self, f"{name}_ratio") for name in RATIOS)
        if total > 1 + 1e-9:
            others = ", ".join(f"{name}_ratio" for name in RATIOS[1:-1])
            raise ValueError(
                f"error_ratio: together with {others} and {RATIOS[-1]}_ratio it is {total:g}, and must be at most 1"
            )
        reported = self.delivered_ratio + self.undelivered_ratio
        if reported > 1 + 1e-9:
            raise ValueError(
                f"delivered_ratio: together with undelivered_ratio it is {reported:g}, and must be at most 1"
            )


class OutcomeDraws:
    """The stream of outcomes that a seed decides, in the proportions of the settings."""

    __slots__ = ("_generator",)

    def __init__(self, seed: int) -> None:
        self._generator = SplitMix64(seed)

    def next(self, settings: MockSettings) -> Outcome | None:
        """Take one draw. None: it reaches nobody."""
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
        if u < edge:
            return Outcome.REJECTED
        edge += settings.connect_error_ratio
        if u < edge:
            return None
        edge += settings.deferred_ratio
        return Outcome.DEFERRED if u < edge else Outcome.SUCCESS


class MockProvider:
    """See the module. Its `seed` is the one in use; `seeded` tells whether somebody chose it."""

    kind: Final = "mock"
    simulated: Final = True

    def __init__(self, context: Context, settings: MockSettings) -> None:
        self.name = context.name
        self.channels = context.channels
        self.settings = settings
        self.dedup_window = settings.dedup_window
        self.selective = settings.max_recipients > 0
        self._connect_timeout = context.connect_timeout
        self.seeded = settings.seed is not None
        self.seed = context.random_seed() if settings.seed is None else settings.seed
        self._draws = OutcomeDraws(self.seed)
        self._draw = partial(self._draws.next, settings)
        self._receipt_draws = ReceiptDraws(self.seed)
        self._pending = PendingReceipts(context.report)
        self._to_inbox = context.to_inbox

    @property
    def reports(self) -> bool:
        """See `Reporting`."""
        return bool(self.settings.delivered_ratio or self.settings.undelivered_ratio)

    def carries(self, message: OutboundMessage, positions: tuple[int, ...] | None = None) -> FieldViolation | None:
        """See `Selective.carries`."""
        most, content = self.settings.max_recipients, message.content
        if most and isinstance(content, Email):
            count = len(content.recipients) if positions is None else len(positions)
            if count > most:
                return FieldViolation("message.email.to", f"must be at most {most} with cc and bcc, for {self.name}")
        return None

    async def open(self) -> ProviderHealth:
        """See `Opening.open`."""
        if self.settings.open_delay:
            await asyncio.sleep(self.settings.open_delay)
        return await self.check()

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """See `Provider.send`."""
        settings = self.settings
        result = self._decide(message, handover)
        if result is None:
            with handover.connecting():
                await asyncio.sleep(self._connect_timeout)
                raise TimeoutError
        if (taken_by := simulated.taken_by(result, handover)) is not None:
            self._to_inbox(message, handover, taken_by)
        if self.reports:
            receipts = simulated.receipts(self.kind, message, result, handover, self._draw_receipt)
            self._pending.add(receipts, settings.latency + settings.receipt_delay)
        if settings.latency:
            await asyncio.sleep(settings.latency)
        return result

    async def check(self) -> ProviderHealth:
        """See `Provider.check`: nothing stands between a mock and nowhere."""
        if self.settings.misconfigured:
            return ProviderHealth(
                ok=False, detail=simulated.detail(self.kind, Outcome.MISCONFIGURED), misconfigured=True
            )
        return ProviderHealth(ok=True)

    async def close(self) -> None:
        """See `Closing.close`. What it has not reported yet it never will."""
        await self._pending.close()

    def prepare_update(self, changes: Mapping[str, Any]) -> Callable[[], None]:
        """See `Updatable`. A `seed` starts the draws anew.

        Raises:
            ValueError: the settings would not go together.
        """
        settings = replace(self.settings, **changes)
        settings.check()

        def update() -> None:
            self.settings = settings
            if "seed" in changes:
                self.seed = changes["seed"]
                self.seeded = True
                self._draws = OutcomeDraws(self.seed)
                self._receipt_draws = ReceiptDraws(self.seed)
            self._draw = partial(self._draws.next, settings)

        return update

    def _decide(self, message: OutboundMessage, handover: Handover) -> DispatchResult | None:
        """What becomes of an attempt; None where it reaches nobody."""
        if self.settings.misconfigured:
            return simulated.result(self.kind, Outcome.MISCONFIGURED)
        return simulated.decide(self.kind, message, handover, self._draw, self.settings.retry_after)

    def _draw_receipt(self, outcome: Outcome) -> tuple[ReceiptState | None, int]:
        return self._receipt_draws.next(self.settings) if outcome in MAYBE_TAKEN else (None, 0)


KIND: Final = Kind(
    settings=MockSettings,
    make=MockProvider,
    channels=tuple(Channel),
    summary="Sends nothing, and fails as often as it is told to.",
)
