"""What SIGHUP and a changed file do to who may call, and what a broken one does not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.e2e.calls import TIMEOUT, refusal_of, refused, request
from tests.e2e.conftest import Serve
from tests.e2e.server import Server, eventually
from tests.support.access import bearer, declared, made_key
from tests.support.certificates import Authority
from tests.support.issuer_server import IssuerServer
from tests.support.tokens import AUDIENCE, ISSUER, key_set, public_jwk, token

from postwire.v1 import dispatch_service_pb2 as pb

FIRST, SECOND = made_key(), made_key()


def write(server: Server, toml: str, name: str = "postwire.toml") -> None:
    """Replace a file of the server's as a whole."""
    new = server.folder / "new"
    new.write_text(toml, encoding="utf-8")
    new.replace(server.folder / name)


def next_line(server: Server, event: str, cause: Callable[[], object]) -> dict[str, Any]:
    """The next log line of an event, which something causes."""
    before = len(server.log(event))
    cause()
    eventually(lambda: len(server.log(event)) > before)
    return server.log(event)[before]


def reload(server: Server, toml: str) -> dict[str, Any]:
    """Have a configuration taken over; returns what is reported of it."""
    write(server, toml)
    return next_line(server, "reloaded", lambda: server.send_signal(signal.SIGHUP))


def reason(server: Server, metadata: tuple[tuple[str, str], ...]) -> str | None:
    """Why a dispatch is refused; None where it is not."""
    try:
        server.dispatch.Dispatch(request(), metadata=metadata, timeout=TIMEOUT)
    except grpc.RpcError as error:
        return refusal_of(error).reason
    return None


def test_keys_come_and_go_without_a_restart(serve: Serve) -> None:
    server = serve(toml=declared(FIRST, "acme", "send"))
    assert reason(server, bearer(FIRST)) is None
    assert reason(server, bearer(SECOND)) == "INVALID_CREDENTIALS"
    reported = reload(server, declared(FIRST, "acme", "send") + declared(SECOND, "globex", "send"))
    assert (reported["changed"], reported["needs_restart"]) == (["tenants.globex"], [])
    assert reason(server, bearer(FIRST)) is None
    assert reason(server, bearer(SECOND)) is None
    reported = reload(server, declared(SECOND, "globex", "send"))
    assert (reported["changed"], reported["needs_restart"]) == (["tenants.acme"], [])
    assert reason(server, bearer(FIRST)) == "INVALID_CREDENTIALS"
    assert reason(server, bearer(SECOND)) is None


@pytest.mark.parametrize(
    "broken",
    ["", "[[tenants.acme.keys]]\nid = ", declared(FIRST, "acme", "send").partition("roles")[0], "[tenants.acme]\n"],
    ids=["empty", "cut off", "without roles", "without keys"],
)
def test_a_file_that_is_cut_off_lets_nobody_in_and_nobody_out(serve: Serve, broken: str) -> None:
    server = serve(toml=declared(FIRST, "acme", "send"))
    write(server, broken)
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload_failed")
    assert reason(server, bearer(FIRST)) is None
    assert reason(server, ()) == "NO_CREDENTIALS"
    assert reason(server, bearer(SECOND)) == "INVALID_CREDENTIALS"


def test_whoever_was_not_asked_before_is_asked_once_there_is_a_key(serve: Serve) -> None:
    server = serve(toml="[tenants.default]\nweight = 1\n")
    assert reason(server, ()) is None
    assert reload(server, declared(FIRST, "default", "send"))["changed"] == ["tenants.default.keys"]
    assert reason(server, ()) == "NO_CREDENTIALS"


JWT = f'[auth.jwt]\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\njwks_file = "keys.json"\n'


def test_tokens_by_a_file_of_keys_that_changes_goes_and_comes_back(serve: Serve, tmp_path: Path) -> None:
    now = time.time()
    (tmp_path / "keys.json").write_text(key_set(public_jwk("ES256")), encoding="utf-8")
    server = serve(toml=f"{JWT}[tenants.acme]\n")
    old, new = bearer(token(now, "ES256")), bearer(token(now, "EdDSA"))
    assert reason(server, old) is None
    assert reason(server, new) == "INVALID_CREDENTIALS"

    reported = next_line(server, "reloaded", lambda: write(server, key_set(public_jwk("EdDSA")), "keys.json"))
    assert reported["changed"] == ["auth.jwt.jwks_file"]
    assert reason(server, old) == "INVALID_CREDENTIALS"
    assert reason(server, new) is None

    def hang_up() -> None:
        server.send_signal(signal.SIGHUP)

    write(server, key_set()[:-7], "keys.json")
    assert next_line(server, "reload_failed", hang_up)["detail"].startswith("auth.jwt.jwks_file: is no JSON")
    assert reason(server, new) is None
    (server.folder / "keys.json").unlink()
    assert next_line(server, "reload_failed", hang_up)["detail"].startswith("auth.jwt.jwks_file: ")
    assert reason(server, new) is None
    write(server, key_set(), "keys.json")
    next_line(server, "reloaded", hang_up)
    assert reason(server, old) is None


def test_a_server_does_not_start_with_keys_that_are_none(serve: Serve, tmp_path: Path) -> None:
    from tests.e2e.test_lifecycle import boot

    (tmp_path / "postwire.toml").write_text(f"{JWT}[tenants.acme]\n", encoding="utf-8")
    assert "auth.jwt.jwks_file: there is no such file" in boot(tmp_path)
    (tmp_path / "keys.json").write_text("{}", encoding="utf-8")
    assert "auth.jwt.jwks_file: is no JSON Web Key Set" in boot(tmp_path)


def test_what_is_refused_is_in_the_log_without_the_key(serve: Serve) -> None:
    server = serve(toml=declared(FIRST, "acme", "send"))
    wrong = f"pw_{FIRST.id}_{SECOND.text[-52:]}"
    assert reason(server, bearer(wrong)) == "INVALID_CREDENTIALS"
    reported = server.wait_for_event("credentials_refused")
    assert (reported["key_id"], reported["peer"], reported["count"]) == (FIRST.id, "127.0.0.1", 1)
    found = refused(
        lambda: server.dispatch.GetMessage(pb.GetMessageRequest(), metadata=bearer(SECOND), timeout=TIMEOUT)
    )
    assert found.reason == "INVALID_CREDENTIALS"
    eventually(lambda: len(server.log("credentials_refused")) == 2)
    assert SECOND.text[-52:] not in server.log_text()
    assert SECOND.id not in server.log_text(), "which may be anything"


def test_tokens_by_keys_that_an_issuer_shows(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    now = time.time()
    with IssuerServer(authority.certify("127.0.0.1"), key_set(public_jwk("ES256"))) as issuer:
        rules = JWT.replace('jwks_file = "keys.json"', f'jwks_url = "{issuer.url}"')
        server = serve(toml=f"{rules}[tenants.acme]\n")
        known, new = bearer(token(now, "ES256")), bearer(token(now, "EdDSA"))
        assert reason(server, known) is None
        issuer.text = key_set()
        assert reason(server, new) == "INVALID_CREDENTIALS", "it was asked less than a minute ago"
        assert issuer.asked == 1
        reload(server, f"{rules}[tenants.acme]\n")  # has it asked at once
        eventually(lambda: reason(server, new) is None)
        assert issuer.asked == 2
    line = next_line(server, "signing_keys", lambda: reload(server, f"{rules}[tenants.acme]\n"))
    assert line["detail"] == "auth.jwt.jwks_url: it could not be fetched: ClientConnectorError"
    assert reason(server, known) is None, "the old ones are good for a day"
