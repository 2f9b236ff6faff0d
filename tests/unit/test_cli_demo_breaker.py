"""`postwire demo breaker`: the story as it is played, how it ends, and its timeline."""

from __future__ import annotations

import io
import queue
import re
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from tests.support.waiting import PATIENCE

from postwire.cli.demo.breaker import CHANNELS, CONFIG, FAILING, FAILS_AT, MOST, UNTOUCHED, WELL_AT, _Breakers
from postwire.cli.demo.server import Event
from postwire.cli.demo.timeline import Slice, Timeline
from postwire.config.schema import load
from postwire.core.message import Channel
from postwire.providers.builtin import KINDS

COMMAND = [sys.executable, "-m", "postwire", "demo", "breaker"]
ESCAPE = "\x1b"


@pytest.mark.long
def test_the_story_is_told_as_it_happens_and_ends_by_itself() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert ESCAPE not in done.stdout
    # What has happened, in its order.
    happened = [line.split("s  ", 1) for line in done.stdout.splitlines() if re.match(r" *\d+\.\ds  ", line)]
    reported = [what.removeprefix(f"the breaker of {FAILING}: ") for _, what in happened]
    assert reported[:2] == [f"{FAILING} begins to fail, each time", "closed -> open"]
    assert reported[-2:] == ["open -> half_open", "half_open -> closed"]
    assert f"{FAILING} works again" in reported
    assert all(UNTOUCHED not in what for what in reported)
    times = [float(at) for at, _ in happened]
    assert times == sorted(times)
    # The rows, a character a slice.
    rows = dict(re.findall(r"^(\S+) +([.x-]+)$", done.stdout, re.MULTILINE))
    assert rows.keys() == {FAILING, UNTOUCHED}
    assert re.fullmatch(rf"\.{{{FAILS_AT}}}x[x-]*-[.-]*\.{{5}}", rows[FAILING]), rows[FAILING]
    assert set(rows[UNTOUCHED]) == {"."}
    assert WELL_AT < len(rows[FAILING]) == len(rows[UNTOUCHED]) <= MOST
    # The summary says the same.
    sent = len(rows[UNTOUCHED])
    table = [line.split() for line in done.stdout.splitlines()]
    assert ["email", UNTOUCHED, *map(str, (sent, sent, sent, 0, 0, 0))] in table
    sms = next(row for row in table if row[:2] == ["sms", FAILING])
    assert sms[2:7] == [str(sent), str(sent), *(str(rows[FAILING].count(one.value)) for one in Slice)]
    assert f"Email was untouched: {sent} of {sent} sent at once." in done.stdout
    assert f"Nothing was lost: all {2 * sent} messages are sent." in done.stdout
    assert re.search(rf"The breaker of {FAILING} opened (once|\d+ times), and was open for [1-9]\.\ds\.", done.stdout)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_the_middle_it_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"TMPDIR": str(tmp_path)}
    )
    with process:
        assert process.stdout
        assert process.stderr
        while "begins to fail" not in process.stdout.readline():
            assert process.poll() is None
        (folder,) = tmp_path.iterdir()
        assert (folder / "demo.db").exists(), "its server runs"
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
        assert process.stderr.read().strip() == ""
    assert list(tmp_path.iterdir()) == []


def test_its_configuration_carries_each_channel_at_a_provider_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "demo.toml"
    file.write_text(CONFIG)
    config = load(path=file, environ={}, kinds=KINDS)
    carriers = {provider: config.routes[Channel(channel)][0].names for provider, channel in CHANNELS.items()}
    assert carriers == {FAILING: (FAILING,), UNTOUCHED: (UNTOUCHED,)}


# What the log says of breakers.


def changed(at: float, source: str, target: str, provider: str = FAILING) -> Event:
    time = f"1970-01-01T00:00:{at:06.3f}Z"
    return {"time": time, "event": "breaker", "provider_name": provider, "from": source, "to": target}


