"""The nodes of `deploy/compose.yaml` as it starts them, with a PostgreSQL that is reached by a socket alone, too."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import yaml
from tests.support.copied_postgres import CopiedPostgres
from tests.support.postgres import skipped_without_postgres
from tests.support.reader import ROOT, Reader, checkout

from postwire_client import Client, MessageState, OutboundMessage, Sms

FILE: Final = ROOT / "deploy" / "compose.yaml"
SOCKET: Final = "/var/run/postgresql"
HELLO = OutboundMessage(sms=Sms(to="+15005550006", body="Hello"))


@pytest.fixture
def services() -> Any:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]


@pytest.fixture
def postgres(services: Any) -> Iterator[str]:
    """A server with the settings of the file; gives where it is, as a URL has it: its socket, and its port here."""
    settings = dict(one.split("=", 1) for one in services["postgres"]["command"] if "=" in one)
    assert settings["listen_addresses"] == ""
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:  # the path of a socket has to be short
        Path(folder).chmod(0o777)
        with skipped_without_postgres():
            server = CopiedPostgres.make({**settings, "fsync": "off", "unix_socket_directories": folder})
        try:
            asyncio.run(prepare(folder, server.port, services["postgres"]["environment"]))
            yield f"{folder}&port={server.port}"
        finally:
            server.remove()


async def prepare(folder: str, port: int, environment: dict[str, str]) -> None:
    """Do what the image does when it starts for the first time."""
    connection = await asyncpg.connect(host=folder, port=port, user="postgres", database="postgres")
    role, database = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
    await connection.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
    await connection.execute(f"CREATE DATABASE {database} OWNER {role}")
    await connection.close()


def test_its_two_nodes_share_what_they_accept(services: Any, postgres: str, tmp_path: Path) -> None:
    with Reader(checkout(tmp_path)) as reader:
        addresses = []
        for name in ("node-1", "node-2"):
            environment = services[name]["environment"]
            settings = " ".join(
                f"{key}={shlex.quote(value.replace(SOCKET, postgres))}" for key, value in environment.items()
            )
            addresses.append(reader.start_beside(f"{settings} exec .venv/bin/postwire serve")["listen"])
        with Client(addresses[0]) as one, Client(addresses[1]) as other:
            sent = one.dispatch(HELLO, request_id="order-1138")
            assert sent.state == MessageState.MESSAGE_STATE_SENT
            assert other.dispatch(HELLO, request_id="order-1138").message_id == sent.message_id
            assert [node.name for node in other.list_nodes()] == ["node-1", "node-2"]
