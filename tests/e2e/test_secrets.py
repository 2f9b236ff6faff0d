"""Secrets of providers: taken over while the server runs, from the configuration and from files, and shown nowhere."""

from __future__ import annotations

import json
import signal
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tests.e2e.calls import ACCEPTANCE, QUEUED, SENT, TIMEOUT, dispatch, provider, until
from tests.e2e.server import Server, eventually
from tests.support.forking import run

from postwire.v1 import provider_service_pb2 as pb

OLD, NEW = "Zq9canary7-old", "Zq9canary7-new"


class Line(Server):
    main = "tests.support.line_server:run"


class Vendor(socketserver.ThreadingTCPServer):
    """Takes lines of JSON with the right token; `tokens` are those that it was told."""

    daemon_threads = True

    def __init__(self, accepted: str) -> None:
        self.accepted = accepted
        self.tokens: list[str] = []
        super().__init__(("127.0.0.1", 0), _Lines)


class _Lines(socketserver.StreamRequestHandler):
    server: Vendor

    def handle(self) -> None:
        """Answer one line after the other."""
        for line in self.rfile:
            token = json.loads(line)["token"]
            self.server.tokens.append(token)
            code = "success" if token == self.server.accepted else "misconfigured"
            self.wfile.write(json.dumps({"code": code, "words": f"{token} is no good"}).encode() + b"\n")


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor(NEW) as running:
        serving = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        yield running
        running.shutdown()
        serving.join()


Start = Callable[[str], Line]


@pytest.fixture
def start(tmp_path: Path, vendor: Vendor) -> Iterator[Start]:
    servers: list[Line] = []

    def start(secret: str) -> Line:
        """A server with one provider, and this line of TOML for its secret."""
        write(tmp_path, vendor, secret)
        servers.append(Line(tmp_path))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        assert "canary" not in server.log_text()


def write(folder: Path, vendor: Vendor, secret: str, more: str = "") -> None:
    port = vendor.server_address[1]
    toml = f'{more}\n[providers.line]\nkind = "line"\nchannels = ["sms"]\nport = {port}\n{secret}\n'
    (folder / "postwire.toml").write_text(toml, encoding="utf-8")


def replace(file: Path, text: str) -> None:
    """As it is done well: at no time is there half of it."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.rename(file)


def reloaded(server: Server) -> list[dict[str, Any]]:
    return [line for line in server.log() if line["event"] in ("reloaded", "reload_failed")]


def parked(server: Line) -> Any:
    """A message that waits since the vendor does not take our token."""
    message = dispatch(server, wait_for=ACCEPTANCE)
    eventually(lambda: provider(server, "line").availability == pb.AVAILABILITY_MISCONFIGURED)
    return until(server, message, QUEUED)


def assert_mended(server: Line, message: Any, key: str) -> None:
    assert until(server, message, SENT).attempts[-1].provider_name == "line"
    eventually(lambda: reloaded(server))
    (line,) = reloaded(server)
    assert (line["event"], line["changed"], line["needs_restart"]) == ("reloaded", [key], [])
    listed = server.providers.ListProviders(pb.ListProvidersRequest(), timeout=TIMEOUT)
    assert [one.availability for one in listed.providers] == [pb.AVAILABILITY_AVAILABLE]
    assert "canary" not in text_format.MessageToString(listed)


def test_a_file_that_is_replaced_is_taken_over_and_what_waits_goes(start: Start, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(OLD + "\n", encoding="utf-8")
    server = start('token_file = "token"')
    message = parked(server)
    replace(tmp_path / "token", NEW + "\n")
    assert_mended(server, message, "providers.line.token_file")


def test_a_secret_in_the_configuration_is_taken_over_at_sighup_and_other_keys_are_not(
    start: Start, tmp_path: Path, vendor: Vendor
) -> None:
    server = start(f'token = "{OLD}"')
    message = parked(server)
    write(tmp_path, vendor, f'token = "{NEW}"')
    server.send_signal(signal.SIGHUP)
    assert_mended(server, message, "providers.line.token")
    write(tmp_path, vendor, f'token = "{OLD}"\nmax_concurrent = 7', "server.grace = '9s'")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: len(reloaded(server)) == 2)
    reported = reloaded(server)[-1]
    assert reported["changed"] == ["providers.line.token"]
    assert reported["needs_restart"] == ["server.grace", "providers.line.max_concurrent"]
    parked(server)
    assert vendor.tokens[-1] == OLD


def test_a_file_that_is_of_no_use_changes_nothing_until_it_is_mended(
    start: Start, tmp_path: Path, vendor: Vendor
) -> None:
    vendor.accepted = OLD
    (tmp_path / "token").write_text(OLD, encoding="utf-8")
    server = start('token_file = "token"')
    replace(tmp_path / "token", "\n")
    eventually(lambda: reloaded(server))
    (line,) = reloaded(server)
    assert (line["event"], line["level"]) == ("reload_failed", "error")
    assert line["detail"] == (
        "providers.line.token_file: is an empty file, it must be the path of a file that holds token"
    )
    assert dispatch(server).state == SENT
    vendor.accepted = NEW
    replace(tmp_path / "token", NEW)
    eventually(lambda: len(reloaded(server)) == 2)
    assert dispatch(server).state == SENT
    assert vendor.tokens == [OLD, NEW]


TWILIO = f"""
[providers.eu]
kind = "twilio"
channels = ["sms"]
account_sid = "AC00000000000000000000000000000000"
auth_token_file = "auth"
sender = "+15005550006"
proxy = "http://user:{NEW}@127.0.0.1:1"
base_url = "http://127.0.0.1:1"
"""


def test_commands_show_where_a_secret_is_and_not_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text(NEW, encoding="utf-8")
    (tmp_path / "postwire.toml").write_text(TWILIO, encoding="utf-8")
    env = {"PATH": "/bin"}
    reported = run("config", "check", "--json", cwd=tmp_path, env=env)
    settings = {one["key"]: (one["value"], one["explicit"]) for one in json.loads(reported.stdout)["settings"]}
    assert settings["providers.eu.auth_token"] == ("(set)", True)
    assert settings["providers.eu.auth_token_file"] == ("auth", True)
    assert settings["providers.eu.api_key_file"] == (None, False)
    reported_by_kinds = run("providers", "kinds", "twilio", cwd=tmp_path, env=env)
    assert "auth_token_file" in reported_by_kinds.stdout
    reported_by_check = run("providers", "check", cwd=tmp_path, env=env)
    for one in (reported, reported_by_kinds, reported_by_check, run("config", "check", cwd=tmp_path, env=env)):
        assert "canary" not in one.stdout + one.stderr
    (tmp_path / "auth").unlink()
    refused = run("config", "check", cwd=tmp_path, env=env)
    assert refused.returncode != 0
    assert "providers.eu.auth_token_file: there is no such file" in refused.stderr
