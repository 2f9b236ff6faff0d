"""`ListNodes`: what the contract has of the members of a store, in a file and in a database."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.postgres import new_database

from postwire import __version__
from postwire.api.admin import AdminServicer
from postwire.api.call import CallContext
from postwire.api.tokens import TenantTokens
from postwire.core.errors import StoreUnavailable
from postwire.core.principal import LOCAL
from postwire.outbox.base import Announcement, Membership, NodeShare
from postwire.outbox.postgres.store import PostgresOutbox
from postwire.outbox.sqlite import SqliteOutbox
from postwire.v1 import admin_service_pb2 as pb

GAP = 6_000_000


async def nodes_of(membership: Membership) -> list[pb.Node]:
    nobody: Any = None  # whom this call does not need
    servicer = AdminServicer(nobody, nobody, membership, TenantTokens(bytes(32), lambda: False), nobody, nobody, nobody)
    response = await servicer.ListNodes(pb.ListNodesRequest(), CallContext(LOCAL, lambda: 1.0))
    return list(response.nodes)


async def test_a_server_whose_store_is_a_file_is_alone_and_has_no_lease(outbox: SqliteOutbox) -> None:
    shares = NodeShare("relay", 64, 2.5), NodeShare("email", 64)
    await outbox.heartbeat(Announcement(["sms:b", "sms:a"], "digest", shares=shares), GAP)
    (node,) = await nodes_of(outbox)
    assert (node.number, node.version, node.rank, node.leader) == (outbox.number, __version__, 0, True)
    assert node.HasField("rank")
    assert not node.HasField("lease_until_time")
    assert node.HasField("start_time")
    assert (list(node.queue_keys), node.config_digest) == (["sms:a", "sms:b"], "digest")
    assert node.shares[0] == pb.NodeShare(provider_name="relay", max_concurrent=64, rate=2.5)
    assert not node.shares[1].HasField("rate")


async def test_nodes_of_a_database_are_there_by_their_numbers_with_what_they_said_last() -> None:
    url = await new_database()
    east = await PostgresOutbox.open(url, name="east")
    west = await PostgresOutbox.open(url, name="west")
    try:
        far = 60_000_000  # so far off that it is to do nothing
        await east.heartbeat(Announcement(clock_offset=-far), GAP)
        await west.heartbeat(Announcement(clock_offset=1_500, config_digest="digest"), GAP)
        first, second = await nodes_of(east)
        assert (first.name, second.name) == ("east", "west")
        assert (first.number, second.number) == (east.number, west.number)
        assert (first.HasField("rank"), second.rank, first.leader, second.leader) == (False, 0, False, True)
        assert (first.clock_offset.ToMicroseconds(), second.clock_offset.ToMicroseconds()) == (-far, 1_500)
        assert all(node.HasField("lease_until_time") for node in (first, second))
        assert second.config_digest == "digest"
        await west.leave()
        assert [node.name for node in await nodes_of(east)] == ["east"]
    finally:
        await east.close()
        await west.close()
    with pytest.raises(StoreUnavailable):
        await nodes_of(east)
