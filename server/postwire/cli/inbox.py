"""`postwire inbox list|watch|wait|clear`: what simulated providers took, for people and for tests."""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from postwire.cli.command import Group, Word
from postwire.cli.failure import ExitCode, Failed, even_if_unread, printable
from postwire.cli.options import Connection, connection_options
from postwire.cli.times import TIMES_PAST, time_past
from postwire.cli.watching import reader_gone
from postwire.core.message import Channel

if TYPE_CHECKING:
    from postwire_client import InboxFilter, InboxMessage

_MAX_LIMIT: Final = 1_000
"""How many messages an inbox keeps."""

_PAGE: Final = 100
_COLUMNS: Final = ("time", "provider", "channel", "to", "text")
_WIDTHS: Final = (len("2030-01-31T12:00:00.000Z"), len("provider"), len("channel"), len("+15005550006"), 0)
_LONGEST_TEXT: Final = 80
"""How much of a text is shown in a line."""

_since: Final = click.option(
    "--since", metavar="TIME", callback=time_past, help=f"Taken at this time or later: {TIMES_PAST}."
)
_match: Final = click.option(
    "--match", default="", metavar="TEXT", help="With this in a text or the subject, whatever the case of its letters."
)


@click.group(cls=Group)
def inbox() -> None:
    """Read what mocks and sandboxes took: the last 1,000 messages, for an hour. Not on a server in production."""


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a filter; the command gets an `InboxFilter` as `chosen`."""

    @click.option("--to", default="", metavar="RECIPIENT", help="To this phone number or email address.")
    @_match
    @click.option(
        "--channel",
        "channels",
        multiple=True,
        type=Word([channel.value for channel in Channel]),
        help="On this channel; may be given several times.",
    )
    @_since
    @functools.wraps(command)
    def wrapper(
        *args: Any, to: str, match: str, channels: tuple[str, ...], since: datetime | None, **options: Any
    ) -> Any:
        from postwire_client import Channel as WireChannel
        from postwire_client import InboxFilter

        chosen = InboxFilter(
            channels=[WireChannel.Value(f"CHANNEL_{one.upper()}") for one in channels], to=to, match=match
        )
        if since:
            chosen.receive_time_from.FromDatetime(since)
        return command(*args, chosen=chosen, **options)

    return wrapper


@inbox.command("list")
@_filter_options
@click.option(
    "--limit",
    type=click.IntRange(1, _MAX_LIMIT),
    default=50,
    show_default=True,
    metavar="NUMBER",
    help="How many to show.",
)
@connection_options()
def list_inbox(connection: Connection, *, chosen: InboxFilter, limit: int) -> None:
    """Show the newest messages that meet every condition.

    With --json: all that they say, and whether there are more of them.
    """
    from postwire.cli.show import as_dict, print_json, print_table

    wanted = limit + 1  # to know whether there are more
    with connection.client() as client:
        found = list(itertools.islice(client.list_inbox(chosen, page_size=min(wanted, _PAGE)), wanted))
    more = len(found) > limit
    if connection.as_json:
        print_json(json.dumps({"messages": [as_dict(one) for one in found[:limit]], "more": more}))
        return
    print_table(_COLUMNS, [_row(one) for one in found[:limit]], spare=("time", "channel"))
    if more:
        click.echo(f"There are more: these are the newest {limit} (--limit).", err=True)


@inbox.command()
@_filter_options
@connection_options()
def watch(connection: Connection, *, chosen: InboxFilter) -> None:
    """Show messages as they are taken, one a line.

    It goes on until you interrupt it, over restarts of the server as well.
    """
    from postwire.cli.show import as_dict, plain_row
    from postwire_client import PostwireError

    if not connection.as_json:
        click.echo(plain_row([name.upper() for name in _COLUMNS], _WIDTHS))
    with connection.client(retry=True) as client, reader_gone(client.close) as is_gone:
        try:
            with closing(client.watch_inbox(chosen)) as taken:
                for one in taken:
                    line = json.dumps(as_dict(one)) if connection.as_json else plain_row(_row(one), _WIDTHS)
                    click.echo(line)
        except PostwireError:
            if is_gone():
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
            raise


@inbox.command()
@click.option("--to", required=True, metavar="RECIPIENT", help="To this phone number or email address.")
@_match
@_since
@connection_options()
def wait(connection: Connection, *, to: str, match: str, since: datetime | None) -> int:
    """Wait for a message to a recipient, and print its text.

    One that is there already is printed at once, the newest of several. Of an email it is the text, or the HTML where
    there is no other. Exits with 6 where none has come when the time has run out (--timeout).
    """
    from postwire.cli.show import print_protobuf
    from postwire.config.types import format_duration

    with connection.client(retry=True) as client:
        found = client.wait_for_message(to, match, since=since)
    if found is None:
        # Whom it is for is the caller's, and not for a log that keeps what was printed.
        line = f"no such message has come within {format_duration(connection.timeout)} (--timeout)"
        raise Failed(line, ExitCode.TIMED_OUT, as_json=connection.as_json)
    with even_if_unread():
        if connection.as_json:
            print_protobuf(found)
        else:
            _print_body(found)
    return ExitCode.OK


@inbox.command()
@connection_options()
def clear(connection: Connection) -> None:
    """Remove all messages."""
    from postwire.cli.show import print_json, print_pairs

    with connection.client() as client:
        removed = client.clear_inbox()
    if connection.as_json:
        print_json(json.dumps({"removed": removed}))
    else:
        print_pairs([("removed", f"{removed:,}")])


def _print_body(one: InboxMessage) -> None:
    """Print what a message says: as it is, or on a terminal without what would steer that."""
    from postwire.cli.show import at_terminal

    content = _content_of(one)
    body: str = (content.text or content.html) if one.message.HasField("email") else content.body
    if at_terminal():
        body = "\n".join(printable(line) for line in body.splitlines())
    click.echo(body, color=True)  # whatever there is in it that looks like colour


def _content_of(one: InboxMessage) -> Any:
    """Its content, as if it were an SMS where it is of a channel that this release does not know."""
    return getattr(one.message, one.message.WhichOneof("content") or "sms")


def _row(one: InboxMessage) -> list[str]:
    """A message as a line of a table has it."""
    from postwire.cli.show import time_of

    channel = one.message.WhichOneof("content") or ""
    content = _content_of(one)
    to, text = content.to, ""
    if channel == "email":
        recipients = [*content.to, *content.cc, *content.bcc]
        reached = [recipients[index] for index in one.recipient_indices] or recipients
        to = reached[0] if len(reached) == 1 else f"{reached[0]} and {len(reached) - 1} more"
        text = content.subject or content.text or content.html
    else:
        text = content.body
    if len(text) > _LONGEST_TEXT:
        text = f"{text[: _LONGEST_TEXT - 1]}…"
    return [time_of(one, "receive_time"), one.provider_name, channel, to, " ".join(text.split())]
