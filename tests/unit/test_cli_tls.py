"""Commands that call a server by TLS, with a token: their options, and what they say where the two do not agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result
from google.rpc.error_details_pb2 import ErrorInfo
from tests.support.certificates import Authority
from tests.support.scripted import Refuse, ScriptedServer, closed_port, serving
from tests.support.waiting import PATIENCE

from postwire.cli import tls_mistakes
from postwire.cli.root import root
from postwire.v1.dispatch_service_pb2 import DispatchResponse
from postwire.v1.message_pb2 import Message, MessageState
from postwire.v1.provider_service_pb2 import ListProvidersResponse

pytestmark = pytest.mark.usefixtures("unconfigured")

TOKEN = "pw_0123456789_first"

Call = Callable[..., Result]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_mistakes, "PATIENCE", PATIENCE)


@pytest.fixture
def scripted() -> ScriptedServer:
    scripted = ScriptedServer()
    scripted.answers = [ListProvidersResponse()]
    return scripted


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path / "authority")
    authority.issue("billing.internal").write(tmp_path, "caller")
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    return authority


@pytest.fixture
def secure(scripted: ScriptedServer, authority: Authority) -> Iterator[str]:
    with serving(scripted, tls=authority.serves("127.0.0.1")) as address:
        yield address


def call(server: str, *args: str) -> Result:
    return CliRunner().invoke(root, ["providers", "list", "--server", server, *args])


def said(result: Result, exit_code: int = 3) -> str:
    assert (result.exit_code, result.stdout) == (exit_code, "")
    line, *more = result.stderr.splitlines()
    assert not more
    return line.removeprefix("postwire: ")


def test_options_and_variables_say_the_same(
    secure: str, scripted: ScriptedServer, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"ca_file": authority.ca_file, "token_file": tmp_path / "token"}
    options = [word for name, file in files.items() for word in (f"--{name.replace('_', '-')}", str(file))]
    assert call(secure, "--tls", *options, "--tenant", "acme").exit_code == 0
    for name, file in files.items():
        monkeypatch.setenv(f"POSTWIRE_{name.upper()}", str(file))
    monkeypatch.setenv("POSTWIRE_TLS", "1")
    monkeypatch.setenv("POSTWIRE_TENANT", "acme")
    result = call(secure)
    assert (result.exit_code, result.stderr) == (0, "")
    for metadata in scripted.metadata:
        assert (metadata["authorization"], metadata["postwire-tenant"]) == (f"Bearer {TOKEN}", "acme")
    assert len(scripted.metadata) == 2
    # A group's options are its command's.
    monkeypatch.delenv("POSTWIRE_TOKEN_FILE")
    scripted.answers = [DispatchResponse(message=Message(state=MessageState.MESSAGE_STATE_SENT))]
    words = ["send", "--server", secure, *options, "sms", "--to", "+15005550006", "--body", "Hello"]
    assert CliRunner().invoke(root, words).exit_code == 0
    assert scripted.metadata[2]["authorization"] == f"Bearer {TOKEN}"


def test_a_certificate_of_the_caller(scripted: ScriptedServer, authority: Authority, tmp_path: Path) -> None:
    trusting = "--ca-file", str(authority.ca_file)
    own = "--cert-file", str(tmp_path / "caller.crt"), "--key-file", str(tmp_path / "caller.key")
    with serving(scripted, tls=authority.serves("127.0.0.1", wants_certificates=True)) as target:
        assert call(target, *trusting, *own).exit_code == 0
        line = said(call(target, *trusting))
        assert line == f"{target} wants a certificate of its callers: give --cert-file and --key-file"
        Authority(tmp_path / "other").issue("billing.internal").write(tmp_path, "caller")
        line = said(call(target, *trusting, *own))
        assert line.startswith(f"{target} has refused the certificate of --cert-file, most likely: ")


def test_where_the_two_do_not_agree_it_says_what_to_do(
    secure: str, scripted: ScriptedServer, authority: Authority, tmp_path: Path
) -> None:
    trusting = "--ca-file", str(authority.ca_file)
    assert said(call(secure)) == f"{secure} speaks TLS: call it with --tls, or with --ca-file and its authority"
    untrusted = (
        f"the certificate of {secure} is of no authority that is trusted here: name its authority with --ca-file"
    )
    assert said(call(secure, "--tls")) == untrusted
    assert said(call(secure, "--ca-file", str(Authority(tmp_path / "other").ca_file))) == untrusted
    with serving(scripted) as plain:
        line = f"{plain} does not speak TLS: call it without --tls, --ca-file and --cert-file"
        assert said(call(plain, *trusting)) == line
    with serving(scripted, tls=authority.serves("postwire.internal")) as other:
        line = f"the certificate of {other} is for another name: call it by a name that is in it"
        assert said(call(other, *trusting)) == line
    nobody = closed_port()
    line = f"no answer from {nobody}: is the server running? (postwire serve)"
    assert said(call(nobody)) == said(call(nobody, *trusting)) == line


def test_programs_are_told_the_same(secure: str) -> None:
    result = call(secure, "--json")
    error = json.loads(result.stderr)["error"]
    assert (error["code"], error["reason"]) == ("UNAVAILABLE", None)
    assert error["message"].startswith(f"{secure} speaks TLS")


def test_health_and_bulk_go_by_tls_too(secure: str, authority: Authority, tmp_path: Path) -> None:
    trusting = "--server", secure, "--ca-file", str(authority.ca_file)
    result = CliRunner().invoke(root, ["health", *trusting])
    assert "UNIMPLEMENTED" in said(result, 1)  # the scripted server has no health, but was reached
    result = CliRunner().invoke(root, ["health", "--server", secure])
    assert said(result).startswith(f"{secure} speaks TLS")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"channel": "sms", "to": "+15005550006", "body": "Hello"}\n', encoding="utf-8")
    result = CliRunner().invoke(root, ["send", "--file", str(rows), *trusting])
    assert "speaks TLS" not in result.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--cert-file", "a"), "cert_file, key_file: give both, or neither"),
        (("--ca-file", "none"), "ca_file: none cannot be read (No such file or directory)"),
        (("--token-file", "none"), "token_file: none cannot be read (No such file or directory)"),
    ],
)
def test_files_of_no_use_are_wrong_usage(options: tuple[str, str], problem: str) -> None:
    line = said(call("127.0.0.1:1", *options), 2)
    assert line == f"{problem} (see --tls, --ca-file, --cert-file, --key-file, --token-file)"


def test_a_token_does_not_go_to_another_machine_in_the_clear(authority: Authority, tmp_path: Path) -> None:
    line = said(call("192.0.2.1:1", "--token-file", str(tmp_path / "token")), 2)
    assert line.startswith("a token goes to another machine by TLS only: set tls, or ca_file")
    assert TOKEN not in line


def test_who_is_not_known_is_told_how_to_say_it(scripted: ScriptedServer) -> None:
    details = ErrorInfo(reason="NO_CREDENTIALS", domain="postwire")
    scripted.answers = [Refuse(grpc.StatusCode.UNAUTHENTICATED, details, text="who calls is not known")]
    with serving(scripted) as target:
        result = call(target)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "postwire: UNAUTHENTICATED NO_CREDENTIALS: who calls is not known",
        "  give an API key or a token by --token-file, or POSTWIRE_TOKEN_FILE",
    ]
