"""`postwire nodes`: the servers that share one store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Group
from postwire.cli.options import Connection, connection_options

if TYPE_CHECKING:
    from postwire_client import Node

_DIGEST_SHOWN: Final = 12
"""Characters of the digest of a configuration that a table has: enough to see who differs."""


@click.group(cls=Group)
def nodes() -> None:
    """See the servers that share one store."""


@nodes.command("list")
@connection_options()
def list_nodes(connection: Connection) -> None:
    """Show the servers that live, and what each has of the limits of providers.

    One alone where the store is a file. On stderr: whose configuration is another than the leader's.
    """
    from postwire.cli.show import print_protobuf
    from postwire.v1.admin_service_pb2 import ListNodesResponse

    with connection.client() as client:
        found = client.list_nodes()
    if connection.as_json:
        print_protobuf(ListNodesResponse(nodes=found))
        return
    _print(found)
    if different := _configured_otherwise(found):
        numbers = ", ".join(str(node.number) for node in different)
        click.echo(f"postwire: configured otherwise than the leader: {numbers}", err=True)


def _configured_otherwise(found: Sequence[Node]) -> list[Node]:
    """The nodes whose configuration is another than the leader's."""
    digest = next((node.config_digest for node in found if node.leader), None)
    return [node for node in found if digest is not None and node.config_digest != digest]


def _print(found: Sequence[Node]) -> None:
    from postwire.cli.show import print_table, time_of

    print_table(
        ("node", "name", "version", "started", "lease_until", "rank", "leader", "queues", "config", "clock"),
        [
            (
                str(node.number),
                node.name,
                node.version,
                time_of(node, "start_time"),
                time_of(node, "lease_until_time"),
                str(node.rank) if node.HasField("rank") else "",
                "yes" if node.leader else "no",
                str(len(node.queue_keys)),
                node.config_digest[:_DIGEST_SHOWN],
                f"{node.clock_offset.ToMicroseconds() / 1e6:+.3f}s",
            )
            for node in found
        ],
        spare=("config", "started", "queues", "version"),
    )
    if shares := list(_shares(found)):
        click.echo()
        print_table(("provider", "node", "max_concurrent", "rate"), shares)


def _shares(found: Iterable[Node]) -> Iterator[tuple[str, ...]]:
    """What each node has of the limits of each provider, by the providers."""
    shares = [(node.number, share) for node in found for share in node.shares]
    for number, share in sorted(shares, key=lambda one: (one[1].provider_name, one[0])):
        rate = f"{share.rate:g}/s" if share.HasField("rate") else ""
        yield share.provider_name, str(number), str(share.max_concurrent), rate
