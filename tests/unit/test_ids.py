"""Message ids: the layout of RFC 9562, section 5.7, and an order that holds whatever the wall clock does."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.clock import START

from postwire.core.ids import MessageIds, RandomBits, is_message_id


def ids() -> MessageIds:
    return MessageIds(random.Random(7).getrandbits)


@pytest.mark.parametrize("random_word", [0, 2**62 - 1], ids=["zeros", "ones"])
def test_layout_is_version_7(random_word: int) -> None:
    text = MessageIds(lambda _: random_word).next(START + 999)
    parsed = uuid.UUID(text)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == START // 1000, "the first 48 bits are milliseconds since the epoch"
    assert parsed.int & (2**62 - 1) == random_word
    assert str(parsed) == text, "spelled in the canonical form"


def test_ids_of_one_millisecond_are_counted_from_zero() -> None:
    made = MessageIds(lambda _: 0)
    parsed = [uuid.UUID(made.next(now)) for now in (START, START + 1, START + 999, START + 1000)]
    assert [(one.int >> 64) & 0xFFF for one in parsed] == [0, 1, 2, 0]


def test_random_bits_are_asked_for_in_full() -> None:
    asked: list[int] = []

    def bits(count: int) -> int:
        asked.append(count)
        return 0

    MessageIds(bits).next(START)
    assert asked == [62]


def test_more_ids_than_a_millisecond_can_count_still_rise() -> None:
    made = ids()
    in_one_millisecond = [made.next(START) for _ in range(10_000)]
    assert in_one_millisecond == sorted(set(in_one_millisecond))
    assert all(uuid.UUID(one).version == 7 for one in in_one_millisecond)
    assert made.next(START + 3_000) > in_one_millisecond[-1]


@given(st.lists(st.integers(0, 2**48 * 1000 - 1), min_size=2, max_size=50))
def test_ids_rise_strictly_however_the_wall_clock_steps(times: list[int]) -> None:
    made = ids()
    texts = [made.next(now) for now in times]
    assert texts == sorted(set(texts)), "as text, which is how they are compared by callers"
    assert [uuid.UUID(text).bytes for text in texts] == sorted(uuid.UUID(text).bytes for text in texts)


def test_after_a_step_back_the_last_millisecond_is_kept() -> None:
    made = ids()
    made.next(START)
    late = uuid.UUID(made.next(START - 3_600_000_000))
    assert late.int >> 80 == START // 1000


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("018bcfe5-6800-7000-8000-000000000000", True),
        ("018bcfe5-6800-4000-8000-000000000000", True),
        ("", False),
        ("018bcfe568007000800000000000000", False),
        ("018bcfe5680070008000000000000000", False),
        ("018BCFE5-6800-7000-8000-000000000000", False),
        ("{018bcfe5-6800-7000-8000-000000000000}", False),
        ("urn:uuid:018bcfe5-6800-7000-8000-000000000000", False),
        ("018bcfe5-6800-7000-8000-000000000000\n", False),
        (" 018bcfe5-6800-7000-8000-000000000000", False),
        ("018bcfe5-6800-7000-8000-00000000_000", False),
        ("018bcfe5-6800-7000-8000-00000000000\u0661", False),
    ],
)
def test_only_the_canonical_form_is_a_message_id(text: str, is_one: bool) -> None:
    assert is_message_id(text) is is_one


def test_random_bits_are_taken_from_larger_pieces_each_used_once() -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return random.Random(len(asked)).randbytes(count)

    bits = RandomBits(random_bytes)
    pieces = [random.Random(n).randbytes(RandomBits.PIECE) for n in (1, 2)]
    expected = [piece[at : at + 8] for piece in pieces for at in range(0, RandomBits.PIECE, 8)]
    assert [bits(64).to_bytes(8, "little") for _ in range(RandomBits.PIECE // 4)] == expected
    assert asked == [RandomBits.PIECE] * 2
    assert all(bits(62) < 1 << 62 for _ in range(1000))
    assert max(bits(3) for _ in range(200)) == 7
