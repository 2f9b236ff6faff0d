"""Nine things that hold whatever is done to nodes and their database, held against what others have seen.

Each is a function of a `Ledger` and of what is on record. It returns what is wrong, a line each, and nothing where all
is well. An attempt whose end nobody knows is `uncertain` on record: it may have been handed over or not. What was made
so old that retention removes it may be gone, and only that (`Ledger.aged`): its request id is free again.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.nodes.ledger import Handed, Ledger

from postwire.core.message import MessageState
from postwire.core.outcome import Outcome, worst

UNSETTLED: Final = (MessageState.QUEUED, MessageState.SENDING)
TAKEN: Final = (Outcome.SUCCESS, Outcome.UNCERTAIN)
"""What a provider answers that has the message, or may have it."""


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt on record. `outcome` is None while it is open."""

    number: int
    provider: str
    outcome: Outcome | None
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message on record, and what tables beside it have: whether it waits in a queue, is with a node, and whether
    what it says is there. `create_time` is in µs."""

    message_id: str
    request_id: str
    state: MessageState
    revision: int
    create_time: int
    at_most_once: bool
    attempts: tuple[Tried, ...]
    waiting: bool = False
    is_open: bool = False
    has_content: bool = True

    def attempt(self, number: int) -> Tried | None:
        """The attempt of that number."""
        return next((one for one in self.attempts if one.number == number), None)


@dataclass(frozen=True)
class OnRecord:
    """What the store has. `receipts` are the (provider, message id, attempt, state) of those that are kept and applied;
    `unapplied` is how many are not applied yet."""

    messages: Mapping[str, Kept]
    receipts: frozenset[tuple[str, str, int, str]] = frozenset()
    unapplied: int = 0


Found = Iterator[str]


def verify(ledger: Ledger, record: OnRecord) -> dict[str, list[str]]:
    """What is wrong, by the name of the invariant. Empty where all is well."""
    calls = _by_message(ledger.handed)
    known = _without(ledger.aged - record.messages.keys(), ledger)
    found = {name: list(check(known, record, calls)) for name, check in INVARIANTS.items()}
    return {name: lines for name, lines in found.items() if lines}


def _without(gone: Collection[str], ledger: Ledger) -> Ledger:
    """What has been seen of all other messages."""
    return replace(
        ledger,
        handed=[one for one in ledger.handed if one.message_id not in gone],
        acknowledged=[one for one in ledger.acknowledged if one.message_id not in gone],
        cancelled=[one for one in ledger.cancelled if one.message_id not in gone],
        reported=[one for one in ledger.reported if one.message_id not in gone],
    )


Calls = Mapping[str, Sequence[Handed]]


def _by_message(handed: Iterable[Handed]) -> Calls:
    """By message, in the order of their attempts: a node that was stopped in between hands over late."""
    calls: defaultdict[str, list[Handed]] = defaultdict(list)
    for one in handed:
        calls[one.message_id].append(one)
    return {key: sorted(found, key=lambda one: (one.attempt, one.time)) for key, found in calls.items()}


def nothing_is_lost(ledger: Ledger, record: OnRecord, calls: Calls) -> Found:
    """What was acknowledged is there, and it is the message of that request id."""
    for one in ledger.acknowledged:
        kept = record.messages.get(one.message_id)
        if kept is None:
            yield f"{one.request_id} was acknowledged as {one.message_id}, which is not there"
        elif kept.request_id != one.request_id:
            yield f"{one.request_id} was acknowledged as {one.message_id}, which is {kept.request_id}"


def a_request_id_is_one_message(ledger: Ledger, record: OnRecord, calls: Calls) -> Found:
    """Whoever has heard of a request id, callers, providers or the store, has heard of one message."""
    known: defaultdict[str, set[str]] = defaultdict(set)
    for acknowledged in ledger.acknowledged:
        known[acknowledged.request_id].add(acknowledged.message_id)
    for handed in ledger.handed:
        known[handed.request_id].add(handed.message_id)
    for kept in record.messages.values():
        known[kept.request_id].add(kept.message_id)
    for request_id, message_ids in known.items():
        if len(message_ids) > 1:
            yield f"{request_id} is {len(message_ids)} messages: {sorted(message_ids)}"


def every_handover_is_on_record(ledger: Ledger, record: OnRecord, calls: Calls) -> Found:
    """What a provider has is an attempt on record, at that provider."""
    for one in ledger.handed:
        kept = record.messages.get(one.message_id)
        attempt = kept.attempt(one.attempt) if kept else None
        if attempt is None:
            yield f"{one.message_id}: attempt {one.attempt} came to {one.provider} ({one.node}), and is not on record"
        elif attempt.provider != one.provider:
            yield f"{one.message_id}: attempt {one.attempt} came to {one.provider}, and is on record for {attempt}"


def no_attempt_is_made_twice(ledger: Ledger, record: OnRecord, calls: Calls) -> Found:
    """Two nodes never have the same attempt, and neither has one node."""
    for message_id, made in calls.items():
        for one, following in itertools.pairwise(made):
            if one.attempt == following.attempt:
                yield f"{message_id}: attempt {one.attempt} was made by {one.node} and by {following.node}"


def the_record_says_what_providers_said(ledger: Ledger, record: OnRecord, calls: Calls) -> Found:
    """An attempt on record ends as its provider answered, or `uncertain`; nothing that was sent counts as failed."""
    for message_id, kept in record.messages.items():
        made = {one.attempt: list(one.answers.values()) for one in calls.get(message_id, ())}
        for attempt in kept.attempts:
            answers = made.get(attempt.number)
            if attempt.outcome is Outcome.UNCERTAIN:
                continue
            if answers is None:
                if attempt.outcome in (Outcome.SUCCESS, Outcome.REJECTED):
                    yield f"{message_id}: {attempt} was never made"
            elif attempt.outcome is not _outcome(answers):
                yield f"{message_id}: {attempt} was answered with {answers}"
        said = set(itertools.chain(*made.values()))
        # Of an email to several, some may have got it.
        if kept.state is MessageState.FAILED and said & set(TAKEN) and all(len(each) == 1 for each in made.values()):
            yield f"{message_id} has failed, and providers said {said}"
        if kept.state is MessageState.SENT and Outcome.SUCCESS not in said:
            yield f"{message_id} is sent, and providers said {said}"


def _outcome(answers: Sequence[Outcome | None]) -> Outcome:
    """How an attempt ended that was answered so."""
    heard = [one for one in answers if one]
    return worst(heard) if len(heard) == len(answers) else Outcome.UNCERTAIN


def nothing_is_sent_again_in_silence(ledger: Ledger, record: OnRecord, calls: Calls) -> Found:
    """A recipient is written to again only where the attempt before failed, or is `uncertain` on record."""
    for message_id, kept in record.messages.items():
        for before, _, answer in _again(calls.get(message_id, ())):
            attempt = kept.attempt(before.attempt)
            if answer in (None, *TAKEN) and attempt and attempt.outcome is not Outcome.UNCERTAIN:
                yield f"{message_id}: {attempt} was answered with {answer}, and another was made"


def at_most_once_is_once(ledger: Ledger, record: OnRecord, calls: Calls) -> Found:
    """Who asked for it is not sent to again once an attempt may have been taken."""
    for message_id, kept in record.messages.items():
        if not kept.at_most_once:
            continue
        for before, following, answer in _again(calls.get(message_id, ())):
            if answer in (None, *TAKEN):
                yield f"{message_id}: attempt {before.attempt} may have been taken, and {following.attempt} was made"


def _again(made: Sequence[Handed]) -> Iterator[tuple[Handed, Handed, Outcome | None]]:
    """Each two attempts in a row that were for one recipient, and what the first was answered for it."""
    latest: dict[int, Handed] = {}
    for one in made:
        for position in one.answers:
            if (before := latest.get(position)) and before.attempt != one.attempt:
                yield before, one, before.answers.get(position)
            latest[position] = one


def all_is_settled_and_whole(ledger: Ledger, record: OnRecord, calls: Calls) -> Found:
    """Nothing is left under way, and the tables of what waits and what is with a node agree with the messages."""
    for message_id, kept in record.messages.items():
        if kept.state in UNSETTLED:
            yield f"{message_id} is left {kept.state.value}"
        if kept.waiting is not (kept.state is MessageState.QUEUED):
            yield f"{message_id} is {kept.state.value}, and waiting: {kept.waiting}"
        if kept.is_open is not any(one.outcome is None for one in kept.attempts):
            yield f"{message_id} is with a node: {kept.is_open}, and has {kept.attempts}"
        if kept.state in UNSETTLED and not kept.has_content:
            yield f"{message_id} is {kept.state.value}, and what it says is gone"
        numbers = [one.number for one in kept.attempts]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{message_id}: attempts {numbers}"


def others_were_informed(ledger: Ledger, record: OnRecord, calls: Calls) -> Found:
    """A watch has missed nothing, what was cancelled is, and what was reported is on record."""
    for message_id, kept in record.messages.items():
        is_watched = ledger.watched_since and kept.create_time * 1000 > ledger.watched_since
        if is_watched and ledger.seen.get(message_id) != kept.revision:
            yield f"{message_id}: revision {kept.revision}, and the watch has seen {ledger.seen.get(message_id)}"
    for cancelled in ledger.cancelled:
        now = record.messages.get(cancelled.message_id)
        if now is None:
            yield f"{cancelled.message_id} was cancelled, and is not there"
            continue
        if now.state in UNSETTLED:
            yield f"{cancelled.message_id} was {cancelled.state}, and is {now.state.value}"
        for call in calls.get(cancelled.message_id, ()):
            attempt = now.attempt(call.attempt)
            if call.time > cancelled.time and (attempt is None or attempt.outcome is not Outcome.UNCERTAIN):
                yield f"{cancelled.message_id} was cancelled, and attempt {call.attempt} made after it"
    for one in ledger.reported:
        if (one.provider, one.message_id, one.attempt, one.state) not in record.receipts:
            yield f"{one.message_id}: {one.state} of attempt {one.attempt} was taken from {one.provider}, and is lost"
    if record.unapplied:
        yield f"{record.unapplied} receipts are not applied"


INVARIANTS: Final[Mapping[str, Callable[[Ledger, OnRecord, Calls], Found]]] = {
    check.__name__: check
    for check in (
        nothing_is_lost,
        a_request_id_is_one_message,
        every_handover_is_on_record,
        no_attempt_is_made_twice,
        the_record_says_what_providers_said,
        nothing_is_sent_again_in_silence,
        at_most_once_is_once,
        all_is_settled_and_whole,
        others_were_informed,
    )
}
