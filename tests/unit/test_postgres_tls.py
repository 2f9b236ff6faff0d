"""The way to the database: verified in full, or not gone at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.certificates import Authority
from tests.support.postgres import server
from tests.support.postgres_tls import TlsPostgres, tls_postgres

from postwire.core.errors import StoreUnavailable
from postwire.outbox.base import OutboxError
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.queries import Connection
from postwire.outbox.postgres.store import PostgresOutbox

PASSWORD = "hunter2hunter2"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsPostgres]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with tls_postgres(authority, user="postwire", password=PASSWORD) as running:
        yield running


async def test_every_connection_is_by_tls(postgres: TlsPostgres) -> None:
    """Nothing else would be taken."""
    outbox = await PostgresOutbox.open(postgres.url(), password=PASSWORD)
    try:
        for lane in Lane:
            assert await outbox.database.use(lane, who) == postgres.user
    finally:
        await outbox.close()


async def who(connection: Connection) -> str:
    return str(await connection.fetchval("SELECT current_user"))


async def refusal(url: str, password: str | None = PASSWORD) -> str:
    with pytest.raises(OutboxError) as error:
        await PostgresOutbox.open(url, password=password)
    assert PASSWORD not in str(error.value)
    assert error.value.__cause__ is None
    return str(error.value)


NOT_TRUSTED = "store.url: the database shows a certificate that is not trusted, or of another host"


async def test_an_authority_that_is_not_trusted_is_refused(postgres: TlsPostgres, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    assert await refusal(postgres.url(ca_file=stranger.ca_file)) == NOT_TRUSTED


async def test_a_certificate_for_another_host_is_refused(postgres: TlsPostgres) -> None:
    assert await refusal(postgres.url(host="127.0.0.1")) == NOT_TRUSTED


async def test_a_wrong_password_or_none_is_refused_and_not_shown(postgres: TlsPostgres) -> None:
    assert await refusal(postgres.url(), f"{PASSWORD}x") == "store.url: the database refuses the password"
    assert "store.url: the database refuses the" in await refusal(postgres.url(), "")


async def test_a_password_that_was_changed_is_taken_over_without_a_restart(postgres: TlsPostgres) -> None:
    outbox = await PostgresOutbox.open(postgres.url(), password=PASSWORD)
    try:
        await outbox.database.use(Lane.CONTROL, lambda connection: change(connection, postgres.user, "another"))
        with pytest.raises(StoreUnavailable):
            await outbox.database.use(Lane.READ, who)
        outbox.database.use_password("another")
        await outbox.wait_available()
        assert await outbox.database.use(Lane.READ, who) == postgres.user
        await outbox.database.use(Lane.CONTROL, lambda connection: change(connection, postgres.user, PASSWORD))
    finally:
        await outbox.close()


async def change(connection: Connection, user: str, password: str) -> None:
    """Give the user another password, and end its other sessions."""
    await connection.execute(f"ALTER ROLE {user} PASSWORD '{password}'")
    others = "pid <> pg_backend_pid() AND application_name = 'postwire'"
    await connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


async def test_a_database_without_tls_is_refused_where_it_is_asked_for(postgres: TlsPostgres) -> None:
    where = server().url().replace("127.0.0.1", "localhost")
    said = await refusal(f"{where}?sslmode=verify-full&sslrootcert={postgres.ca_file}")
    assert said == "store.url: the database does not speak TLS, and sslmode asks for it"
