"""What somebody wants who writes to a number of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postwire.core.inbound import START_WORDS, STOP_WORDS, Wish, Words


@pytest.mark.parametrize("word", STOP_WORDS)
def test_words_that_stop(word: str) -> None:
    for text in (word, word.lower(), word.title(), f" {word}\r\n", f"\t{word} "):
        assert Words().wish_in(text) is Wish.STOP


@pytest.mark.parametrize("word", START_WORDS)
def test_words_that_start(word: str) -> None:
    assert Words().wish_in(f"{word.lower()} ") is Wish.START


@pytest.mark.parametrize(
    "text", ["", " ", "STOP PLEASE", "please stop", "STOP.", "stopp", "HELP", "STOP" * 40, "STOP" + " " * 99]
)
def test_whatever_else_is_written_is_about_something_else(text: str) -> None:
    assert Words().wish_in(text) is None


def test_words_can_be_others_in_any_language() -> None:
    words = Words(stop=["arr\u00eat", "STRASSE"], start=[])
    assert words.wish_in("ARRE\u0302T") is Wish.STOP
    assert words.wish_in("stra\u00dfe") is Wish.STOP
    assert words.wish_in("STOP") is None
    assert words.wish_in("START") is None


@given(st.text(max_size=100))
def test_no_text_is_too_strange(text: str) -> None:
    assert Words().wish_in(text) in (None, Wish.STOP, Wish.START)
