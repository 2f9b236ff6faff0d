"""What a shell completes, and the man page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.support import forking
from tests.support.scripted_server import ScriptedServer, serving
from tests.support.waiting import PATIENCE
from tools import man_page

from postwire.cli.root import root
from postwire.v1.provider_service_pb2 import ListProvidersResponse, Provider

ROOT = Path(__file__).parents[2]


def complete(line: str, cwd: Path, **environ: str) -> list[str]:
    """What bash would offer for the last word of a line."""
    words = line.split(" ")
    asked = {"_POSTWIRE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTWIRE_")}
    done = forking.run(cwd=cwd, env=kept | asked | environ)
    assert done.stderr == ""
    return [one.partition(",")[2] for one in done.stdout.splitlines() if one]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "BASH"])
def test_each_shell_has_a_script(shell: str) -> None:
    result = CliRunner().invoke(root, ["completion", shell])
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"_POSTWIRE_COMPLETE={shell.lower()}_complete" in result.stdout
    program = shutil.which(shell.lower())
    if program:
        checked = subprocess.run([program, "-n"], input=result.stdout, text=True, capture_output=True, timeout=30)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_another_shell_is_refused() -> None:
    assert CliRunner().invoke(root, ["completion", "ksh"]).exit_code == 2


def test_commands_options_and_words_are_completed(tmp_path: Path) -> None:
    assert complete("postwire prov", tmp_path) == ["providers"]
    assert "--no-wait" in complete("postwire send --no", tmp_path)
    assert complete("postwire messages list --state S", tmp_path) == ["sending", "sent"]


def test_names_of_providers_are_those_of_the_server(tmp_path: Path) -> None:
    scripted = ScriptedServer()
    scripted.answer = ListProvidersResponse(providers=[Provider(name="sms-mms"), Provider(name="email")])
    with serving(scripted) as target:
        for line in ("providers get ", "providers drain ", "send sms --provider ", "messages list --provider "):
            assert complete(f"postwire {line}", tmp_path, POSTWIRE_SERVER=target) == ["sms-mms", "email"], line
        assert complete(f"postwire providers get --server {target} e", tmp_path) == ["email"]


def test_names_of_what_is_checked_are_those_of_the_configuration(tmp_path: Path) -> None:
    assert complete("postwire providers check ", tmp_path) == ["sms-mms", "email"]
    (tmp_path / "postwire.toml").write_text("[providers.one]\n[providers.other]\n", encoding="utf-8")
    (tmp_path / "my.toml").write_text("[providers.mine]\n", encoding="utf-8")
    assert complete("postwire providers check o", tmp_path) == ["one", "other"]
    assert complete("postwire providers check --config my.toml ", tmp_path) == ["mine"]
    assert "mock" in complete("postwire providers kinds ", tmp_path)
    for broken in ("[providers", "providers = 3"):
        (tmp_path / "my.toml").write_text(broken, encoding="utf-8")
        assert complete("postwire providers check --config my.toml ", tmp_path) == []


def test_where_no_server_answers_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    assert complete("postwire providers get ", tmp_path, POSTWIRE_SERVER="127.0.0.1:1") == []
    (tmp_path / "postwire.toml").write_text("[server", encoding="utf-8")
    assert complete("postwire providers get ", tmp_path) == []


# The man page.


def test_the_man_page_is_what_the_commands_make_now() -> None:
    assert (ROOT / man_page.PAGE).read_text(encoding="utf-8") == man_page.render(), "run make generate"


def test_every_command_and_option_is_in_it() -> None:
    page = man_page.render().replace("\\-", "-")

    def look(command: click.Command, words: str) -> None:
        assert f"\n.SS {words}" in page or command is root
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden:
                assert param.opts[0] in page
        if isinstance(command, click.Group):
            for name, below in command.commands.items():
                look(below, f"{words} {name}")

    look(root, "postwire")


@pytest.mark.skipif(not shutil.which("groff"), reason="this machine has no groff")
def test_roff_takes_it_without_a_warning() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], input=man_page.render(), text=True, capture_output=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_installed_where_man_looks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared[str(man_page.PAGE)] == "share/man/man1/postwire.1"


# An install that only steers.


STEERING = """
import json, os, sys
heavy, commands = map(json.loads, sys.argv[1:])
sys.modules.update(dict.fromkeys(heavy))
from postwire.cli.root import root
def run(folder, words):
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT), 2)
    root(words)
for folder, words in commands:
    if not (pid := os.fork()):
        run(folder, words)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
"""Runs each command in a process that has imported no more than all of them need, and cannot import what is heavy."""


def test_commands_that_call_a_server_need_none_of_the_servers_libraries(tmp_path: Path) -> None:
    scripted = ScriptedServer()
    scripted.answer = ListProvidersResponse()
    heavy = ("aiohttp", "apsw", "opentelemetry", "grpc_reflection", "idna", "uvloop", "jwt", "cryptography")
    with serving(scripted) as target:
        expected = (
            (["providers", "list", "--server", target], 0, ""),
            (["providers", "list"], 0, ""),
            (["--help"], 0, ""),
            (["completion", "bash"], 0, ""),
            (["config", "init"], 0, ""),
            (["keys", "new", "acme", "--role", "send"], 0, ""),
            (["store", "check", "x.db"], 1, "pip install 'postwire[server]'"),
            (["serve"], 1, "pip install 'postwire[server]'"),
        )
        commands = [(str(tmp_path / str(number)), words) for number, (words, _, _) in enumerate(expected)]
        for folder, words in commands:
            Path(folder).mkdir()
            if words == ["providers", "list"]:
                Path(folder, "postwire.toml").write_text(f'[server]\nlisten = "{target}"\n', encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", STEERING, json.dumps(heavy), json.dumps(commands)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={name: value for name, value in os.environ.items() if not name.startswith("POSTWIRE_")},
        )
    assert (done.returncode, done.stderr) == (0, "")
    for (folder, words), (_, exit_code, said), code in zip(commands, expected, done.stdout.split(), strict=True):
        stderr = Path(folder, "stderr").read_text(encoding="utf-8")
        assert int(code) == exit_code, (words, stderr)
        assert said in stderr
        assert "Traceback" not in stderr
