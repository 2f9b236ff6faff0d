"""What commands print: tables for people, JSON for programs.

On a terminal, tables are drawn by rich. Elsewhere they are plain text whose cells are never cut or wrapped, so that
`grep` and `awk` find what they look for; an empty one is a `-`, so that no column is missing.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import click

from postwire.cli.failure import printable

if TYPE_CHECKING:
    from google.protobuf.message import Message as ProtobufMessage
    from google.protobuf.timestamp_pb2 import Timestamp

    from postwire.v1.message_pb2 import Attempt, Message, RecipientStatus
    from postwire.v1.provider_service_pb2 import Provider

_STYLES: Final = {
    "success": "green",
    "sent": "green",
    "delivered": "green",
    "serving": "green",
    "queued": "cyan",
    "sending": "cyan",
    "set": "cyan",
    "rate_limited": "yellow",
    "uncertain": "yellow",
    "refused": "yellow",
    "error": "red",
    "rejected": "red",
    "failed": "red",
    "undelivered": "red",
    "expired": "red",
    "cancelled": "red",
}
"""How a cell with just this word looks on a terminal."""


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of text, one row a line where stdout is no terminal."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if _at_terminal():
        _draw(headings, cells)
        return
    lines = [[heading.upper() for heading in headings], *([cell or "-" for cell in row] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, one a line; those without a value are left out."""
    shown = [(name, printable(value)) for name, value in pairs if value]
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        style = _STYLES.get(value) if _in_colour() else None
        click.echo(f"{name:{width}}  {click.style(value, fg=style) if style else value}")


def print_json(text: str) -> None:
    """One object: in one line, or indented on a terminal."""
    click.echo(json.dumps(json.loads(text), indent=2, ensure_ascii=False) if _at_terminal() else text)


def print_protobuf(message: ProtobufMessage) -> None:
    """The message as protobuf's JSON, with the names of the contract, and with the fields that are empty."""
    print_json(json.dumps(as_dict(message)))


def as_dict(message: ProtobufMessage) -> dict[str, Any]:
    """What `print_protobuf` prints."""
    from google.protobuf import json_format

    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def print_message(message: Message) -> None:
    """The record of a message."""
    from postwire.v1.message_pb2 import Channel, MessageState, Outcome

    print_pairs(
        [
            ("message_id", message.message_id),
            ("request_id", message.request_id),
            ("channel", word(Channel, message.channel)),
            ("state", word(MessageState, message.state)),
            ("outcome", word(Outcome, message.outcome)),
            ("provider", message.provider_name),
            ("provider_message_id", message.provider_message_id),
            ("create_time", _time(message, "create_time")),
            ("update_time", _time(message, "update_time")),
            ("next_attempt_time", _time(message, "next_attempt_time")),
            ("expire_time", _time(message, "expire_time")),
            ("labels", " ".join(f"{key}={value}" for key, value in sorted(message.labels.items()))),
        ]
    )
    if message.attempts:
        click.echo()
        print_table(
            ("attempt", "provider", "outcome", "started", "took", "code", "detail"), map(_attempt, message.attempts)
        )
    if message.recipients:
        click.echo()
        print_table(("recipient", "state", "outcome", "code"), map(_recipient, message.recipients))


def print_messages(messages: Iterable[Message]) -> None:
    """Messages, one a row."""
    from postwire.v1.message_pb2 import Channel, MessageState, Outcome

    print_table(
        ("message_id", "created", "channel", "state", "outcome", "provider", "attempts"),
        [
            (
                message.message_id,
                _time(message, "create_time"),
                word(Channel, message.channel),
                word(MessageState, message.state),
                word(Outcome, message.outcome),
                message.provider_name,
                str(len(message.attempts)),
            )
            for message in messages
        ],
    )


def print_providers(providers: Iterable[Provider]) -> None:
    """The providers, one a row."""
    from postwire.v1.message_pb2 import Channel

    print_table(
        ("provider", "kind", "channels", "in_flight", "seed"),
        [
            (
                provider.name,
                provider.kind,
                ",".join(word(Channel, channel) for channel in provider.channels),
                str(provider.in_flight),
                (f"{provider.seed}" if provider.seeded else f"{provider.seed} (random)")
                if provider.kind == "mock"
                else "",
            )
            for provider in providers
        ],
    )


def word(enum: Any, value: int) -> str:
    """The word for a value of one of the contract's enums: `sent` for `MESSAGE_STATE_SENT`.

    Empty for the unspecified; the number itself where the server knows more values than we do.
    """
    if value == 0:
        return ""
    if value not in enum.values():
        return str(value)
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper() + "_"
    name: str = enum.Name(value)
    return name.removeprefix(prefix).lower()


def _attempt(attempt: Attempt) -> tuple[str, ...]:
    from postwire.v1.message_pb2 import Outcome

    took = f"{attempt.duration.ToMicroseconds() / 1000:.1f}ms" if attempt.HasField("duration") else ""
    return (
        str(attempt.number),
        attempt.provider_name,
        word(Outcome, attempt.outcome),
        _time(attempt, "start_time"),
        took,
        attempt.error_code,
        attempt.detail,
    )


def _recipient(recipient: RecipientStatus) -> tuple[str, ...]:
    from postwire.v1.message_pb2 import MessageState, Outcome

    return (
        str(recipient.index),
        word(MessageState, recipient.state),
        word(Outcome, recipient.outcome),
        recipient.error_code,
    )


def _time(message: Any, field: str) -> str:
    if not message.HasField(field):
        return ""
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _at_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()  # it is None where the caller has closed it


def _in_colour() -> bool:
    return _at_terminal() and not os.environ.get("NO_COLOR")


def _draw(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        # As `Text`, because rich would take [brackets] in a string for markup.
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)
