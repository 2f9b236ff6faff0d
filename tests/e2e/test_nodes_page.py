"""The page on several nodes can be followed, with a PostgreSQL server as it asks for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from tests.interop.daemons import free_port
from tests.support import postgres
from tests.support.reader import ROOT, Reader, checkout

from postwire.config.schema import load
from postwire.providers.builtin import KINDS
from postwire_client import BreakerState, Client

PAGE: Final = ROOT / "docs" / "nodes.md"
LEAST: Final = 8
"""How many steps it has at the least."""


def blocks(kind: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{kind}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return found


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Path]:
    """The page as one would follow it here: with the port that PostgreSQL has, and free ones for the second node."""
    where = postgres.server()

    async def prepare(*statements: str) -> None:
        connection = await asyncpg.connect(where.url())
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    statements, _ = blocks("sql")
    asyncio.run(prepare(*statements.strip().splitlines()))
    text = PAGE.read_text(encoding="utf-8").replace("127.0.0.1:5432", f"127.0.0.1:{where.port}")
    for shown in ("127.0.0.1:50052", "127.0.0.1:9465"):
        text = text.replace(shown, f"127.0.0.1:{free_port()}")
    copy = tmp_path / "nodes.md"
    copy.write_text(text, encoding="utf-8")
    yield copy
    asyncio.run(prepare("DROP DATABASE postwire WITH (FORCE)", "DROP ROLE postwire"))


def test_the_page_can_be_followed(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    with Reader(checkout(folder)) as reader:
        done = list(reader.follow(page, lambda step: step.text.startswith("make ")))
    assert len(done) >= LEAST


def test_its_configurations_are_such_as_the_server_takes(tmp_path: Path) -> None:
    for name in ("secret", "db-ca.crt"):
        (tmp_path / name).write_text("secret\n", encoding="utf-8")
    for block in blocks("toml"):
        file = tmp_path / "postwire.toml"
        text = re.sub(r'_file = "[^"]+"', f'_file = "{tmp_path / "secret"}"', block)
        file.write_text(text.replace("/etc/postwire", str(tmp_path)), encoding="utf-8")
        assert load(path=file, environ={}, kinds=KINDS).explicit


def test_a_provider_that_is_drained_in_the_database_is_drained_when_a_node_starts(tmp_path: Path) -> None:
    url = asyncio.run(postgres.new_database())
    _, statement = blocks("sql")

    async def drain() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement.replace("'twilio'", "'email'"))
        await connection.close()

    asyncio.run(drain())
    with Reader(checkout(tmp_path)) as reader:
        address = reader.start_beside(f"POSTWIRE_STORE__URL={url} exec .venv/bin/postwire serve")["listen"]
        with Client(address) as client:
            state = {one.name: one.breaker.state for one in client.list_providers()}
    assert state == {"email": BreakerState.BREAKER_STATE_FORCED_OPEN, "sms-mms": BreakerState.BREAKER_STATE_CLOSED}
