"""`postwire send sms|mms|email`, and `postwire send --file`."""

from __future__ import annotations

from pathlib import Path

import click

from postwire.cli.bulk import send_file
from postwire.cli.command import Group
from postwire.cli.compose import Composed, add_channels
from postwire.cli.failure import ExitCode, even_if_unread
from postwire.cli.options import Connection, connection_options


@click.group(cls=Group, invoke_without_command=True, no_args_is_help=True, subcommand_metavar="[sms|mms|email] ...")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Send every line of a file: a DispatchRequest as JSON each.",
)
@click.option("--no-wait", is_flag=True, help="With --file: only until each message is accepted, not for its outcome.")
@connection_options()
def send(connection: Connection, path: Path | None, no_wait: bool) -> int:
    """Send a message, or those of a file, and show what became of it.

    Exits with 0 if it was sent or is on its way, and with 1 if it was refused or not sent.

    A file is sent over one stream. Its lines need no request ids: the same command again sends nothing twice, so a run
    that was interrupted is simply repeated.
    """
    if path is None:
        raise click.UsageError("nothing to send: name a channel, or a --file")
    return send_file(connection, path, wait_for_acceptance=no_wait)


def _send(connection: Connection, composed: Composed) -> int:
    from postwire.cli.show import print_message, print_protobuf
    from postwire_client import MessageState

    with connection.client(hint=f"to repeat it without sending it twice, add {composed.repeat}") as client:
        record = client.dispatch(composed.message, request_id=composed.request_id, options=composed.options)
    with even_if_unread():
        print_protobuf(record) if connection.as_json else print_message(record)
    lost = (
        MessageState.MESSAGE_STATE_UNDELIVERED,
        MessageState.MESSAGE_STATE_FAILED,
        MessageState.MESSAGE_STATE_UNCERTAIN,
        MessageState.MESSAGE_STATE_EXPIRED,
        MessageState.MESSAGE_STATE_CANCELLED,
    )
    return ExitCode.REFUSED if record.state in lost else ExitCode.OK


add_channels(send, _send, "Send {message}.")
