"""The command's root: help, versions, how it ends; and the commands about configuration."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from tests.support.waiting import PATIENCE

from postwire import __version__, app
from postwire.cli import main
from postwire.cli.failure import ExitCode
from postwire.cli.root import root
from postwire.config.bind import ConfigError
from postwire.config.schema import Config
from postwire.signals import HangUp


def run(*args: str) -> Result:
    return CliRunner().invoke(root, args)


def in_a_process(code: str, *, stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """Runs this code as a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=PATIENCE
    )


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No postwire.toml, no settings in the environment, and signals that mean afterwards what they did before."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)}
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("POSTWIRE_"):
            monkeypatch.delenv(name)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_help_names_every_command_and_exit_code() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in ("serve", "config", "send", "messages", "providers", "route", "health", "demo"):
        assert f"\n  {command} " in result.stdout
    for code in ExitCode:
        assert f"\n    {code:<4} " in result.stdout


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    """Every command below a group, by its words."""
    for name, command in group.commands.items():
        yield (*before, name)
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)


@pytest.mark.parametrize("args", [*commands(root)], ids=" ".join)
def test_every_command_has_help_that_says_what_it_does(args: tuple[str, ...]) -> None:
    result = run(*args, "--help")
    assert result.exit_code == 0
    said = result.stdout.splitlines()[2].strip()
    assert re.match("[A-Z].*[a-z]", said), said


def test_version() -> None:
    assert __version__ in run("--version").stdout


@pytest.mark.parametrize(
    "args", [(), ("nonsense",), ("send",), ("--nonsense",), ("demo", "nonsense"), ("providers", "drain")]
)
def test_wrong_usage(args: tuple[str, ...]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert not result.stdout


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("grpc", "google.protobuf", "rich", "aiohttp", "apsw", "opentelemetry", "asyncio", "postwire.app")
    code = f"import sys, postwire.cli.root; print([name for name in {heavy} if name in sys.modules])"
    assert in_a_process(code).stdout == "[]\n"


def test_grpc_is_told_to_be_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    run("config", "check")
    assert os.environ["GRPC_VERBOSITY"] == "NONE"
    monkeypatch.setenv("GRPC_VERBOSITY", "DEBUG")
    run("config", "check")
    assert os.environ["GRPC_VERBOSITY"] == "DEBUG"


def test_without_the_servers_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "click", None)
    for name in [name for name in sys.modules if name.startswith("postwire.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit, match=r"pip install 'postwire\[server\]'"):
        main()


def test_an_interrupt_is_quiet() -> None:
    code = (
        "import signal; from postwire.config import schema as config; from postwire.cli.root import root\n"
        "config.load = lambda **_: signal.raise_signal(signal.SIGINT)\n"
        "root(['serve'])"
    )
    done = in_a_process(code)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (128 + signal.SIGINT, "", "")


def test_nobody_reading_on_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = in_a_process("from postwire.cli.root import root; root(['config', 'check'])", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("args", "code"), [(["--help"], 0), (["config", "check"], 0), (["nonsense"], 2)])
def test_nobody_reading_on_changes_no_exit_code(args: list[str], code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "postwire", *args], stdout=writing, stderr=writing, timeout=PATIENCE, check=False
    )
    os.close(writing)
    assert done.returncode == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = in_a_process("from postwire.cli.root import root; root(['config', 'check'])", stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == "postwire: [Errno 28] No space left on device\n"


# Configuration.


def test_the_configuration_is_shown_with_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("postwire.toml").write_text('[store]\npath = "here.db"\n')
    monkeypatch.setenv("POSTWIRE_PROVIDERS__SMS_MMS__SEED", "7")
    result = run("config", "check")
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if "." in line}
    assert rows["store.path"] == ['"here.db"', "set"]
    assert rows["providers.sms-mms.seed"] == ["7", "set"]
    assert rows["server.listen"] == ['"127.0.0.1:50051"', "default"]
    assert "postwire.toml" in result.stdout.splitlines()[-1]


def test_the_configuration_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTWIRE_SERVER__GRACE", "1s")
    shown = json.loads(run("config", "check", "--json").stdout)
    assert shown["file"] is None
    assert {"key": "server.grace", "value": "1s", "explicit": True} in shown["settings"]
    assert {"key": "server.reflection", "value": True, "explicit": False} in shown["settings"]


@pytest.mark.parametrize("args", [("config", "check"), ("serve",)])
def test_a_configuration_that_is_wrong_is_one_line(args: tuple[str, ...]) -> None:
    Path("mine.toml").write_text("[server]\nlisten = 3\n")
    result = run(*args, "--config", "mine.toml")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith("postwire: server.listen: 3 is not an address")
    assert result.stderr.count("\n") == 1


def test_a_configuration_that_is_wrong_for_programs() -> None:
    result = run("config", "check", "--json", "--config", "nope.toml")
    assert (result.exit_code, result.stdout) == (4, "")
    error = json.loads(result.stderr)["error"]
    assert (error["code"], error["reason"]) == (None, "INVALID_CONFIGURATION")
    assert error["field_violations"][0]["field"] == "nope.toml"


def test_serve_runs_the_service_with_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Config] = []

    def serve(config: Config, hang_up: HangUp, read_again: Callable[[], Config]) -> int:
        given.append(config)
        return 3

    monkeypatch.setattr(app, "run", serve)
    monkeypatch.setenv("POSTWIRE_SERVER__LISTEN", "127.0.0.1:0")
    assert run("serve").exit_code == 3
    assert given[0].server.listen == "127.0.0.1:0"


def test_a_reload_reads_the_file_that_the_server_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is gone is an error, and does not mean the defaults."""
    file = Path("postwire.toml")
    file.write_text('server.grace = "1s"\n')

    def serve(config: Config, hang_up: HangUp, read_again: Callable[[], Config]) -> int:
        file.write_text('server.grace = "2s"\n')
        assert read_again().server.grace == 2
        file.unlink()
        with pytest.raises(ConfigError, match="does not exist"):
            read_again()
        return 3

    monkeypatch.setattr(app, "run", serve)
    assert run("serve").exit_code == 3


def test_signals_that_end_a_process_by_default_are_taken_over_before_what_takes_long_is_imported() -> None:
    done = in_a_process(
        """
import signal, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("postwire.config.schema", "postwire.app", "grpc"):
            taken = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
            print(name, [one.name for one in taken if signal.getsignal(one) is signal.SIG_DFL])
            if name == "grpc":
                sys.exit()
sys.meta_path.insert(0, Watch())
sys.argv = ["postwire", "serve"]
from postwire.cli import main
main()
"""
    )
    assert done.stdout.splitlines() == ["postwire.config.schema []", "postwire.app []", "grpc []"], done.stderr


def test_a_service_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise app.BootError("store.path: postwire.db is in use by another process")

    monkeypatch.setattr(app, "run", fail)
    result = run("serve")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == "postwire: store.path: postwire.db is in use by another process\n"


def test_exit_codes_of_click_are_ours() -> None:
    assert click.UsageError("").exit_code == ExitCode.USAGE
