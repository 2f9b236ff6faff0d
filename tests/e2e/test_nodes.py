"""Servers that share a database: what becomes of a node that stands still, or has no database yet."""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
from tests.e2e.calls import ACCEPTANCE, AT_MOST_ONCE, SENDING, UNCERTAIN, dispatch, get, update
from tests.e2e.server import Server, eventually
from tests.support.copied_postgres import CopiedPostgres
from tests.support.postgres import NOT_SYNCED, new_database
from tests.support.waiting import PATIENCE

TERMS = {"nodes__lease": "3s", "nodes__beat": "1s"}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Server]]:
    """Two servers on one database, which have little patience with each other."""
    url = asyncio.run(new_database())
    with ExitStack() as stack:
        made = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            server = Server(folder, store__url=url, nodes__name=name, **TERMS)
            made.append(stack.enter_context(server))
        yield made


def test_a_node_that_stands_still_for_too_long_is_taken_for_dead_and_ends_as_it_goes_on(nodes: list[Server]) -> None:
    paused, other = nodes
    paused.wait_for_event("leading")
    update(paused, "sms-mms", latency=3600)
    record = dispatch(paused, wait_for=ACCEPTANCE, delivery_guarantee=AT_MOST_ONCE)
    assert record.state == SENDING
    paused.send_signal(signal.SIGSTOP)
    assert other.wait_for_event("node_reaped")["node"] == paused.wait_for_event("joined")["node"]
    other.wait_for_event("leading")
    eventually(lambda: get(other, record.message_id).state == UNCERTAIN)
    (attempt,) = get(other, record.message_id).attempts
    assert attempt.error_code == "orphaned"
    paused.send_signal(signal.SIGCONT)
    assert paused.wait() == 5
    assert paused.log("node_dead")
    assert dispatch(other).message_id, "the other one goes on"


def test_a_database_that_is_down_is_waited_for_and_left_in_good_order(tmp_path: Path) -> None:
    database = CopiedPostgres.make(NOT_SYNCED)
    try:
        url = database.url()
        database.stop()
        probes = f"127.0.0.1:{free_port()}"
        server = Server(tmp_path, store__url=url, telemetry__metrics_listen=probes)
        starting = threading.Thread(target=server.start)
        starting.start()
        eventually(lambda: server.log("store_unavailable"))
        assert probe(probes, "livez") == (200, "ok\n")
        assert probe(probes, "readyz") == (503, "starting: waiting for the database (store.url)\n")
        assert probe(probes, "metrics")[0] == 404
        database.start()
        starting.join()
        assert probe(probes, "readyz") == (200, "ok\n")
        assert probe(probes, "metrics")[0] == 200
        assert server.log("store_available")
        assert dispatch(server).message_id
        assert server.terminate() == 0
        assert asyncio.run(dead(url)) == [True]
    finally:
        database.remove()


def probe(address: str, path: str) -> tuple[int, str]:
    """What is answered to whoever looks after the server."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def dead(url: str) -> list[bool]:
    """Of each node that there has been, whether it is dead."""
    connection = await asyncpg.connect(url)
    try:
        return [row["dead"] for row in await connection.fetch("SELECT dead FROM nodes ORDER BY node")]
    finally:
        await connection.close()


def test_a_database_that_is_not_there_is_not_waited_for(tmp_path: Path) -> None:
    url = asyncio.run(new_database())
    server = Server(tmp_path, store__url=url + "_and_more")
    with pytest.raises(AssertionError, match=r"store\.url: .*no such database"):
        server.start()
    assert server.wait() == 4
