"""The commands that ask a server: `messages get`, `messages list`, `health`."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

import click

from postwire.cli.command import Command, Group
from postwire.cli.failure import ExitCode, even_if_unread
from postwire.cli.filters import filter_options, one_message
from postwire.cli.options import Connection, connection_options

if TYPE_CHECKING:
    from postwire_client import MessageFilter

MAX_PAGE_SIZE: Final = 1_000
_MAX_LIMIT: Final = 1_000_000


@click.group(cls=Group)
def messages() -> None:
    """Look at messages."""


@messages.command()
@one_message
@connection_options()
def get(connection: Connection, *, message_id: str, request_id: str) -> None:
    """Show the record of a message, by its ID or its request id: where it stands, and every attempt."""
    from postwire.cli.show import print_record

    with connection.client() as client:
        message = client.get_message(message_id, request_id=request_id)
    print_record(message, as_json=connection.as_json)


@messages.command("list")
@filter_options()
@click.option(
    "--limit",
    type=click.IntRange(1, _MAX_LIMIT),
    default=50,
    show_default=True,
    metavar="NUMBER",
    help="How many to show.",
)
@connection_options()
def list_messages(connection: Connection, *, chosen: MessageFilter | None, limit: int) -> None:
    """Show the newest messages that meet every condition.

    With --json: their records, and whether there are more of them.
    """
    from postwire.cli.show import as_dict, print_json, print_messages

    # One more than is shown, to know whether there is one.
    wanted = limit + 1
    with connection.client() as client:
        found = list(itertools.islice(client.list_messages(chosen, page_size=min(wanted, MAX_PAGE_SIZE)), wanted))
    more = len(found) > limit
    if connection.as_json:
        print_json(json.dumps({"messages": [as_dict(message) for message in found[:limit]], "more": more}))
        return
    print_messages(found[:limit])
    if more:
        click.echo(f"There are more: these are the newest {limit} (--limit).", err=True)


@click.command(cls=Command)
@click.option("--service", default="", metavar="NAME", help="Ask for this service instead of the server as a whole.")
@connection_options(timeout="2s")
def health(connection: Connection, service: str) -> int:
    """Say in one word whether the server takes messages (readiness). Exits with 0 only if it does.

    With --service liveness: whether it answers at all, for those who restart what does not.
    """
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    from postwire_client.channel import open_channel
    from postwire_client.errors import NotFound, from_rpc_error

    with open_channel(connection.server, retry=False, tls=connection.channel_credentials()) as channel:
        try:
            stub: Any = HealthStub(channel)  # its type stub knows none of its methods
            answer = stub.Check(HealthCheckRequest(service=service), timeout=connection.timeout)
            status = HealthCheckResponse.ServingStatus.Name(answer.status)
        except grpc.RpcError as refused:
            error = from_rpc_error(refused)
            if not isinstance(error, NotFound):
                raise connection.failure(error) from None
            status = "SERVICE_UNKNOWN"
    with even_if_unread():
        click.echo(json.dumps({"service": service, "status": status}) if connection.as_json else status.lower())
    return ExitCode.OK if status == "SERVING" else ExitCode.REFUSED
