"""The password of a database, and who uses it: in nothing that a node says, whatever becomes of the database."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.e2e.calls import ACCEPTANCE, SENT, dispatch, refused, sms
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, fetch, probe
from tests.e2e.server import Server, environment, eventually
from tests.support import forking
from tests.support.certificates import Authority
from tests.support.otlp import Collector
from tests.support.postgres_tls import TlsPostgres, tls_postgres

from postwire.v1.admin_service_pb2 import ListNodesRequest

MARK = "zq9canary"
USER, PASSWORD = f"{MARK}user", f"{MARK}password"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsPostgres]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with tls_postgres(authority, user=USER, password=PASSWORD) as running:
        yield running


@pytest.fixture
def settings(postgres: TlsPostgres, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    return {"store__url": postgres.url(), "store__password_file": "password", "nodes__name": "east"}


def test_neither_leaves_a_node_while_its_database_comes_and_goes(
    serve: Serve, postgres: TlsPostgres, settings: dict[str, str]
) -> None:
    with Collector() as collector:
        server = serve(**settings, **METRICS, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        assert dispatch(server, sms()).state == SENT
        out = [str(server.admin.ListNodes(ListNodesRequest())), fetch(server)]
        for args in (("nodes", "list"), ("nodes", "list", "--json")):
            done = forking.run(*args, "--server", server.address, cwd=server.folder, env=environment(server.folder))
            assert done.returncode == 0
            out += done.stdout, done.stderr
        assert "east" in out[0]
        postgres.server.stop(immediate=True)
        refusal = refused(lambda: dispatch(server, sms(), wait_for=ACCEPTANCE))
        assert refusal.reason == "STORE_UNAVAILABLE"
        out += str(refusal), fetch(server), *map(str, probe(server, "/readyz"))
        postgres.server.start()
        eventually(lambda: probe(server, "/readyz")[0] == 200)
        assert dispatch(server, sms()).state == SENT
        assert server.terminate() == 0
        out += server.log_text(), *(str(seen) for seen in collector.spans())
    assert f"localhost:{postgres.port}/postgres" in server.log_text()
    assert MARK not in "".join(out)


def test_a_password_that_changes_is_read_from_its_file(
    serve: Serve, postgres: TlsPostgres, settings: dict[str, str], tmp_path: Path
) -> None:
    server = serve(**settings, **METRICS)
    asyncio.run(change_password(postgres, PASSWORD, f"{PASSWORD}new"))
    try:
        (tmp_path / "password").write_text(f"{PASSWORD}new", encoding="utf-8")
        assert server.wait_for_event("reloaded")["changed"] == ["store.password_file"]
        postgres.server.stop(immediate=True)
        server.wait_for_event("store_unavailable")
        postgres.server.start()
        eventually(lambda: probe(server, "/readyz")[0] == 200)
        assert dispatch(server, sms()).state == SENT
    finally:
        asyncio.run(change_password(postgres, f"{PASSWORD}new", PASSWORD))
    assert server.terminate() == 0
    assert MARK not in server.log_text()


async def change_password(postgres: TlsPostgres, before: str, after: str) -> None:
    where: dict[str, Any] = {"host": "127.0.0.1", "port": postgres.server.port, "database": "postgres"}
    connection = await asyncpg.connect(user=USER, password=before, **where)
    await connection.execute(f"ALTER ROLE {USER} PASSWORD '{after}'")
    await connection.close()


def test_neither_is_in_what_a_node_says_that_is_not_let_in(
    settings: dict[str, str], tmp_path: Path, postgres: TlsPostgres
) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}x", encoding="utf-8")
    done = forking.run("serve", cwd=tmp_path, env=environment(tmp_path, **settings))
    assert done.returncode == 4
    assert done.stderr.rstrip().endswith("store.url: the database refuses the password")
    assert MARK not in done.stdout + done.stderr
    url = postgres.url().replace(USER, f"{USER}:{PASSWORD}")
    done = forking.run("serve", cwd=tmp_path, env=environment(tmp_path, store__url=url))
    assert done.returncode == 4
    assert "has a password in it" in done.stderr
    assert MARK not in done.stdout + done.stderr


def test_what_is_shown_of_the_settings_has_no_password(settings: dict[str, str], tmp_path: Path) -> None:
    done = forking.run("config", "check", "--json", cwd=tmp_path, env=environment(tmp_path, **settings))
    assert done.returncode == 0, done.stderr
    shown = {one["key"]: one["value"] for one in json.loads(done.stdout)["settings"]}
    assert (shown["store.password"], shown["store.password_file"]) == ("(set)", "password")
    assert PASSWORD not in done.stdout + done.stderr


def test_a_node_waits_for_a_database_that_is_down_and_says_nothing_of_them(
    postgres: TlsPostgres, settings: dict[str, str], tmp_path: Path
) -> None:
    server = Server(tmp_path, **settings)
    starting = threading.Thread(target=server.start)
    postgres.server.stop(immediate=True)
    try:
        starting.start()
        eventually(lambda: server.log("store_unavailable"))
    finally:
        postgres.server.start()
    starting.join()
    assert server.terminate() == 0
    assert MARK not in server.log_text()
