"""The commands that ask a server: `messages get`, `providers list`, `health`."""

from __future__ import annotations

import json
from typing import Any

import click

from postwire.cli.failure import ExitCode, from_client_error
from postwire.cli.options import Connection, connection_options


@click.group()
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


@click.group()
def providers() -> None:
    """Look at providers."""


@providers.command("list")
@connection_options()
def list_providers(connection: Connection) -> None:
    """Show every provider, and what it carries."""
    from postwire.cli.show import print_protobuf, print_providers
    from postwire.v1.provider_service_pb2 import ListProvidersResponse

    with connection.client() as client:
        found = client.list_providers()
    if connection.as_json:
        print_protobuf(ListProvidersResponse(providers=found))
    else:
        print_providers(found)


@click.command()
@click.option("--service", default="", metavar="NAME", help="Ask for this service instead of the server as a whole.")
@connection_options(timeout="2s")
def health(connection: Connection, service: str) -> int:
    """Say in one word whether the server takes calls. Exits with 0 only if it does."""
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
    click.echo(json.dumps({"service": service, "status": status}) if connection.as_json else status.lower())
    return ExitCode.OK if status == "SERVING" else ExitCode.REFUSED
