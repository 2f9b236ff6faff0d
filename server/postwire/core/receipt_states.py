"""What receipts make of a message. Pure.

A message without recipients of its own (SMS, MMS) is treated as having one. For each recipient, in this order:

    stands at                        and of its attempts            becomes
    any, while an attempt is open    anything                       unchanged: it is applied once that has ended
    FAILED, EXPIRED, CANCELLED       anything                       unchanged
    any other                        one is delivered               DELIVERED
    DELIVERED                        none is                        unchanged
    any other                        one is undelivered, and        UNDELIVERED
                                     no other is successful
    QUEUED, UNCERTAIN                one is accepted                SENT

So a receipt overrules whatever its attempt ended with. `complained` and `opted_out` change nothing. Whatever is new is
listed in the record, and the message is the first state of `lifecycle.state_of` that any of its recipients has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final

from postwire.core.lifecycle import state_of
from postwire.core.message import UNSETTLED, Attempt, MessageRecord, MessageState, RecipientStatus
from postwire.core.outcome import Outcome
from postwire.core.receipts import KeptReceipt, MessageReceipt, ReceiptState

MAX_LISTED: Final = 20
"""How many receipts a record lists: the last of them."""

_FINAL: Final = frozenset({MessageState.FAILED, MessageState.EXPIRED, MessageState.CANCELLED})
_SENT_LATER: Final = frozenset({*UNSETTLED, MessageState.UNCERTAIN})
"""From where `accepted` leads to SENT. SENDING is here what is about to be queued: its last attempt has ended."""
_BY_RECEIPT: Final = frozenset({MessageState.DELIVERED, MessageState.UNDELIVERED, MessageState.SENT})

_RANK: Final = {ReceiptState.ACCEPTED: 1, ReceiptState.UNDELIVERED: 2, ReceiptState.DELIVERED: 3}
"""Which of several receipts of one thing counts: the highest."""


def apply(
    record: MessageRecord,
    receipts: Sequence[KeptReceipt],
    *,
    now: int,
    deduplicating: Collection[str] = frozenset(),
) -> MessageRecord:
    """The record after all `receipts` of its message, in the order in which they came; the same one if that changes
    nothing. Those that are applied are there since what others mean hangs on them.

    Attempts at one of the providers `deduplicating`, to the same recipients, are one message to their vendor, so what
    is said of one of them is said of all.
    """
    if has_open_attempt(record):
        return record
    attempts = {one.number: one for one in record.attempts}
    known = [one for one in receipts if _is_of(attempts.get(one.attempt_number), one)]
    telling = _Telling([one for one in known if one.state in _RANK and not one.is_unmatched])
    groups = _groups(record.attempts, deduplicating)
    statuses = record.recipients or (_only_recipient(record),)
    after: list[RecipientStatus] = []
    deciding: dict[int, KeptReceipt] = {}
    for status in statuses:
        state, receipt = _after(record, status, telling.of(status.index), groups)
        if state is status.state or receipt is None:
            after.append(status)
            continue
        deciding[status.index] = receipt
        after.append(replace(status, state=state, error_code=receipt.code if record.recipients else status.error_code))
    listed = _listed(record.receipts, known)
    if not deciding and listed == record.receipts:
        return record
    state = state_of(after)
    decides = next((deciding[one.index] for one in after if one.state is state and one.index in deciding), None)
    settles = state not in UNSETTLED
    return replace(
        record,
        state=state,
        update_time=max(now, record.update_time),
        recipients=tuple(after) if record.recipients else (),
        next_attempt_time=None if settles and not record.settled else record.next_attempt_time,
        revision=record.revision + 1,
        receipts=listed,
        follow_up_time=record.follow_up_time if state is MessageState.SENT else None,
        error_code=decides.code if decides and state in _BY_RECEIPT else record.error_code,
    )


def has_open_attempt(record: MessageRecord) -> bool:
    """Whether an attempt is under way, whatever state the message is in meanwhile."""
    return bool(record.attempts) and record.attempts[-1].outcome is None


def _is_of(attempt: Attempt | None, receipt: KeptReceipt) -> bool:
    """Whether it is about this attempt: one that was taken back may have given its number to another."""
    return attempt is not None and attempt.provider_name == receipt.provider_name


def _only_recipient(record: MessageRecord) -> RecipientStatus:
    return RecipientStatus(0, record.state)


class _Telling:
    """Receipts by whom they are about: there may be thousands, of a message to a thousand."""

    def __init__(self, receipts: Iterable[KeptReceipt]) -> None:
        self._all: list[tuple[int, KeptReceipt]] = []
        self._own: dict[int, list[tuple[int, KeptReceipt]]] = {}
        for at, one in enumerate(receipts):
            index = one.recipient_index
            (self._all if index is None else self._own.setdefault(index, [])).append((at, one))

    def of(self, index: int) -> Sequence[KeptReceipt]:
        """Those about a recipient, by its position, in the order in which they came."""
        own = self._own.get(index, ())
        return [one for _, one in sorted((*self._all, *own), key=itemgetter(0))]


@dataclass(frozen=True, slots=True)
class _Group:
    """Attempts that are one message to their vendor; all of them were for the same `positions`, None for all."""

    attempts: Sequence[Attempt]
    positions: frozenset[int] | None

    def is_for(self, status: RecipientStatus) -> bool:
        return self.positions is None or status.index in self.positions


def _groups(attempts: Iterable[Attempt], deduplicating: Collection[str]) -> list[_Group]:
    """The attempts, those together that are one message to their vendor."""
    found: dict[object, list[Attempt]] = {}
    for one in attempts:
        key = (one.provider_name, one.positions) if one.provider_name in deduplicating else one.number
        found.setdefault(key, []).append(one)
    return [
        _Group(group, None if group[0].positions is None else frozenset(group[0].positions)) for group in found.values()
    ]


def _after(
    record: MessageRecord, status: RecipientStatus, telling: Sequence[KeptReceipt], groups: Sequence[_Group]
) -> tuple[MessageState, KeptReceipt | None]:
    """Where a recipient stands after all that is about it, and by which of them."""
    if status.state in _FINAL or status.state is MessageState.DELIVERED or not telling:
        return status.state, None
    undelivered: list[KeptReceipt] = []
    accepted: KeptReceipt | None = None
    successes = 0
    theirs = [group for group in groups if group.is_for(status)]
    last = max((group.attempts[-1].number for group in theirs), default=0)
    for group in theirs:
        numbers = {one.number for one in group.attempts}
        own = [one for one in telling if one.attempt_number in numbers]
        verdict = _verdict(own, group.attempts, has_parts=not record.recipients)
        if verdict and verdict.state is ReceiptState.DELIVERED:
            return MessageState.DELIVERED, verdict
        if verdict and verdict.state is ReceiptState.UNDELIVERED:
            undelivered.append(verdict)
            continue
        accepted = accepted or verdict
        successes += verdict is not None or any(
            one.outcome is Outcome.SUCCESS or (one.number == last and status.outcome is Outcome.SUCCESS)
            for one in group.attempts
        )
    if undelivered and not successes:
        return MessageState.UNDELIVERED, undelivered[-1]
    if accepted and status.state in _SENT_LATER:
        return MessageState.SENT, accepted
    return status.state, None


def _verdict(own: Sequence[KeptReceipt], group: Sequence[Attempt], *, has_parts: bool) -> KeptReceipt | None:
    """The receipt that says what became of a group of attempts for one recipient, if any does.

    Where the vendor has several parts, all of them have to be delivered, and one that is not is enough.
    """
    parts = {part for one in group for part in one.provider_message_id.split(",") if part} if has_parts else set()
    best: dict[str, KeptReceipt] = {}
    for one in own:
        part = one.part if len(parts) > 1 and one.part in parts else ""
        if part not in best or _RANK[one.state] > _RANK[best[part].state]:
            best[part] = one
    whole = best.pop("", None)
    if whole and whole.state is not ReceiptState.ACCEPTED:
        return whole
    for one in best.values():
        if one.state is ReceiptState.UNDELIVERED:
            return one
    if best and len(best) == len(parts) and all(one.state is ReceiptState.DELIVERED for one in best.values()):
        return list(best.values())[-1]
    return whole or next((replace(one, state=ReceiptState.ACCEPTED, code="") for one in best.values()), None)


def _listed(listed: tuple[MessageReceipt, ...], receipts: Iterable[KeptReceipt]) -> tuple[MessageReceipt, ...]:
    """What a record lists once `receipts` have come: each of a kind once, and the last of them."""
    kinds = {_kind(one) for one in listed}
    found = list(listed)
    for one in receipts:
        new = one.listed
        if not one.is_applied and _kind(new) not in kinds:
            kinds.add(_kind(new))
            found.append(new)
    return tuple(found[-MAX_LISTED:]) if len(found) > len(listed) else listed


def _kind(one: MessageReceipt) -> tuple[int, int | None, ReceiptState, str]:
    return one.attempt_number, one.recipient_index, one.state, one.error_code
