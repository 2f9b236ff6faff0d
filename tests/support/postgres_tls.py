"""A PostgreSQL server that is reached by TLS and with a password alone."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from tests.support.certificates import Authority
from tests.support.copied_postgres import CopiedPostgres
from tests.support.postgres import NOT_SYNCED, skipped_without_postgres

from postwire.cli.demo.local_postgres import LocalPostgres, PostgresFailed

_NO_TLS: Final = "SSL is not supported by this build"
_SSL_REQUEST: Final = struct.pack("!II", 8, 80877103)
"""What a client of PostgreSQL sends before anything else, to go on by TLS."""


@dataclass(frozen=True, slots=True)
class TlsPostgres:
    """A `server` that is reached at `port`: it has a certificate for `localhost`, and lets nobody in but `user`, with
    `password`. `ca_file` says whom to trust."""

    server: LocalPostgres
    port: int
    user: str
    password: str
    ca_file: Path

    def url(self, host: str = "localhost", ca_file: Path | None = None) -> str:
        """The URL of its database, as it would be anywhere: verified in full."""
        where = f"{self.user}@{host}:{self.port}/postgres"
        return f"postgresql://{where}?sslmode=verify-full&sslrootcert={ca_file or self.ca_file}"


@contextmanager
def tls_postgres(authority: Authority, *, user: str, password: str) -> Iterator[TlsPostgres]:
    """Run one. Where the programs know no TLS, as those of a wheel do not, something before it speaks it."""
    with skipped_without_postgres():
        server = CopiedPostgres(Path(tempfile.mkdtemp(prefix="postwire-postgres-")), NOT_SYNCED)
    try:
        server.initialize()
        server.start()
        asyncio.run(_admit_only(server, user, password))
        if _restarted_with_tls(server, authority):
            yield TlsPostgres(server, server.port, user, password, authority.ca_file)
        else:
            with _spoken_to_by_tls(server.port, authority.certify("localhost")) as port:
                yield TlsPostgres(server, port, user, password, authority.ca_file)
    finally:
        server.remove()


async def _admit_only(server: LocalPostgres, user: str, password: str) -> None:
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'")
    await connection.close()
    (server.data / "pg_hba.conf").write_text("host all all all scram-sha-256\n", encoding="utf-8")


def _restarted_with_tls(server: LocalPostgres, authority: Authority) -> bool:
    """Whether its programs know TLS; where they do it takes nothing else now."""
    issued = authority.issue("localhost")
    owner = server.data.stat()
    for name, content in (("server.crt", issued.chain), ("server.key", issued.key)):
        file = server.data / name
        file.touch(mode=0o600)
        file.write_bytes(content)
        os.chown(file, owner.st_uid, owner.st_gid)
    settings, hba = server.data / "postgresql.conf", server.data / "pg_hba.conf"
    plain = settings.read_text(encoding="utf-8")
    settings.write_text(f"{plain}\nssl = on\n", encoding="utf-8")
    server.stop()
    try:
        server.start()
    except PostgresFailed as error:
        if _NO_TLS not in str(error):
            raise
        settings.write_text(plain, encoding="utf-8")
        server.start()
        return False
    hba.write_text("hostssl all all all scram-sha-256\n", encoding="utf-8")
    server.stop()
    server.start()
    return True


@contextmanager
def _spoken_to_by_tls(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Have what comes in by TLS, as PostgreSQL begins it, passed on to a port here. Gives the port for that."""
    loop = asyncio.new_event_loop()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(pipe(reader, behind_writer), pipe(behind_reader, writer))
        writer.close()

    listening = loop.run_until_complete(asyncio.start_server(serve, "localhost", 0, family=socket.AF_INET))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_closed(listening))
        loop.close()


async def _closed(listening: asyncio.Server) -> None:
    listening.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
