"""An outbox as one would write it with nothing but a dictionary, and the changes that a message may go through."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st
from tests.support import build
from tests.support.outboxes import stored

from postwire.core import lifecycle
from postwire.core.errors import RequestIdReused
from postwire.core.lifecycle import NextStep, Policy
from postwire.core.message import DeliveryGuarantee, MessageRecord, MessageState, Priority
from postwire.core.outcome import UNCOUNTED, DispatchResult, Outcome, RecipientResult, worst
from postwire.core.waiting import is_scheduled
from postwire.outbox.base import Accepted, Counts, NewMessage, OutboxStats, QueueKey, StoredMessage

Draw = Callable[[Sequence[Any]], Any]
"""Picks one of several values."""


# Few, so that they meet.
QUEUES = ("sms", "sms#1", "@p-1")
REASONS = ("", "found in their log", '\u00fc "\U0001f600"')
BODIES = ("one", "two", "\u00fc \U0001f600")
CALLS = st.fixed_dictionaries(
    {
        "request_id": st.sampled_from(["r-1", "r-2", "R-1", "", "", ""]),  # mostly one of its own
        "body": st.sampled_from(BODIES),
        "recipients": st.sampled_from([0, 0, 1, 3]),  # none of them: an SMS
        "queue": st.sampled_from(QUEUES),
        "is_free": st.booleans(),
        "delay": st.sampled_from([None, None, 5, 500]),
        "life": st.sampled_from([None, None, 20, 1_000]),
        "priority": st.sampled_from(Priority),
        "delivery_guarantee": st.sampled_from(DeliveryGuarantee),
        "max_attempts": st.sampled_from([None, 1, 2, 3]),
    }
)


def call(spec: Mapping[str, Any], now: int) -> NewMessage:
    """A call of `CALLS`, as it is made now."""
    to = [f"{i}@example.com" for i in range(spec["recipients"])]
    due = None if spec["delay"] is None else now + spec["delay"]
    of = build.command(
        build.email(*to, text=spec["body"]) if to else build.sms(spec["body"]),
        request_id=spec["request_id"] or build.new_request_id(),
        labels={"body": spec["body"]},
        send_time=due,
        expire_time=None if spec["life"] is None else (due or now) + spec["life"],
        **{name: spec[name] for name in ("priority", "delivery_guarantee", "max_attempts")},
    )
    at = "p-1" if spec["is_free"] and due is None else ""
    return build.new_message(of, record=build.accepted(of, provider_name=at, queue=spec["queue"], now=now))


class Event(enum.Enum):
    """What happens to a message, or to one recipient of an email."""

    TAKEN = "due, permit"
    EXPIRED = "expire_time"
    CANCELLED = "cancel"
    SUCCESS = "success"
    REJECTED = "rejected"
    NOT_SENT_NEXT = "error, rate_limited; another candidate"
    NOT_SENT_LATER = "error, rate_limited; none left now"
    NOT_SENT_SPENT = "error, max_attempts spent"
    UNKNOWN_AGAIN = "uncertain, AT_LEAST_ONCE, attempts and time left; it deduplicates"
    UNKNOWN_LATER = "uncertain, AT_LEAST_ONCE, attempts and time left"
    UNKNOWN_END = "uncertain, otherwise"
    DROPPED = "surely never handed over"
    FOUND_SENT = "resolve: sent"
    FOUND_FAILED = "resolve: not sent"


@dataclass(eq=False)
class Kept:
    """A message: as it is, as it was, and for which recipients (0 where it has none) an attempt was uncertain."""

    new: NewMessage
    record: MessageRecord
    past: list[MessageRecord] = field(default_factory=list)
    doubted: set[int] = field(default_factory=set)

    @property
    def stored(self) -> StoredMessage:
        return stored(self.new, self.record)

    @property
    def policy(self) -> Policy:
        return Policy(self.new.options.max_attempts or 5, self.new.options.delivery_guarantee)


@dataclass(frozen=True)
class Change:
    """A change of a message, and what happens in it to each recipient whom it is about."""

    kept: Kept
    before: MessageRecord
    after: MessageRecord
    events: Mapping[int, Event]
    doubts: frozenset[int] = frozenset()


def standings(record: MessageRecord) -> dict[int, MessageState]:
    """Where each recipient stands. A message without any is treated as having one."""
    return {one.index: one.state for one in record.recipients} or {0: record.state}


def change_of(kept: Kept, before: MessageRecord, now: int, draw: Draw) -> Change | None:
    """Some change of a record that may be made now; None where nothing may happen to it any more."""
    match before.state:
        case MessageState.QUEUED:
            return _from_queue(kept, before, now, draw)
        case MessageState.SENDING if draw([True, True, True, False]):
            return end(kept, before, now, draw)
        case MessageState.SENDING:
            after = lifecycle.drop_attempt(before, now=now, due=now)
            return Change(kept, before, after, dict.fromkeys(_pending(before), Event.DROPPED))
        case MessageState.UNCERTAIN:
            sent: bool = draw([True, False])
            unknown = [index for index, state in standings(before).items() if state is MessageState.UNCERTAIN]
            after = lifecycle.resolve(before, sent=sent, now=now, reason=draw(REASONS))
            event = Event.FOUND_SENT if sent else Event.FOUND_FAILED
            return Change(kept, before, after, dict.fromkeys(unknown, event))
        case _:
            return None


def take(kept: Kept, before: MessageRecord, now: int, draw: Draw) -> Change:
    """The next attempt is opened."""
    after = lifecycle.open_attempt(before, draw(["p-1", "p-2"]), now=now, trace_id=draw(["", "ab" * 16]))
    return Change(kept, before, after, dict.fromkeys(_pending(before), Event.TAKEN))


def expire(kept: Kept, before: MessageRecord, now: int) -> Change:
    """Its time has run out."""
    return Change(kept, before, lifecycle.expire(before, now=now), dict.fromkeys(_pending(before), Event.EXPIRED))


def _from_queue(kept: Kept, before: MessageRecord, now: int, draw: Draw) -> Change:
    is_late = now >= before.expire_time
    event = draw([Event.EXPIRED, Event.CANCELLED] if is_late else [Event.TAKEN, Event.TAKEN, Event.CANCELLED])
    if event is Event.TAKEN:
        return take(kept, before, now, draw)
    if event is Event.EXPIRED:
        return expire(kept, before, now)
    after = lifecycle.cancel(before, now=now, reason=draw(REASONS))
    return Change(kept, before, after, dict.fromkeys(_pending(before), Event.CANCELLED))


def end(kept: Kept, before: MessageRecord, now: int, draw: Draw) -> Change:
    """The open attempt ends in some way, and what follows is in the same change."""
    return _ended(kept, before, now, draw, _any_result(before, draw), draw([0, 7]), draw([True, False]))


def release(kept: Kept, before: MessageRecord, now: int, draw: Draw) -> Change:
    """The open attempt was left by a crash."""
    return _ended(kept, before, now, draw, lifecycle.ORPHANED, None, at_once=False)


def _ended(
    kept: Kept,
    before: MessageRecord,
    now: int,
    draw: Draw,
    result: DispatchResult,
    duration: int | None,
    at_once: bool,
) -> Change:
    pending = _pending(before)
    outcomes = [one.outcome for one in result.recipients] or [result.outcome] * len(pending)
    policy = kept.policy
    closed, next_step = lifecycle.close_attempt(before, result, policy, now=now, duration=duration)
    counted = [one.outcome for one in before.attempts[:-1]] + [result.outcome]
    is_spent = sum(outcome not in UNCOUNTED for outcome in counted) >= policy.max_attempts
    is_late = now >= before.expire_time
    # It may not be sent twice, or not any more.
    is_last = is_spent or is_late or policy.delivery_guarantee is DeliveryGuarantee.AT_MOST_ONCE
    events: dict[int, Event] = {}
    again: list[tuple[int, Outcome]] = []
    for index, outcome in zip(pending, outcomes, strict=True):
        if outcome in (Outcome.SUCCESS, Outcome.REJECTED):
            events[index] = Event[outcome.name]
        elif outcome is Outcome.UNCERTAIN and is_last:
            events[index] = Event.UNKNOWN_END
        elif outcome is not Outcome.UNCERTAIN and is_spent:
            events[index] = Event.NOT_SENT_SPENT
        else:
            again.append((index, outcome))
    doubts = frozenset(index for index, one in zip(pending, outcomes, strict=True) if one is Outcome.UNCERTAIN)
    if not again:
        assert next_step is NextStep.NOTHING
        return Change(kept, before, closed, events, doubts)
    is_uncertain = any(outcome is Outcome.UNCERTAIN for _, outcome in again)
    is_deferred = not is_uncertain and any(outcome is Outcome.DEFERRED for _, outcome in again)
    assert next_step is (NextStep.TRY_AGAIN if is_uncertain else NextStep.DEFER if is_deferred else NextStep.FAIL_OVER)
    at_once = at_once and not is_late and not is_deferred
    for index, outcome in again:
        unknown = outcome is Outcome.UNCERTAIN
        if at_once:
            events[index] = Event.UNKNOWN_AGAIN if unknown else Event.NOT_SENT_NEXT
        else:
            events[index] = Event.UNKNOWN_LATER if unknown else Event.NOT_SENT_LATER
    if at_once:
        provider_name = before.attempts[-1].provider_name if is_uncertain else draw(["p-1", "p-2"])
        after = lifecycle.open_attempt(closed, provider_name, now=now)
    else:
        after = lifecycle.requeue(closed, now=now, due=now + draw([0, 5, 500]))
    return Change(kept, before, after, events, doubts)


def _any_result(before: MessageRecord, draw: Draw) -> DispatchResult:
    reported = {
        "provider_message_id": draw(["", "vendor-\u00fc"]),
        "error_code": draw(["", "421"]),
        "detail": draw(["", "busy"]),
    }
    if before.recipients and draw([True, False]):
        each = tuple(
            RecipientResult(draw(list(Outcome)), draw(["", "550"]), draw(["", "vendor-1"])) for _ in _pending(before)
        )
        return DispatchResult(worst(one.outcome for one in each), recipients=each, **reported)
    return DispatchResult(draw(list(Outcome)), **reported)


def _pending(record: MessageRecord) -> list[int]:
    return [index for index, state in standings(record).items() if state in (MessageState.SENDING, MessageState.QUEUED)]


class OutboxModel:
    """What an outbox holds, in the order of acceptance."""

    def __init__(self) -> None:
        self.messages: dict[str, Kept] = {}
        self.by_request: dict[str, Kept] = {}
        self.changed: set[str] = set()
        """What has changed since somebody has looked."""

    def accept(self, new: NewMessage) -> Accepted | type[RequestIdReused]:
        """What an outbox says to a call; what it says was created is kept."""
        owner = self.by_request.get(new.record.request_id)
        if owner is None:
            kept = Kept(new, new.record)
            self.by_request[new.record.request_id] = self.messages[new.record.message_id] = kept
            self.changed.add(new.record.message_id)
            return Accepted(new.record, created=True)
        if owner.new.payload_hash != new.payload_hash:
            return RequestIdReused
        return Accepted(owner.record, created=False)

    def apply(self, change: Change) -> None:
        """A change that an outbox has said it applied."""
        kept = change.kept
        assert kept.record.revision == change.before.revision, "it was too late"
        kept.past.append(change.before)
        kept.record = change.after
        kept.doubted |= change.doubts
        self.changed.add(kept.record.message_id)

    def reassign(self, kept: Kept, queue: str) -> None:
        kept.record = replace(kept.record, queue=queue)

    def remove(self, before: int) -> None:
        """Let go of what was settled before a time."""
        for kept in list(self.messages.values()):
            if kept.record.settled and kept.record.update_time < before:
                del self.messages[kept.record.message_id], self.by_request[kept.record.request_id]

    def at(self, position: int) -> Kept:
        return list(self.messages.values())[position % len(self.messages)]

    def records(self) -> list[MessageRecord]:
        """Newest first."""
        return [kept.record for kept in self.messages.values()][::-1]

    def waiting(self) -> list[Kept]:
        return [kept for kept in self.messages.values() if kept.record.state is MessageState.QUEUED]

    def sending(self) -> list[Kept]:
        return [kept for kept in self.messages.values() if kept.record.state is MessageState.SENDING]

    def due(self, queue: str, now: int) -> list[Kept]:
        return [kept for kept in self.waiting() if kept.record.queue == queue and due_time(kept) <= now]

    def next_due(self, queue: str) -> int | None:
        return min((due_time(kept) for kept in self.waiting() if kept.record.queue == queue), default=None)

    def stats(self) -> OutboxStats:
        unsettled = [one for one in self.records() if not one.settled]
        return OutboxStats(len(unsettled), min((one.create_time for one in unsettled), default=None))

    def load(self, now: int) -> tuple[int, int | None]:
        """How many messages are due, and since when the longest of them is."""
        due = [due_time(kept) for kept in self.waiting() if due_time(kept) <= now]
        return len(due), min(due, default=None)

    def unsettled_counts(self, now: int) -> Counts:
        queues = Counter(QueueKey(one.tenant, one.queue) for one in self.records() if not one.settled)
        later = [kept for kept in self.waiting() if is_scheduled(kept.record) and due_time(kept) > now]
        return Counts(queues, Counter((one.record.tenant, due_time(one) // 1_000_000) for one in later))


def due_time(kept: Kept) -> int:
    assert kept.record.next_attempt_time is not None
    return kept.record.next_attempt_time
