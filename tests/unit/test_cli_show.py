"""What commands print, at a terminal and elsewhere."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from typing import Any

import pytest

from postwire.cli import show
from postwire.cli.failure import printable
from postwire.v1.message_pb2 import (
    Channel,
    DeliveryGuarantee,
    Message,
    MessageState,
    Outcome,
    RecipientStatus,
)

ESCAPE = "\x1b"


class Terminal(io.StringIO):
    """Takes what is printed, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


@pytest.mark.parametrize(
    ("enum", "value", "shown"),
    [
        (Channel, Channel.CHANNEL_EMAIL, "email"),
        (MessageState, MessageState.MESSAGE_STATE_SENT, "sent"),
        (Outcome, Outcome.OUTCOME_RATE_LIMITED, "rate_limited"),
        (DeliveryGuarantee, DeliveryGuarantee.DELIVERY_GUARANTEE_AT_MOST_ONCE, "at_most_once"),
        (Outcome, Outcome.OUTCOME_UNSPECIFIED, ""),
        (Outcome, 99, "99"),  # of a server newer than we are
    ],
)
def test_words(enum: Any, value: int, shown: str) -> None:
    assert show.word(enum, value) == shown


def test_a_plain_table_is_aligned_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    show.print_table(("no", "what"), [("1", long), ("100", "")])
    assert capsys.readouterr().out == f"NO   WHAT\n1    {long}\n100  -\n"


def test_a_table_without_rows_is_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_table(("no", "what"), [])
    assert capsys.readouterr().out == "NO  WHAT\n"


def test_at_a_terminal_words_have_colours(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        show.print_table(("state",), [("failed",)])
        show.print_pairs([("state", "sent"), ("empty", "")])
    drawn = terminal.getvalue()
    assert f"{ESCAPE}[31mfailed" in drawn
    assert f"state  {ESCAPE}[32msent{ESCAPE}[0m\n" in drawn
    assert "empty" not in drawn


def test_no_color_is_respected(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with redirect_stdout(terminal):
        show.print_table(("state",), [("failed",)])
        show.print_pairs([("state", "sent")])
    drawn = terminal.getvalue()
    assert f"{ESCAPE}[3" not in drawn
    assert "failed" in drawn
    assert "state  sent\n" in drawn


def test_at_a_narrow_terminal_nothing_is_lost(terminal: Terminal) -> None:
    text = "abcdefghijklmnopqrstuvwxyz" * 8
    with redirect_stdout(terminal):
        show.print_table(("no", "what"), [("1", text)])
    lines = terminal.getvalue().splitlines()[1:]
    assert [line.split() for line in lines] == [["1", text]], "the terminal itself breaks it"


def test_at_a_narrow_terminal_ids_stay_whole_and_what_can_be_spared_is_left_out(terminal: Terminal) -> None:
    ids = [f"01890a5d-ac96-774b-bcce-b302099a80{number}" for number in range(10, 13)]
    rows = [(one, "x" * 40, "some words " * 9, "y" * 6) for one in ids]
    with redirect_stdout(terminal):
        show.print_table(("message_id", "spare", "detail", "other"), rows, spare=("spare",))
    drawn = terminal.getvalue()
    assert all(one in drawn for one in ids)
    assert "spare" not in drawn
    assert "some words" in drawn
    assert max(map(len, drawn.splitlines()[1:])) <= 60


def test_brackets_are_no_markup_and_controls_do_not_reach_the_terminal(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        show.print_table(("what",), [(f"[red]a{ESCAPE}[2J",)])
        show.print_pairs([("label", f"{ESCAPE}]0;title\x07")])
    drawn = terminal.getvalue()
    assert "[red]a\\x1b[2J" in drawn
    assert "label  \\x1b]0;title\\x07\n" in drawn


def test_json_is_indented_at_a_terminal(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        show.print_json('{"a": 1}')
    assert terminal.getvalue() == '{\n  "a": 1\n}\n'


def test_without_stdout_nothing_is_printed_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    show.print_table(("no",), [("1",)])
    show.print_pairs([("no", "1")])
    show.print_json("{}")


def test_recipients_are_shown_by_position(capsys: pytest.CaptureFixture[str]) -> None:
    message = Message(
        message_id="m",
        recipients=[
            RecipientStatus(
                index=1,
                state=MessageState.MESSAGE_STATE_FAILED,
                outcome=Outcome.OUTCOME_REJECTED,
                error_code="550",
            )
        ],
    )
    message.create_time.FromMicroseconds(1_500_000)
    show.print_message(message)
    assert capsys.readouterr().out == (
        "message_id   m\n"
        "create_time  1970-01-01T00:00:01.500Z\n"
        "\n"
        "RECIPIENT  STATE   OUTCOME   CODE\n"
        "1          failed  rejected  550\n"
    )


def test_printable() -> None:
    assert printable("a\nb\x1b[0m\u202eé 日") == "a\\nb\\x1b[0m\\u202eé 日"