def followed(*looks: list[Event]) -> tuple[_Breakers, list[dict[str, str]]]:
    """Breakers that began at 10 s, and what they show at each look at the log."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    breakers = _Breakers(events, began=10.0)
    shown = []
    for look in looks:
        for event in look:
            events.put(event)
        shown.append(breakers.follow(Timeline([FAILING])))
    return breakers, shown


def test_states_are_followed_and_the_time_that_a_breaker_was_open_is_summed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    breakers, shown = followed(
        [{"event": "attempt"}, changed(11.0, "closed", "open")],
        [],
        [changed(12.0, "open", "half_open"), changed(12.01, "half_open", "open")],
        [changed(14.25, "open", "half_open")],
        [],
        [changed(14.5, "half_open", "closed")],
        [],
    )
    # Half-open is shown, however short it was.
    assert [one.get(FAILING) for one in shown] == [
        *("open", "open", "half_open", "half_open", "half_open", "half_open", "closed")
    ]
    assert (breakers.opened, round(breakers.open_for, 3)) == (2, 1.0 + 2.24)
    assert breakers.state(FAILING) == "closed"
    assert capsys.readouterr().out.splitlines()[:2] == [
        f" 1.0s  the breaker of {FAILING}: closed -> open",
        f" 2.0s  the breaker of {FAILING}: open -> half_open",
    ]


def test_each_breaker_is_followed_by_itself() -> None:
    breakers, shown = followed([changed(11.0, "closed", "open"), changed(11.0, "closed", "half_open", UNTOUCHED)])
    assert shown == [{FAILING: "open", UNTOUCHED: "half_open"}]
    assert (breakers.state(FAILING), breakers.state(UNTOUCHED), breakers.state("other")) == (
        *("open", "half_open"),
        "closed",
    )


# The timeline.


class Terminal(io.StringIO):
    """Takes what is printed, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def play() -> None:
    with Timeline(["one", "another"]) as timeline:
        for slice, state in (Slice.SENT, "closed"), (Slice.FAILED, "open"), (Slice.PARKED, "half_open"):
            timeline.add("one", slice, state)
            timeline.add("another", Slice.SENT, "closed")
            timeline.draw()
        timeline.report(1.25, "it rains")


def test_elsewhere_than_on_a_terminal_what_happens_is_told_and_the_rows_follow(
    capsys: pytest.CaptureFixture[str],
) -> None:
    play()
    assert capsys.readouterr().out == (
        " 1.2s  it rains\n"
        "\n"
        "one      .x-\n"
        "another  ...\n"
        "\n"
        ". sent   x failed, to be tried again   - parked, without an attempt\n"
    )


def test_what_breaks_off_leaves_no_half_of_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Timeline(["one"]):
        raise KeyboardInterrupt
    assert capsys.readouterr().out == ""


def test_on_a_terminal_the_rows_grow_in_place_in_the_colour_of_the_breaker(terminal: Terminal) -> None:
    with redirect_stdout(terminal):
        play()
    drawn = terminal.getvalue()
    last = drawn.rpartition(f"{ESCAPE}[2K")[2]
    assert f"{ESCAPE}[1A" in drawn
    assert f"one      {ESCAPE}[32m.{ESCAPE}[0m{ESCAPE}[31mx{ESCAPE}[0m{ESCAPE}[33m-{ESCAPE}[0m" in last
    assert f"{ESCAPE}[31mopen" in last
    assert f"{ESCAPE}[?25h" in last, "the cursor is shown again"


def test_a_full_timeline_fits_into_80_columns(terminal: Terminal) -> None:
    with redirect_stdout(terminal), Timeline(tuple(CHANNELS)) as timeline:
        for _ in range(MOST):
            for name in CHANNELS:
                timeline.add(name, Slice.SENT, "closed")
        timeline.draw()
    plain = re.sub(rf"{ESCAPE}\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    lines = plain.splitlines()
    assert max(map(len, lines)) <= 80
    assert f"{FAILING}  {'.' * MOST}" in lines, "and in one line"
