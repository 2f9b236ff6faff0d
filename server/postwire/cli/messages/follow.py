"""`postwire messages watch|wait`: messages as they change, and until they are settled."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.failure import ExitCode, Failed, even_if_unread
from postwire.cli.filters import filter_options, one_message
from postwire.cli.messages.read import messages
from postwire.cli.options import Connection, connection_options, duration
from postwire.cli.watching import reader_gone

if TYPE_CHECKING:
    from postwire_client import Message, MessageFilter

_COLUMNS: Final = ("time", "message_id", "state", "provider", "next_attempt_time")
_WIDTHS: Final = (len("2030-01-31T12:00:00.000Z"), 36, len("undelivered"), len("provider"), 0)
_DAY: Final = 86_400.0


@messages.command()
@click.argument("message_ids", metavar="[ID]...", nargs=-1)
@filter_options()
@click.option(
    "--resume", "resume_token", default="", metavar="TOKEN", help="Go on after the last line of an earlier run."
)
@connection_options()
def watch(
    connection: Connection, *, message_ids: tuple[str, ...], chosen: MessageFilter | None, resume_token: str
) -> None:
    """Show messages as they change, one line a change: those of these ids, or all that meet every condition.

    Those of ids come first as they are, and it ends once it has shown each of them settled; otherwise it goes on until
    you interrupt it, over restarts of the server as well. With --json each line has the token to resume with.
    """
    from postwire.cli.show import plain_row
    from postwire_client import PostwireError

    unsettled = set(message_ids)
    if not connection.as_json:
        click.echo(plain_row([name.upper() for name in _COLUMNS], _WIDTHS))
    with connection.client(retry=True) as client, reader_gone(client.close) as is_gone:
        try:
            with closing(client.watch_messages(message_ids, chosen, resume_token=resume_token)) as changes:
                for message, token in changes:
                    _show_change(message, token, as_json=connection.as_json)
                    if _is_settled(message):
                        unsettled.discard(message.message_id)
                        if message_ids and not unsettled:
                            return
        except PostwireError:
            if is_gone():
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
            raise


@messages.command()
@one_message
@click.option(
    "--for",
    "longest",
    callback=duration(_DAY),
    default="10m",
    show_default=True,
    metavar="DURATION",
    help="How long to wait.",
)
@connection_options()
def wait(connection: Connection, *, message_id: str, request_id: str, longest: float) -> int:
    """Wait until a message is settled, and show its record.

    Exits with 0 once it is sent or delivered, with 1 at any other end, with 5 where it is UNCERTAIN whether it was
    sent, and with 6 when the time has run out. It waits over restarts of the server as well.
    """
    from postwire.cli.show import print_record, word
    from postwire_client import ClientClosed, MessageState

    message: Message | None = None
    with connection.client(retry=True) as client, _time_limit(longest, client.close) as is_over:
        try:
            if request_id:
                message = client.get_message(request_id=request_id)
                message_id = message.message_id
            with closing(client.watch_messages([message_id])) as changes:
                while not (message and _is_settled(message)):
                    message = next(changes).message
        except ClientClosed:
            if not is_over():
                raise
    if message is None:
        line = f"no answer from {connection.server} in the time given by --for"
        raise Failed(line, ExitCode.TIMED_OUT, as_json=connection.as_json, code="DEADLINE_EXCEEDED")
    with even_if_unread():
        print_record(message, as_json=connection.as_json)
    if not _is_settled(message):
        click.echo(f"postwire: it is still {word(MessageState, message.state)}: the time has run out (--for)", err=True)
        return ExitCode.TIMED_OUT
    if message.state == MessageState.MESSAGE_STATE_UNCERTAIN:
        return ExitCode.UNCERTAIN
    sent = (MessageState.MESSAGE_STATE_SENT, MessageState.MESSAGE_STATE_DELIVERED)
    return ExitCode.OK if message.state in sent else ExitCode.REFUSED


def _is_settled(message: Message) -> bool:
    from postwire_client import MessageState

    return message.state not in (MessageState.MESSAGE_STATE_QUEUED, MessageState.MESSAGE_STATE_SENDING)


def _show_change(message: Message, token: str, *, as_json: bool) -> None:
    from google.protobuf import json_format

    from postwire.cli.show import plain_row, time_of, word
    from postwire_client import MessageState

    if as_json:
        record = json_format.MessageToJson(message, indent=None, preserving_proto_field_name=True)
        click.echo(f'{{"message": {record}, "resume_token": "{token}"}}')
        return
    cells = (
        time_of(message, "update_time"),
        message.message_id,
        word(MessageState, message.state),
        message.provider_name,
        time_of(message, "next_attempt_time"),
    )
    click.echo(plain_row(cells, _WIDTHS))


@contextmanager
def _time_limit(seconds: float, act: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Acts once it has been so long; gives a function that returns whether it has."""
    over = threading.Event()

    def end() -> None:
        over.set()
        act()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield over.is_set
    finally:
        timer.cancel()
