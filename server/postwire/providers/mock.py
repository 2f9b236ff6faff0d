"""The mock: a provider that sends nothing, and whose outcomes can be predicted.

It is there for trying Postwire out, for tests of the systems that call it, and for drills. Two of them carry everything
while the configuration declares no provider.

Draws: one per attempt, from SplitMix64 over the seed, taken on entry to `send` before anything is awaited. The draw u
in [0, 1) is compared against the cumulative ratios of error, rate_limited, uncertain, rejected, connect_error and
deferred, in this order; above them all it is a success. Booting or re-seeding starts at draw 0, so the same seed gives
the same outcomes, by attempt index, whatever other providers do. Simulator recipients force an outcome and use no draw,
and neither do attempts at a mock that is misconfigured.

It may report later what became of messages: see `mock_receipts`. A message whose attempt ends `UNCERTAIN`, or is given
up while the mock takes its time, may have been taken: it is reported, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from postwire.config.bind import setting
from postwire.config.types import CountOrNone, Duration, Ratio, Seed
from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.core.receipts import Receipt, ReceiptState
from postwire.core.splitmix import SplitMix64
from postwire.providers.base import Context, Kind, ProviderHealth
from postwire.providers.handover import Handover
from postwire.providers.mock_receipts import PendingReceipts, ReceiptDraws

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
    Outcome.DEFERRED: "the mock put the message off",
    Outcome.MISCONFIGURED: "the mock refused the account",
}


_MAYBE_TAKEN: Final = (Outcome.SUCCESS, Outcome.UNCERTAIN)

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
        self._receipt_draws = ReceiptDraws(self.seed)
        self._pending = PendingReceipts(context.report)

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
        result = self._decide(message, settings, handover)
        if result is not None and self.reports:
            self._pending.add(self._receipts(message, result, handover), settings.latency + settings.receipt_delay)
        if result is None:
            with handover.connecting():
                await asyncio.sleep(self._connect_timeout)
                raise TimeoutError
        if settings.latency:
            await asyncio.sleep(settings.latency)
        return result

    async def check(self) -> ProviderHealth:
        """See `Provider.check`: nothing stands between a mock and nowhere."""
        if self.settings.misconfigured:
            return ProviderHealth(ok=False, detail=_DETAILS[Outcome.MISCONFIGURED], misconfigured=True)
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

        return update

    def _receipts(self, message: OutboundMessage, result: DispatchResult, handover: Handover) -> list[Receipt]:
        """What is to be reported of an attempt with this result."""
        content, found = message.content, []
        addresses = content.recipients if isinstance(content, Email) else (content.to,)
        positions = range(len(addresses)) if handover.positions is None else handover.positions
        each = [one.outcome for one in result.recipients] or [result.outcome] * len(positions)
        for position, outcome in zip(positions, each, strict=True):
            if outcome not in _MAYBE_TAKEN:
                continue
            state, times = self._receipt_draws.next(self.settings)
            if state is None:
                continue
            # Where an email has several recipients, each has a receipt, as with vendors.
            is_one_of_several = len(addresses) > 1
            receipt = Receipt(
                state,
                reference=handover.reference,
                provider_message_id=f"mock-{handover.key}",
                recipient=addresses[position] if is_one_of_several else "",
                code=f"mock_{state.value}" if state is ReceiptState.UNDELIVERED else "",
                event_id=f"{handover.reference}#{position}" if handover.reference else "",
            )
            found += [receipt] * times
        return found

    def _decide(self, message: OutboundMessage, settings: MockSettings, handover: Handover) -> DispatchResult | None:
        """What becomes of an attempt; None where it reaches nobody."""
        if settings.misconfigured:
            return _result(Outcome.MISCONFIGURED, settings)
        content, positions = message.content, handover.positions
        # The same under one key, as that of a vendor who deduplicates.
        provider_message_id = f"mock-{handover.key}"
        if isinstance(content, Email):
            addresses = content.recipients
            if positions is not None:
                addresses = tuple(addresses[position] for position in positions)
            forced = [SIMULATORS.get(address.lower()) for address in addresses]
            if any(forced) and len(addresses) > 1:
                # Those that force nothing fare alike, by one draw.
                drawn = Outcome.SUCCESS if all(forced) else self._draws.next(settings)
                if drawn is None:
                    return None
                each = [outcome or drawn for outcome in forced]
                return _result(
                    worst(each),
                    settings,
                    provider_message_id if Outcome.SUCCESS in each else "",
                    tuple(_recipient_result(outcome, f"{provider_message_id}-{at}") for at, outcome in enumerate(each)),
                )
            outcome = forced[0]
        else:
            outcome = SIMULATORS.get(content.to)
        outcome = outcome or self._draws.next(settings)
        if outcome is None:
            return None
        return _result(outcome, settings, provider_message_id if outcome is Outcome.SUCCESS else "")


def _recipient_result(outcome: Outcome, provider_message_id: str) -> RecipientResult:
    return RecipientResult(outcome, _code(outcome), provider_message_id if outcome is Outcome.SUCCESS else "")


def _code(outcome: Outcome) -> str:
    return "" if outcome is Outcome.SUCCESS else f"mock_{outcome.value}"


_ASKING: Final = frozenset({Outcome.RATE_LIMITED, Outcome.DEFERRED})
"""The outcomes that say for how long to wait."""


def _result(
    outcome: Outcome,
    settings: MockSettings,
    provider_message_id: str = "",
    recipients: tuple[RecipientResult, ...] = (),
) -> DispatchResult:
    retry_after = settings.retry_after or None if outcome in _ASKING else None
    return DispatchResult(outcome, provider_message_id, _code(outcome), _DETAILS[outcome], retry_after, recipients)


KIND: Final = Kind(
    settings=MockSettings,
    make=MockProvider,
    channels=tuple(Channel),
    summary="Sends nothing, and fails as often as it is told to.",
)
