"""Where TLS is a must, and what stops a start for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.e2e.calls import SENT, dispatch
from tests.e2e.conftest import Serve
from tests.e2e.server import environment
from tests.support import forking
from tests.support.certificates import Authority

ROOT = Path(__file__).parents[2]


def boot(folder: Path, *args: str, **settings: str) -> list[str]:
    """The lines of a command that has to refuse."""
    done = forking.run(*args, cwd=folder, env=environment(folder, **settings))
    assert (done.returncode, done.stdout) == (4, "")
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize("command", [("serve",), ("config", "check")])
def test_files_of_no_use_stop_the_boot_and_the_check(tmp_path: Path, command: tuple[str]) -> None:
    Authority(tmp_path).issue("localhost").write(tmp_path)
    (tmp_path / "tls.key").unlink()
    pair = {"server__tls__cert_file": "tls.crt", "server__tls__key_file": "tls.key"}
    (line,) = boot(tmp_path, *command, **pair)
    assert line.startswith("postwire: server.tls.key_file: there is no such file, it must be the path of")
    assert not (tmp_path / "postwire.db").exists()


@pytest.mark.parametrize("command", [("serve",), ("config", "check")])
def test_beyond_loopback_nothing_listens_without_tls_by_accident(tmp_path: Path, command: tuple[str]) -> None:
    anywhere = "0.0.0.0:0"
    first, second = boot(tmp_path, *command, server__listen=anywhere, telemetry__metrics_listen=anywhere)
    for line, listen, table in (
        (first, "server.listen (POSTWIRE_SERVER__LISTEN)", "server.tls"),
        (second, "telemetry.metrics_listen (POSTWIRE_TELEMETRY__METRICS_LISTEN)", "telemetry.tls"),
    ):
        assert f"{listen}: {anywhere} is beyond loopback and has no TLS" in line
        assert f"{table}.cert_file" in line
        assert "server.insecure = true" in line


def container_environment() -> dict[str, str]:
    """What `deploy/Containerfile` sets, on ports of one's own."""
    text = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    pairs = [pair.partition("=") for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE) for pair in line.split()]
    found = {name.removeprefix("POSTWIRE_").lower(): value for name, _, value in pairs if "__" in name}
    return {name: re.sub(r":\d+$", ":0", value) for name, value in found.items()}


def test_the_container_boots_with_what_it_sets(serve: Serve, tmp_path: Path) -> None:
    settings = container_environment()
    assert settings["server__listen"] == settings["telemetry__metrics_listen"] == "0.0.0.0:0"
    server = serve(**settings)
    assert dispatch(server).state == SENT
    assert server.address.startswith("0.0.0.0:")
    boot(tmp_path, "config", "check", **settings | {"server__insecure": "false"})
