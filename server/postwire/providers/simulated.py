"""What providers that send nothing have in common: recipients that force an outcome, results, and receipts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from postwire.core.message import Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.core.receipts import Receipt, ReceiptState
from postwire.providers.handover import Handover

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

MAYBE_TAKEN: Final = (Outcome.SUCCESS, Outcome.UNCERTAIN)
"""The outcomes of attempts after which a recipient may have the message."""

_DETAILS: Final = {
    Outcome.RATE_LIMITED: "throttled the call",
    Outcome.ERROR: "failed",
    Outcome.REJECTED: "refused the message",
    Outcome.UNCERTAIN: "did not say whether it sent the message",
    Outcome.DEFERRED: "put the message off",
    Outcome.MISCONFIGURED: "refused the account",
}

_ASKING: Final = frozenset({Outcome.RATE_LIMITED, Outcome.DEFERRED})
"""The outcomes that say for how long to wait."""


def decide(
    kind: str, message: OutboundMessage, handover: Handover, draw: Callable[[], Outcome | None], retry_after: float = 0
) -> DispatchResult | None:
    """What becomes of an attempt at a provider of a kind; None where it reaches nobody.

    `draw` gives the outcome, or None, of recipients that force none. It is called once, or not at all.
    """
    content, positions = message.content, handover.positions
    if isinstance(content, Email):
        addresses = content.recipients
        if positions is not None:
            addresses = tuple(addresses[position] for position in positions)
        forced = [SIMULATORS.get(address.lower()) for address in addresses]
        if any(forced) and len(addresses) > 1:
            # Those that force nothing fare alike, by one draw.
            drawn = Outcome.SUCCESS if all(forced) else draw()
            if drawn is None:
                return None
            each = [outcome or drawn for outcome in forced]
            sent = message_id(kind, handover)
            return result(
                kind,
                worst(each),
                retry_after,
                sent if Outcome.SUCCESS in each else "",
                tuple(_recipient_result(kind, outcome, f"{sent}-{at}") for at, outcome in enumerate(each)),
            )
        outcome = forced[0]
    else:
        outcome = SIMULATORS.get(content.to)
    outcome = outcome or draw()
    if outcome is Outcome.SUCCESS:
        return DispatchResult(outcome, message_id(kind, handover))
    return None if outcome is None else result(kind, outcome, retry_after)


def result(
    kind: str,
    outcome: Outcome,
    retry_after: float = 0,
    provider_message_id: str = "",
    recipients: tuple[RecipientResult, ...] = (),
) -> DispatchResult:
    """The result of an attempt at a provider of a kind, with what it says beside the outcome."""
    asked = retry_after or None if outcome in _ASKING else None
    return DispatchResult(outcome, provider_message_id, _code(kind, outcome), detail(kind, outcome), asked, recipients)


def detail(kind: str, outcome: Outcome) -> str:
    """What a provider of a kind has to say of an outcome."""
    return "" if outcome is Outcome.SUCCESS else f"the {kind} {_DETAILS[outcome]}"


def message_id(kind: str, handover: Handover) -> str:
    """What a provider of a kind calls a message: the same under one key, as a vendor does who deduplicates."""
    return f"{kind}-{handover.key}"


def taken_by(of: DispatchResult, handover: Handover) -> tuple[int, ...] | None:
    """The positions of the recipients who may have a message, () for all of them; None where nobody has it."""
    if not of.recipients:
        return (handover.positions or ()) if of.outcome in MAYBE_TAKEN else None
    positions = range(len(of.recipients)) if handover.positions is None else handover.positions
    each = zip(positions, of.recipients, strict=True)
    return tuple(position for position, one in each if one.outcome in MAYBE_TAKEN) or None


def receipts(
    kind: str,
    message: OutboundMessage,
    of: DispatchResult,
    handover: Handover,
    decide_receipt: Callable[[Outcome], tuple[ReceiptState | None, int]],
) -> list[Receipt]:
    """What is to be reported of an attempt with this result.

    `decide_receipt` says, by the outcome of a recipient, what is reported of him, None for nothing, and how often.
    """
    content, found = message.content, []
    addresses = content.recipients if isinstance(content, Email) else (content.to,)
    positions = range(len(addresses)) if handover.positions is None else handover.positions
    each = [one.outcome for one in of.recipients] or [of.outcome] * len(positions)
    for position, outcome in zip(positions, each, strict=True):
        state, times = decide_receipt(outcome)
        if state is None:
            continue
        # Where an email has several recipients, each has a receipt, as with vendors.
        is_one_of_several = len(addresses) > 1
        receipt = Receipt(
            state,
            reference=handover.reference,
            provider_message_id=message_id(kind, handover),
            recipient=addresses[position] if is_one_of_several else "",
            code=f"{kind}_{state.value}" if state is ReceiptState.UNDELIVERED else "",
            event_id=f"{handover.reference}#{position}" if handover.reference else "",
        )
        found += [receipt] * times
    return found


def _recipient_result(kind: str, outcome: Outcome, provider_message_id: str) -> RecipientResult:
    return RecipientResult(outcome, _code(kind, outcome), provider_message_id if outcome is Outcome.SUCCESS else "")


def _code(kind: str, outcome: Outcome) -> str:
    return "" if outcome is Outcome.SUCCESS else f"{kind}_{outcome.value}"
