"""A first call over TLS with a token, in every language, as the pages of the clients show it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.metrics import METRICS as WITH_METRICS
from tests.e2e.server import Server, eventually
from tests.interop.readers import calls
from tests.interop.table import Row
from tests.interop.test_clients import CLIENTS, PROGRAMS
from tests.support.access import declared, made_key
from tests.support.certificates import Authority
from tests.support.docs import Step, pattern, steps
from tests.support.needed import Need
from tests.support.reader import Reader


def shown(client: str) -> list[Step]:
    return [step for step in steps(CLIENTS / client / "README.md") if step.kind == "tls"]


def test_every_page_shows_one() -> None:
    assert [client for client in PROGRAMS if len(shown(client)) != 1] == []


@pytest.mark.parametrize("client", sorted(PROGRAMS))
def test_a_client_calls_over_tls_with_a_token(client: str, row: Row, need: Need, tmp_path: Path) -> None:
    need(*PROGRAMS[client])
    authority, key = Authority(tmp_path), made_key()
    authority.issue("127.0.0.1").write(tmp_path)
    token = tmp_path / "token"
    token.write_text(f"{key.text}\n", encoding="utf-8")
    (tmp_path / "postwire.toml").write_text(declared(key, "acme", "send"), encoding="utf-8")
    server = Server(
        tmp_path,
        server__tls__cert_file=str(tmp_path / "tls.crt"),
        server__tls__key_file=str(tmp_path / "tls.key"),
        **WITH_METRICS,
    )
    server.start()
    try:
        [step] = shown(client)
        command = step.text.replace("=ca.pem", f"={authority.ca_file}").replace("=token", f"={token}")
        with Reader(CLIENTS / client, {"POSTWIRE_TARGET": server.address}, patience=1200.0) as reader:
            printed = reader.run(Step("command", command))
            assert pattern(step.shown).fullmatch(printed), printed
            token.write_text(made_key().text, encoding="utf-8")
            refused = reader.attempt(Step("command", command))
        assert refused.returncode != 0
        assert key.text not in refused.stderr
        metrics = server.wait_for_event("serving")["metrics_listen"]
        eventually(lambda: calls(metrics)["Dispatch", "UNAUTHENTICATED"] == 1)
        assert calls(metrics)["Dispatch", "OK"] == 1
        row.calls = 2
    finally:
        server.stop()
