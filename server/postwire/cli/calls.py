"""The commands that ask a server: `messages get`, `messages list`, `health`."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import Any, Final

import click

from postwire.cli.command import Command, Group, Word
from postwire.cli.failure import ExitCode, even_if_unread, from_client_error
from postwire.cli.options import Connection, connection_options, mapping
from postwire.cli.times import TIMES_PAST, time_past
from postwire.core.message import Channel, MessageState

_MAX_PAGE_SIZE: Final = 1_000
_MAX_LIMIT: Final = 1_000_000


@click.group(cls=Group)
def messages() -> None:
    """Look at messages."""


@messages.command()
@click.argument("message_id", metavar="ID")
@connection_options()
def get(connection: Connection, message_id: str) -> None:
    """Show the record of a message: where it stands, and every attempt."""
    from postwire.cli.show import print_message, print_protobuf

    with connection.client() as client:
        message = client.get_message(message_id)
    if connection.as_json:
        print_protobuf(message)
    else:
        print_message(message)


@messages.command("list")
@click.option(
    "--channel",
    "channels",
    multiple=True,
    type=Word([channel.value for channel in Channel]),
    help="On this channel; may be given several times.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=Word([state.value for state in MessageState]),
    help="In this state; may be given several times.",
)
@click.option(
    "--provider",
    "provider_names",
    multiple=True,
    metavar="NAME",
    help="Last tried at this provider; may be given several times.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=mapping,
    help="With this label; several must all be there.",
)
@click.option(
    "--from",
    "create_time_from",
    metavar="TIME",
    callback=time_past,
    help=f"Accepted at this time or later: {TIMES_PAST}.",
)
@click.option("--to", "create_time_to", metavar="TIME", callback=time_past, help="Accepted before this time.")
@click.option(
    "--limit",
    type=click.IntRange(1, _MAX_LIMIT),
    default=50,
    show_default=True,
    metavar="NUMBER",
    help="How many to show.",
)
@connection_options()
def list_messages(
    connection: Connection,
    *,
    channels: tuple[str, ...],
    states: tuple[str, ...],
    provider_names: tuple[str, ...],
    labels: dict[str, str],
    create_time_from: datetime | None,
    create_time_to: datetime | None,
    limit: int,
) -> None:
    """Show the newest messages that meet every condition.

    With --json: their records, and whether there are more of them.
    """
    from postwire.cli.show import as_dict, print_json, print_messages
    from postwire.v1 import message_pb2
    from postwire_client import MessageFilter

    chosen = MessageFilter(
        channels=[message_pb2.Channel.Value(f"CHANNEL_{channel.upper()}") for channel in channels],
        states=[message_pb2.MessageState.Value(f"MESSAGE_STATE_{state.upper()}") for state in states],
        provider_names=provider_names,
        labels=labels,
    )
    if create_time_from:
        chosen.create_time_from.FromDatetime(create_time_from)
    if create_time_to:
        chosen.create_time_to.FromDatetime(create_time_to)
    # One more than is shown, to know whether there is one.
    wanted = limit + 1
    with connection.client() as client:
        found = list(itertools.islice(client.list_messages(chosen, page_size=min(wanted, _MAX_PAGE_SIZE)), wanted))
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

    with open_channel(connection.server, retry=False) as channel:
        try:
            stub: Any = HealthStub(channel)  # its type stub knows none of its methods
            answer = stub.Check(HealthCheckRequest(service=service), timeout=connection.timeout)
            status = HealthCheckResponse.ServingStatus.Name(answer.status)
        except grpc.RpcError as refused:
            error = from_rpc_error(refused)
            if not isinstance(error, NotFound):
                raise from_client_error(
                    error, server=connection.server, timeout=connection.timeout, as_json=connection.as_json
                ) from None
            status = "SERVICE_UNKNOWN"
    with even_if_unread():
        click.echo(json.dumps({"service": service, "status": status}) if connection.as_json else status.lower())
    return ExitCode.OK if status == "SERVING" else ExitCode.REFUSED
