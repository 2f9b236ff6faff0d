"""Which server a command calls: --server, then the environment, then ./postwire.toml, then the default."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.root import root
from postwire.cli.target import default_server, reachable
from postwire.v1.provider_service_pb2 import ListProvidersResponse


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POSTWIRE_SERVER", raising=False)
    monkeypatch.delenv("POSTWIRE_TARGET", raising=False)


def listen(address: str) -> None:
    Path("postwire.toml").write_text(f'[server]\nlisten = "{address}"\n[other]\nnonsense = 1\n', encoding="utf-8")


def providers(*args: str) -> Result:
    return CliRunner().invoke(root, ["providers", "list", *args])


def test_the_first_that_says_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedServer()
    scripted.answer = ListProvidersResponse()
    with serving(scripted) as target:
        nobody = "127.0.0.1:1"
        listen(target)
        assert providers().exit_code == 0
        monkeypatch.setenv("POSTWIRE_TARGET", nobody)
        assert providers().exit_code == 3
        monkeypatch.setenv("POSTWIRE_SERVER", target)
        assert providers().exit_code == 0
        assert providers("--server", nobody).exit_code == 3
        monkeypatch.setenv("POSTWIRE_SERVER", "")
        assert providers().exit_code == 3, "empty is as good as not set"


@pytest.mark.parametrize(
    ("address", "called"),
    [
        ("127.0.0.1:4242", "127.0.0.1:4242"),
        ("0.0.0.0:4242", "127.0.0.1:4242"),
        ("[::]:4242", "[::1]:4242"),
        ("[2001:db8::1]:4242", "[2001:db8::1]:4242"),
        ("postwire.internal:4242", "postwire.internal:4242"),
        ("unix:/run/postwire.sock", "unix:/run/postwire.sock"),
        ("127.0.0.1:0", None),
    ],
)
def test_where_a_listener_is_reached(address: str, called: str | None) -> None:
    assert reachable(address) == called
    listen(address)
    assert default_server(as_json=False) == (called or "127.0.0.1:50051")


def test_without_a_file_or_with_one_that_does_not_say_it_is_the_default() -> None:
    assert default_server(as_json=False) == "127.0.0.1:50051"
    Path("postwire.toml").write_text("[server]\ngrace = 1\n", encoding="utf-8")
    assert default_server(as_json=False) == "127.0.0.1:50051"


@pytest.mark.parametrize("content", ["[server\n", '[server]\nlisten = "nowhere"\n', "[server]\nlisten = 3\n"])
def test_a_file_that_is_wrong_there_is_no_reason_to_call_another_server(content: str) -> None:
    Path("postwire.toml").write_text(content, encoding="utf-8")
    result = providers()
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.splitlines()[-1] == "  or say which server to call, by --server"
    assert providers("--server", "127.0.0.1:1").exit_code == 3
