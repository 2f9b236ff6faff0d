"""`postwire demo nodes`: the story as it is played, how it ends, and its progress."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from tests.support.waiting import PATIENCE

from postwire.cli.demo.local_postgres import BIN, NoPostgres, programs
from postwire.cli.demo.nodes import CONFIG, KILL_AFTER, KILLED, LEFT, MESSAGES
from postwire.cli.demo.progress import Progress
from postwire.config.schema import load
from postwire.providers.builtin import KINDS

COMMAND = [sys.executable, "-m", "postwire", "demo", "nodes"]
ESCAPE = "\x1b"


@pytest.fixture
def postgres() -> Path:
    """The directory of its programs."""
    try:
        return programs()
    except NoPostgres as missing:
        pytest.skip(str(missing))


@pytest.mark.long
@pytest.mark.usefixtures("postgres")
def test_the_story_is_told_as_it_happens_and_ends_by_itself() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert ESCAPE not in done.stdout
    happened = [line.split("s  ", 1) for line in done.stdout.splitlines() if re.match(r" *\d+\.\ds  ", line)]
    times = [float(at) for at, _ in happened]
    assert times == sorted(times)
    reported = [what for _, what in happened if "settled" not in what]
    assert f"{KILLED} is killed (kill -9)" in reported
    assert any(re.fullmatch(rf"{LEFT} has ended \d+ attempts of {KILLED} as uncertain", what) for what in reported)
    shown = [int(count) for _, what in happened for count in re.findall(rf"(\d+) of {MESSAGES} settled", what)]
    assert shown == sorted(shown)
    assert shown[-1] == MESSAGES
    answered = {
        row[0]: int(row[1])
        for line in done.stdout.splitlines()
        if len(row := line.split()) >= 3 and row[0] in (KILLED, LEFT) and row[1].isdigit()
    }
    assert sum(answered.values()) == MESSAGES
    assert 0 < answered[KILLED] < KILL_AFTER
    assert (
        f"Nothing was lost, and nothing is there twice: {MESSAGES} request ids, {MESSAGES} messages, all sent."
        in done.stdout
    )
    assert f"{LEFT} stopped by SIGTERM, with exit code 0." in done.stdout


@pytest.mark.long
def test_interrupted_in_the_middle_it_leaves_nothing_behind(postgres: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="postwire-test-") as folder:  # others than root have to get there
        Path(folder).chmod(0o755)
        environ = {"TMPDIR": folder, BIN: str(postgres)}
        process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
        with process:
            assert process.stdout
            assert process.stderr
            while "is killed" not in process.stdout.readline():
                assert process.poll() is None, process.stderr.read()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 128 + signal.SIGTERM
            assert process.stderr.read().strip() == ""
        assert list(Path(folder).iterdir()) == []


def test_its_nodes_differ_by_their_names_alone(tmp_path: Path) -> None:
    file = tmp_path / "demo.toml"
    file.write_text(CONFIG.format(url="postgresql://postgres@127.0.0.1:5432/postgres", name=KILLED))
    config = load(path=file, environ={}, kinds=KINDS)
    assert config.nodes.called == KILLED
    assert config.server.listen.endswith(":0")


def play() -> None:
    with Progress(4) as progress:
        progress.report(0.0, "it begins")
        progress.show(1, 0.1)
        progress.show(2, 1.2)
        progress.show(2, 2.4)
        progress.show(4, 2.5)


def test_elsewhere_than_on_a_terminal_a_second_has_one_line_that_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    play()
    assert capsys.readouterr().out == " 0.0s  it begins\n 1.2s  2 of 4 settled\n 2.5s  4 of 4 settled\n\n"


class Terminal(io.StringIO):
    """Takes what is printed, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_bar_grows_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    terminal = Terminal()
    with redirect_stdout(terminal):
        play()
    drawn = terminal.getvalue()
    last = drawn.rpartition(f"{ESCAPE}[2K")[2]
    assert f"{ESCAPE}[1A" in drawn
    plain = re.sub(rf"{ESCAPE}\[[0-9;?]*[A-Za-z]", "", last)
    assert f"{'━' * 50}" in plain.splitlines()[0]
    assert "4 of 4 settled" in plain
    assert "0.0s  it begins" in plain
