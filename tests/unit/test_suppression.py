"""Who must not be written to: when two addresses are the same, and what becomes of a message to one."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import START

from postwire.core import lifecycle, suppressing
from postwire.core.message import MessageRecord, MessageState, RecipientStatus
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import ReceiptState
from postwire.core.suppression import (
    Suppression,
    SuppressionPosition,
    SuppressionReason,
    address_hash,
    derived_key,
    fingerprint,
    hashes_of,
    normalized,
    parse_suppression_token,
    reason_of,
    scope_of,
    suppressed_positions,
    suppression_token,
)

KEY = b"k" * 32
ASKED = b"a" * 32
SENDING, FAILED, UNCERTAIN, SENT = (
    MessageState.SENDING,
    MessageState.FAILED,
    MessageState.UNCERTAIN,
    MessageState.SENT,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
        ("ada@B\u00dcCHER.example", "ada@xn--bcher-kva.example"),
        ("jose\u0301@example.com", "jos\u00e9@example.com"),
        ("JOSE\u0301@example.com", "jos\u00e9@example.com"),
        ("+15005550006", "+15005550006"),
    ],
)
def test_an_address_is_the_same_however_it_is_written(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)
    assert address_hash(one, KEY) == address_hash(other, KEY)
    assert len(address_hash(one, KEY)) == 32


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.da@example.com", "ada@example.com"),
        ("ada+news@example.com", "ada@example.com"),
        ("ada@example.com", "ada@example.org"),
        ("+15005550006", "+15005550007"),
    ],
)
def test_what_may_be_somebody_elses_stays_apart(one: str, other: str) -> None:
    assert address_hash(one, KEY) != address_hash(other, KEY)


@given(st.text(st.characters(exclude_characters="@"), min_size=1, max_size=20))
def test_to_normalize_twice_changes_nothing(local_part: str) -> None:
    address = f"{local_part}@example.com"
    once = normalized(address)
    assert normalized(once) == once
    assert normalized(unicodedata.normalize("NFD", address)) == normalized(unicodedata.normalize("NFC", address))


def test_a_hash_is_of_no_use_without_the_key_and_shows_nothing() -> None:
    assert address_hash("+15005550006", KEY) != address_hash("+15005550006", derived_key(KEY))
    assert fingerprint(KEY) != fingerprint(derived_key(KEY))
    assert len(fingerprint(KEY)) == 16
    made = suppression(hashes_of(build.sms(), KEY)[0])
    assert made.address_hash.hex() not in repr(made)
    assert repr(made.address_hash) not in repr(made)


def suppression(of: bytes, **fields: Any) -> Suppression:
    return replace(Suppression(of, SuppressionReason.MANUAL, "", START, "k"), **fields)


@pytest.mark.parametrize(
    ("sender", "scope"),
    [
        ("", "sms-mms"),
        ("+15005550009", "+15005550009"),
        ("ACME", "ACME"),
        ("News@Example.com", "news@example.com"),
        ("Ada <News@Example.com>", "news@example.com"),
    ],
)
def test_a_scope_is_the_sender_or_the_provider_with_its_own(sender: str, scope: str) -> None:
    assert scope_of(sender, "sms-mms") == scope


def test_of_many_recipients_those_in_force_for_the_scope_are_found() -> None:
    hashes = hashes_of(build.email("a@x.org", "b@x.org", "c@x.org", "d@x.org", "A@X.org"), KEY)
    found = [
        suppression(hashes[0]),
        suppression(hashes[1], sender="p"),
        suppression(hashes[2], sender="q"),
        suppression(hashes[3], expire_time=START),
    ]
    assert suppressed_positions(hashes, found, "p", START) == {0, 1, 4}
    assert suppressed_positions(hashes, found, "q", START - 1) == {0, 2, 3, 4}
    assert suppressed_positions(hashes, [], "q", START) == frozenset()


@pytest.mark.parametrize("state", ReceiptState)
@pytest.mark.parametrize("permanent", [False, True])
def test_receipts_that_have_somebody_suppressed(state: ReceiptState, permanent: bool) -> None:
    reasons = {
        ReceiptState.COMPLAINED: SuppressionReason.COMPLAINT,
        ReceiptState.OPTED_OUT: SuppressionReason.OPT_OUT,
    }
    if permanent:
        reasons[ReceiptState.UNDELIVERED] = SuppressionReason.HARD_BOUNCE
    assert reason_of(state, permanent=permanent) is reasons.get(state)


def test_a_token_goes_on_where_it_says_and_nowhere_else() -> None:
    place = SuppressionPosition(START, 7)
    token = suppression_token(place, ASKED)
    assert parse_suppression_token(token, ASKED) == place
    for bad in ("x", token[:-4], suppression_token(place, b"b" * 32)):
        with pytest.raises(ValueError, match=r"must be|belongs"):
            parse_suppression_token(bad, ASKED)


# What becomes of a message.


def opened(count: int = 0) -> MessageRecord:
    content = build.email(*(f"{one}@x.org" for one in range(count))) if count else None
    return build.accepted(build.command(content))


def test_without_anybody_left_there_was_no_attempt() -> None:
    for record in (opened(), opened(3)):
        after = suppressing.suppress(record, range(3), now=START + 5)
        assert (after.state, after.attempts, after.error_code) == (FAILED, (), "suppressed")
        assert after.next_attempt_time is None
        assert (after.revision, after.update_time) == (record.revision + 1, START + 5)
        assert all((one.state, one.outcome) == (FAILED, Outcome.REJECTED) for one in after.recipients)


def test_the_others_keep_their_attempt() -> None:
    after = suppressing.suppress(opened(3), {1}, now=START)
    assert (after.state, len(after.attempts), after.error_code) == (SENDING, 1, "")
    assert [one.state for one in after.recipients] == [SENDING, FAILED, SENDING]
    assert [one.error_code for one in after.recipients] == ["", "suppressed", ""]
    result = DispatchResult(Outcome.SUCCESS)
    closed, _ = lifecycle.close_attempt(after, result, lifecycle.Policy(5), now=START, duration=1)
    assert [one.state for one in closed.recipients] == [SENT, FAILED, SENT]
    assert closed.state is FAILED


def test_what_may_have_been_sent_is_not_denied() -> None:
    record, uncertain = opened(), DispatchResult(Outcome.UNCERTAIN)
    closed, _ = lifecycle.close_attempt(record, uncertain, lifecycle.Policy(5), now=START, duration=1)
    queued = lifecycle.requeue(closed, now=START, due=START)
    after = suppressing.suppress(queued, {0}, now=START)
    assert (after.state, len(after.attempts), after.error_code) == (UNCERTAIN, 1, "suppressed")


def test_who_has_had_it_stays_so_and_what_is_settled_is_left_alone() -> None:
    record = replace(opened(2), recipients=(RecipientStatus(0, SENT), RecipientStatus(1, SENDING)))
    after = suppressing.suppress(record, {0, 1}, now=START)
    assert [one.state for one in after.recipients] == [SENT, FAILED]
    with pytest.raises(ValueError, match="settled"):
        suppressing.suppress(after, {0}, now=START)
