"""`postwire messages watch|cancel|resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from postwire.cli.calls import messages
from postwire.cli.command import Word
from postwire.cli.options import Connection, connection_options
from postwire.core.message import Channel, MessageState

if TYPE_CHECKING:
    from postwire_client import Message

__all__ = ["messages"]


@messages.command()
@click.argument("message_ids", metavar="[ID]...", nargs=-1)
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
    "--resume", "resume_token", default="", metavar="TOKEN", help="Go on after the last line of an earlier run."
)
@connection_options()
def watch(
    connection: Connection,
    message_ids: tuple[str, ...],
    channels: tuple[str, ...],
    states: tuple[str, ...],
    resume_token: str,
) -> None:
    """Show messages as they change: those of these ids, or all. One line a change, until you interrupt it.

    It goes on by itself when the server is restarted. With --json each line has the token to resume with.
    """
    from google.protobuf import json_format

    from postwire_client import Channel as WireChannel
    from postwire_client import Client, MessageFilter, PostwireError
    from postwire_client import MessageState as WireState

    chosen = None
    if channels or states:
        chosen = MessageFilter(
            channels=[WireChannel.Value(f"CHANNEL_{one.upper()}") for one in channels],
            states=[WireState.Value(f"MESSAGE_STATE_{one.upper()}") for one in states],
        )
    with Client(connection.server, timeout=connection.timeout) as client:
        try:
            for message, token in client.watch_messages(message_ids, chosen, resume_token=resume_token):
                if connection.as_json:
                    record = json_format.MessageToJson(message, indent=None, preserving_proto_field_name=True)
                    click.echo(f'{{"message": {record}, "resume_token": "{token}"}}')
                else:
                    click.echo(_line(message))
        except PostwireError as error:
            from postwire.cli.failure import from_client_error

            raise from_client_error(
                error, server=connection.server, timeout=connection.timeout, as_json=connection.as_json
            ) from None


@messages.command()
@click.argument("message_id", metavar="ID")
@connection_options()
def cancel(connection: Connection, message_id: str) -> None:
    """Take a message back that is queued. Again is fine; once sending has begun it is refused."""
    with connection.client() as client:
        _show(connection, client.cancel_message(message_id))


@messages.command()
@click.argument("outcome", type=Word(["sent", "failed"]))
@click.argument("message_id", metavar="ID")
@connection_options()
def resolve(connection: Connection, outcome: str, message_id: str) -> None:
    """Settle a message that is uncertain, once you have found out at the provider whether it was sent."""
    with connection.client() as client:
        _show(connection, client.resolve_message(message_id, sent=outcome == "sent"))


def _show(connection: Connection, message: Message) -> None:
    from postwire.cli.show import print_message, print_protobuf

    if connection.as_json:
        print_protobuf(message)
    else:
        print_message(message)


def _line(message: Message) -> str:
    from postwire_client import MessageState as WireState

    state = WireState.Name(message.state).removeprefix("MESSAGE_STATE_").lower()
    parts = [f"{message.update_time.ToJsonString()}", message.message_id, f"{state:<9}", message.provider_name]
    if message.HasField("next_attempt_time"):
        parts.append(f"next {message.next_attempt_time.ToJsonString()}")
    return "  ".join(part for part in parts if part)
