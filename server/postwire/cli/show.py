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
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from postwire.cli.failure import printable

if TYPE_CHECKING:
    from google.protobuf.message import Message as ProtobufMessage
    from google.protobuf.timestamp_pb2 import Timestamp
    from rich.table import Table

    from postwire.v1.dispatch_service_pb2 import ExplainRouteResponse, RouteCandidate
    from postwire.v1.message_pb2 import Attempt, Message, Receipt, RecipientStatus
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
    "closed": "green",
    "half_open": "yellow",
    "open": "red",
    "forced_open": "magenta",
    "drained": "magenta",
    "cooling_down": "yellow",
    "retry_budget": "yellow",
    "concurrency_limit": "yellow",
    "rate_limit": "yellow",
    "yes": "green",
}
"""How a cell with just this word looks on a terminal."""

_UNLIMITED: Final = 1_000_000
"""Characters: more than any table is wide."""


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, spare: Sequence[str] = ()) -> None:
    """A table of text, one row a line where stdout is no terminal.

    On a terminal that is too narrow, columns in `spare` are left out, the first one first, as far as that helps.
    """
    cells = [list(row) for row in rows]
    if at_terminal():
        _print_drawn(headings, cells, spare)
        return
    lines = [[heading.upper() for heading in headings], *cells]
    widths = [max(map(len, map(_plain, column))) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo(plain_row(line, widths))


def plain_row(cells: Iterable[str], widths: Iterable[int]) -> str:
    """A row of a table, as a line of plain text."""
    return "  ".join(f"{_plain(cell):{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _print_drawn(headings: Sequence[str], rows: list[list[str]], spare: Sequence[str]) -> None:
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    unlimited = console.options.update(max_width=_UNLIMITED)
    shown = list(headings)
    for left_out in (None, *spare):
        shown = [heading for heading in shown if heading != left_out]
        picked = [index for index, heading in enumerate(headings) if heading in shown]
        table = drawn_table(shown, [[row[index] for index in picked] for row in rows])
        for column, index in zip(table.columns, picked, strict=True):
            # Only what has spaces is broken into lines, and only there, so that ids can be copied.
            column.no_wrap = all(" " not in row[index] for row in rows)
            column.min_width = max((len(word) for row in rows for word in row[index].split()), default=0)
        least = Measurement.get(console, unlimited, table).minimum
        if least <= console.width:
            break
    # What is still wider runs over the edge, where the terminal itself breaks the line.
    console.width = max(console.width, least)
    console.print(table)


def drawn_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        # As `Text`, because rich would take [brackets] in a string for markup.
        table.add_row(*(Text(printable(cell), style=_STYLES.get(cell, "")) for cell in row))
    return table


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, one a line; those without a value are left out."""
    shown = [(name, printable(value)) for name, value in pairs if value]
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        style = _STYLES.get(value) if _in_colour() else None
        click.echo(f"{name:{width}}  {click.style(value, fg=style) if style else value}")


def print_json(text: str) -> None:
    """One object: in one line, or indented on a terminal."""
    click.echo(json.dumps(json.loads(text), indent=2, ensure_ascii=False) if at_terminal() else text)


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
            ("code", message.error_code),
            ("create_time", time_of(message, "create_time")),
            ("update_time", time_of(message, "update_time")),
            ("next_attempt_time", time_of(message, "next_attempt_time")),
            ("expire_time", time_of(message, "expire_time")),
            ("labels", " ".join(f"{key}={value}" for key, value in sorted(message.labels.items()))),
            ("note", _note(message)),
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
    if message.receipts:
        click.echo()
        print_table(
            ("receipt", "provider", "attempt", "recipient", "received", "code"),
            map(_receipt, message.receipts),
            spare=("recipient",),
        )


def print_record(message: Message, *, as_json: bool) -> None:
    """The record of a message, as the command was asked to print."""
    if as_json:
        print_protobuf(message)
    else:
        print_message(message)


def print_messages(messages: Iterable[Message]) -> None:
    """Messages, one a row."""
    from postwire.v1.message_pb2 import Channel, MessageState, Outcome

    print_table(
        ("message_id", "created", "channel", "state", "outcome", "provider", "attempts"),
        [
            (
                message.message_id,
                time_of(message, "create_time"),
                word(Channel, message.channel),
                word(MessageState, message.state),
                word(Outcome, message.outcome),
                message.provider_name,
                str(len(message.attempts)),
            )
            for message in messages
        ],
        spare=("attempts", "outcome", "channel"),
    )


def print_providers(providers: Iterable[Provider]) -> None:
    """The providers, one a row. Short enough for most terminals: `print_provider` shows more."""
    names = ("provider", "kind", "channels", "breaker", "failure_ratio", "next_probe", "in_flight", "seed")
    now, rows = datetime.now(UTC), []
    for provider in providers:
        reported = dict(provider_pairs(provider)) | {"next_probe": next_probe(provider, now)}
        if reported["seed"] and not provider.seeded:
            reported["seed"] = "random"
        if reported["availability"] not in ("", "available"):  # then it does not matter what its breaker would say
            reported["breaker"] = reported["availability"]
        rows.append([reported[name] for name in names])
    print_table(names, rows)


def next_probe(provider: Provider, now: datetime) -> str:
    """How long it is until the provider's breaker lets somebody through; empty where it lets everybody through."""
    if not provider.breaker.HasField("next_probe_time"):
        return ""
    left = (provider.breaker.next_probe_time.ToDatetime(UTC) - now).total_seconds()
    return f"in {left:.0f}s" if left >= 1 else "due"


def print_provider(provider: Provider) -> None:
    """One provider."""
    print_pairs(provider_pairs(provider))


def provider_pairs(provider: Provider) -> list[tuple[str, str]]:
    """The fields of a provider that are shown, by name."""
    from postwire.v1.message_pb2 import Channel, ReceiptState
    from postwire.v1.provider_service_pb2 import Availability, BreakerState

    breaker = provider.breaker
    seed = ""
    if "simulated" in provider.capabilities or provider.kind == "mock":  # an older server names no capabilities
        seed = f"{provider.seed}" if provider.seeded else f"{provider.seed} (random)"
    delay = f"{provider.receipt_delay.ToMilliseconds() / 1000:g}s" if provider.HasField("receipt_delay") else ""
    return [
        ("provider", provider.name),
        ("kind", provider.kind),
        ("capabilities", ",".join(provider.capabilities)),
        ("channels", ",".join(word(Channel, channel) for channel in provider.channels)),
        # An older server says nothing of it.
        ("availability", word(Availability, provider.availability) if provider.availability else ""),
        ("breaker", word(BreakerState, breaker.state)),
        ("calls", str(breaker.calls)),
        ("failures", str(breaker.failures)),
        ("slow_calls", str(breaker.slow_calls) if breaker.slow_calls else ""),
        ("failure_ratio", f"{breaker.failure_ratio:.2f}"),
        ("next_probe_time", time_of(breaker, "next_probe_time")),
        ("in_flight", str(provider.in_flight)),
        # An older server names no limits.
        ("max_concurrent", str(provider.max_concurrent) if provider.max_concurrent else ""),
        ("rate", f"{provider.rate:g}" if provider.HasField("rate") else ""),
        ("seed", seed),
        ("receipts", " ".join(f"{word(ReceiptState, one.state)}={one.count}" for one in provider.receipts)),
        ("receipt_delay", delay),
        ("note", _note(provider)),
        ("unserved_routes", ",".join(provider.unserved_route_keys)),
    ]


def print_route(explained: ExplainRouteResponse) -> None:
    """A route, and how each of its providers stands."""
    from postwire.v1.dispatch_service_pb2 import SmsEncoding

    print_pairs(
        [
            ("route", explained.route_key),
            ("rule", explained.rule),
            ("matched_on", ", ".join(explained.matched_on)),
            ("overflow", "on" if explained.overflow else ""),
            ("segments", str(explained.sms_segments or "")),
            ("encoding", word(SmsEncoding, explained.sms_encoding)),
        ]
    )
    click.echo()
    print_table(("tier", "provider", "weight", "eligible", "obstacle", "until"), map(_candidate, explained.candidates))


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


def _note(noted: Message | Provider) -> str:
    """What an operator did last, when and why: `drain 2030-01-31T12:00:00.000Z their incident 4711`."""
    from postwire.v1.message_pb2 import NoteAction

    if not noted.HasField("note"):
        return ""
    note = noted.note
    return " ".join(filter(None, (word(NoteAction, note.action), time_of(note, "time"), note.reason)))


def _attempt(attempt: Attempt) -> tuple[str, ...]:
    from postwire.v1.message_pb2 import Outcome

    took = f"{attempt.duration.ToMicroseconds() / 1000:.1f}ms" if attempt.HasField("duration") else ""
    return (
        str(attempt.number),
        attempt.provider_name,
        word(Outcome, attempt.outcome),
        time_of(attempt, "start_time"),
        took,
        attempt.error_code,
        attempt.detail,
    )


def _candidate(candidate: RouteCandidate) -> tuple[str, ...]:
    from postwire.v1.dispatch_service_pb2 import RouteObstacle

    return (
        str(candidate.tier),
        candidate.provider_name,
        str(candidate.weight),
        "yes" if candidate.eligible else "no",
        word(RouteObstacle, candidate.obstacle),
        time_of(candidate, "eligible_time"),
    )


def _recipient(recipient: RecipientStatus) -> tuple[str, ...]:
    from postwire.v1.message_pb2 import MessageState, Outcome

    return (
        str(recipient.index),
        word(MessageState, recipient.state),
        word(Outcome, recipient.outcome),
        recipient.error_code,
    )


def _receipt(receipt: Receipt) -> tuple[str, ...]:
    from postwire.v1.message_pb2 import ReceiptState

    return (
        word(ReceiptState, receipt.state),
        receipt.provider_name,
        str(receipt.attempt_number),
        str(receipt.recipient_index) if receipt.HasField("recipient_index") else "",
        time_of(receipt, "receive_time"),
        receipt.error_code,
    )


def time_of(message: Any, field: str) -> str:
    """The time in that field, as ISO 8601 has it; empty where there is none."""
    if not message.HasField(field):
        return ""
    stamp: Timestamp = getattr(message, field)
    return iso_time(stamp.ToDatetime(tzinfo=UTC))


def iso_time(moment: datetime) -> str:
    """A time of UTC, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def at_terminal() -> bool:
    """Whether somebody sees what is printed, as it is printed."""
    return sys.stdout is not None and sys.stdout.isatty()  # it is None where the caller has closed it


def can_redraw() -> bool:
    """Whether what was printed can be written over."""
    return at_terminal() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _in_colour() -> bool:
    return at_terminal() and not os.environ.get("NO_COLOR")


def _plain(cell: str) -> str:
    return printable(cell) or "-"
