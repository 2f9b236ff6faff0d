"""The verifier finds each thing that it is there for, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.nodes.ledger import Acknowledged, Cancelled, Handed, Ledger, Reported, attempt_of
from tests.nodes.verify import INVARIANTS, Kept, OnRecord, Tried, verify
from tests.support.receipts import REFERENCES

from postwire.core.message import MessageState
from postwire.core.outcome import Outcome

ID = "01938c5e-0000-7000-8000-00000000000a"
OTHER = "01938c5e-0000-7000-8000-00000000000b"
ERROR, SUCCESS, UNCERTAIN = Outcome.ERROR, Outcome.SUCCESS, Outcome.UNCERTAIN

FAILED_FIRST = Tried(1, "a", ERROR)
KEPT = Kept(ID, "r-1", MessageState.SENT, 5, 1_000, False, (FAILED_FIRST, Tried(2, "b", SUCCESS)))


def handed(attempt: int, *answers: Outcome | None, time: int = 0, provider: str = "") -> Handed:
    named = provider or ("a" if attempt == 1 else "b")
    return Handed(ID, attempt, named, "r-1", time or attempt, dict(enumerate(answers)), "node-1")


def well() -> tuple[Ledger, Kept]:
    """Handed over twice, sent by the second attempt, and watched."""
    ledger = Ledger(
        handed=[handed(1, ERROR), handed(2, SUCCESS)],
        acknowledged=[Acknowledged("r-1", ID)],
        seen={ID: 5},
        watched_since=1,
    )
    return ledger, KEPT


def found(ledger: Ledger, *kept: Kept, unapplied: int = 0) -> set[str]:
    return set(verify(ledger, OnRecord({one.message_id: one for one in kept}, unapplied=unapplied)))


def test_nothing_is_found_where_all_is_well() -> None:
    assert found(*well()) == set()


def test_late_and_repeated_and_partial_handovers_are_legal() -> None:
    ledger, kept = well()
    # The second was handed over first: the node of attempt 1 had been stopped, and was taken for dead.
    uncertain = replace(kept, attempts=(Tried(1, "a", UNCERTAIN), Tried(2, "b", SUCCESS)))
    ledger.handed = [handed(1, SUCCESS, time=9), handed(2, SUCCESS, time=3)]
    assert found(ledger, uncertain) == set()
    # The first recipient was taken, and the second tried again.
    ledger.handed = [handed(1, SUCCESS, ERROR), replace(handed(2, SUCCESS), answers={1: SUCCESS})]
    assert found(ledger, kept) == set()
    # It was cut off before its provider had answered.
    ledger.handed = [handed(1, None), handed(2, SUCCESS)]
    assert found(ledger, uncertain) == set()


def test_what_was_made_old_may_be_gone_and_only_that() -> None:
    ledger, kept = well()
    ledger.cancelled = [Cancelled(ID, "cancelled", 0)]
    ledger.reported = [Reported("b", ID, 2, "delivered")]
    assert found(ledger) == {"nothing_is_lost", "every_handover_is_on_record", "others_were_informed"}
    ledger.aged = {ID}
    assert found(ledger) == set()
    # Its request id is free again, for one message.
    ledger.acknowledged.append(Acknowledged("r-1", OTHER))
    again = replace(kept, message_id=OTHER, create_time=0, attempts=())
    assert found(ledger, replace(again, state=MessageState.CANCELLED)) == set()
    assert found(ledger) == {"nothing_is_lost"}
    # While it is there, all holds of it.
    assert found(ledger, kept, again) >= {"a_request_id_is_one_message", "others_were_informed"}


def lost(ledger: Ledger, kept: Kept) -> Kept:
    ledger.acknowledged.append(Acknowledged("r-2", OTHER))
    return kept


def acknowledged_as_another(ledger: Ledger, kept: Kept) -> Kept:
    ledger.acknowledged.append(Acknowledged("r-1", OTHER))
    return kept


def two_messages_of_one_request_id(ledger: Ledger, kept: Kept) -> Kept:
    ledger.handed.append(replace(handed(1, ERROR), message_id=OTHER))
    return kept


def not_on_record(ledger: Ledger, kept: Kept) -> Kept:
    ledger.handed.append(handed(3, SUCCESS))
    return kept


def at_another_provider(ledger: Ledger, kept: Kept) -> Kept:
    ledger.handed[1] = handed(2, SUCCESS, provider="c")
    return kept


def made_twice(ledger: Ledger, kept: Kept) -> Kept:
    ledger.handed.append(replace(handed(2, SUCCESS), node="node-2"))
    return kept


def never_made(ledger: Ledger, kept: Kept) -> Kept:
    del ledger.handed[1]
    return kept


def answered_otherwise(ledger: Ledger, kept: Kept) -> Kept:
    ledger.handed[0] = handed(1, Outcome.REJECTED)
    return kept


def failed_though_it_was_taken(ledger: Ledger, kept: Kept) -> Kept:
    return replace(kept, state=MessageState.FAILED)


def again_in_silence(ledger: Ledger, kept: Kept) -> Kept:
    ledger.handed[0] = handed(1, SUCCESS)
    return kept


def again_though_once_was_asked_for(ledger: Ledger, kept: Kept) -> Kept:
    ledger.handed[0] = handed(1, UNCERTAIN)
    return replace(kept, at_most_once=True, attempts=(Tried(1, "a", UNCERTAIN), kept.attempts[1]))


def cut_off_and_again(ledger: Ledger, kept: Kept) -> Kept:
    ledger.handed[0] = handed(1, None)
    return replace(kept, at_most_once=True, attempts=(Tried(1, "a", UNCERTAIN), kept.attempts[1]))


def left_waiting(ledger: Ledger, kept: Kept) -> Kept:
    del ledger.handed[1]
    return replace(kept, state=MessageState.QUEUED, attempts=(FAILED_FIRST,), waiting=True)


def waiting_though_sent(ledger: Ledger, kept: Kept) -> Kept:
    return replace(kept, waiting=True)


def with_a_node_though_closed(ledger: Ledger, kept: Kept) -> Kept:
    return replace(kept, is_open=True)


def without_an_attempt_between(ledger: Ledger, kept: Kept) -> Kept:
    del ledger.handed[0]
    return replace(kept, attempts=kept.attempts[1:])


def unseen(ledger: Ledger, kept: Kept) -> Kept:
    ledger.seen[ID] = 4
    return kept


def sent_after_a_cancel(ledger: Ledger, kept: Kept) -> Kept:
    ledger.cancelled.append(Cancelled(ID, "cancelled", 1))
    return kept


def a_lost_receipt(ledger: Ledger, kept: Kept) -> Kept:
    ledger.reported.append(Reported("b", ID, 2, "delivered"))
    return kept


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (lost, {"nothing_is_lost"}),
        (acknowledged_as_another, {"nothing_is_lost", "a_request_id_is_one_message"}),
        (two_messages_of_one_request_id, {"a_request_id_is_one_message", "every_handover_is_on_record"}),
        (not_on_record, {"every_handover_is_on_record", "nothing_is_sent_again_in_silence"}),
        (at_another_provider, {"every_handover_is_on_record"}),
        (made_twice, {"no_attempt_is_made_twice"}),
        (never_made, {"the_record_says_what_providers_said"}),
        (answered_otherwise, {"the_record_says_what_providers_said"}),
        (failed_though_it_was_taken, {"the_record_says_what_providers_said"}),
        (again_in_silence, {"the_record_says_what_providers_said", "nothing_is_sent_again_in_silence"}),
        (again_though_once_was_asked_for, {"at_most_once_is_once"}),
        (cut_off_and_again, {"at_most_once_is_once"}),
        (left_waiting, {"all_is_settled_and_whole"}),
        (waiting_though_sent, {"all_is_settled_and_whole"}),
        (with_a_node_though_closed, {"all_is_settled_and_whole"}),
        (without_an_attempt_between, {"all_is_settled_and_whole"}),
        (unseen, {"others_were_informed"}),
        (sent_after_a_cancel, {"others_were_informed"}),
        (a_lost_receipt, {"others_were_informed"}),
    ],
)
def test_each_fault_is_found(fault: Callable[[Ledger, Kept], Kept], names: set[str]) -> None:
    ledger, kept = well()
    assert found(ledger, fault(ledger, kept)) == names


def test_receipts_that_nobody_has_applied_are_found() -> None:
    assert found(*well(), unapplied=1) == {"others_were_informed"}


def test_every_invariant_is_broken_by_one_of_these() -> None:
    assert len(INVARIANTS) == 9
    marks = test_each_fault_is_found.pytestmark  # type: ignore[attr-defined]  # what parametrize leaves there
    assert set().union(*(names for _, names in marks[0].args[1])) == set(INVARIANTS)


def test_a_reference_names_its_attempt() -> None:
    assert attempt_of(REFERENCES.make(ID, 3)) == (ID, 3)
