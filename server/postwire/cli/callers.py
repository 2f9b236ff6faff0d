"""`postwire whoami` and `postwire tenants`: for whom calls act, and what they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from postwire.cli.command import Command
from postwire.cli.options import Connection, connection_options

if TYPE_CHECKING:
    from postwire_client import Tenant


@click.command(cls=Command)
@connection_options()
def whoami(connection: Connection) -> None:
    """Show who the server takes you to be, and what you may do there."""
    from postwire.cli.show import print_pairs, print_protobuf

    with connection.client() as client:
        caller = client.get_caller()
    if connection.as_json:
        print_protobuf(caller)
        return
    print_pairs(
        (
            ("principal", caller.principal),
            ("tenant", caller.tenant),
            ("roles", ", ".join(caller.roles)),
            ("authenticated", "yes" if caller.authenticated else "no"),
            ("server_version", caller.server_version),
        )
    )


@click.command(cls=Command)
@connection_options()
def tenants(connection: Connection) -> None:
    """Show the tenants that the server knows, with what they may have and have. This takes the role admin.

    There are none where callers are not told apart.
    """
    from postwire.cli.show import print_protobuf, print_table
    from postwire.v1.admin_service_pb2 import ListTenantsResponse

    with connection.client() as client:
        found = client.list_tenants()
    if connection.as_json:
        print_protobuf(ListTenantsResponse(tenants=found))
        return
    print_table(
        ("tenant", "unsettled", "in_flight", "rate", "burst", "weight", "max_priority"),
        map(_row, found),
        spare=("weight", "max_priority", "burst"),
    )


def _row(tenant: Tenant) -> tuple[str, ...]:
    from postwire.cli.show import word
    from postwire_client import Priority

    has = tenant.HasField
    return (
        tenant.name,
        f"{tenant.unsettled}/{tenant.max_unsettled}" if has("max_unsettled") else str(tenant.unsettled),
        f"{tenant.in_flight}/{tenant.max_in_flight}" if has("max_in_flight") else str(tenant.in_flight),
        f"{tenant.rate:g}/s" if has("rate") else "",
        str(tenant.burst) if has("burst") else "",
        str(tenant.weight),
        word(Priority, tenant.max_priority),
    )
