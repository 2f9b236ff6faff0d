"""Connections to PostgreSQL whose other end is gone without a word: either end finds out."""

from __future__ import annotations

import socket

from tests.support.postgres import new_database

from postwire.outbox.postgres.connecting import Hosts


async def test_both_ends_of_a_connection_ask_whether_the_other_is_there() -> None:
    connection = await Hosts(await new_database(), None).connect()
    settings = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    shown = [await connection.fetchval("SELECT current_setting($1)", name) for name in settings]
    assert shown == ["10", "5", "3", "25000"]
    there = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    assert there.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for name, value in {"KEEPIDLE": 10, "KEEPINTVL": 5, "KEEPCNT": 3, "USER_TIMEOUT": 25_000}.items():
        if option := getattr(socket, f"TCP_{name}", None):
            assert there.getsockopt(socket.IPPROTO_TCP, option) == value
    await connection.close()
