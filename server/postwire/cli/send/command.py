"""`postwire send sms|mms|email`, and `postwire send --file`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from postwire.cli import preview
from postwire.cli.command import Group, Word
from postwire.cli.failure import ExitCode, even_if_unread
from postwire.cli.options import Connection, connection_options
from postwire.cli.send import content
from postwire.cli.send.bulk import Bulk, send_file
from postwire.cli.send.bulk_columns import COLUMNS
from postwire.cli.send.bulk_source import FORMATS
from postwire.cli.send.compose import Composed, add_channels, delivery_options
from postwire.core.message import DEFAULT_TENANT

_COLUMNS = f"""\b
Columns of a CSV file, which its first line names; of each row, all but "to" may
be left out or empty:
{click.wrap_text(", ".join(COLUMNS), 78, "  ", "  ")}
"""


@click.group(
    cls=Group,
    invoke_without_command=True,
    no_args_is_help=True,
    subcommand_metavar="[sms|mms|email] ...",
    epilog=_COLUMNS,
)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Send every message of a file or a pipe; - reads stdin. A DispatchRequest as JSON a line, or CSV.",
)
@click.option(
    "--format",
    type=Word(FORMATS),
    help="How the file is written.  [default: csv where its name ends with .csv or .tsv, else jsonl]",
)
@click.option(
    "--batch",
    metavar="NAME",
    help="What the request ids hang on, beside the contents.  [default: the file's name; random where it has none]",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what became of each to this file: as CSV, or as JSON where its name ends with .jsonl.",
)
@click.option("--no-wait", is_flag=True, help="With --file: only until each message is accepted, not for its outcome.")
@delivery_options
@connection_options()
def send(
    connection: Connection,
    *,
    path: Path | None,
    format: str | None,
    batch: str | None,
    results: Path | None,
    no_wait: bool,
    labels: dict[str, str],
    given: content.Given,
) -> int:
    """Send a message, or those of a file, and show what became of it.

    Exits with 0 if it was sent or is on its way, and with 1 if it was refused or not sent.

    A file is sent over one stream. Its lines need no request ids: the same command again sends nothing twice, so a run
    that was interrupted is simply repeated, also after lines were mended, added or taken out. Options for the sending
    count for each line that does not say otherwise; another value of one, and the repeat is refused.
    """
    if path is None:
        raise click.UsageError("nothing to send: name a channel, or a --file")
    if batch == "":
        raise click.UsageError("--batch is empty: give it a name")
    if results and str(results) == "-":
        raise click.UsageError("--results - is no file: give the path of one, since stdout has the counts")
    if isinstance(given.send, float) or isinstance(given.expire, float):
        problem = "the same command again would mean another time: with --file, give it as --send-at or --expire-at"
        raise click.UsageError(problem)
    options = content.options(given)
    return send_file(connection, Bulk(path, format, batch, results, no_wait, options, labels))


def _target(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a server, and `--dry-run`, which asks none."""

    @click.option(
        "--dry-run", is_flag=True, help="Show what would be handed over, as postwire preview does, and send nothing."
    )
    @connection_options()
    @functools.wraps(command)
    def wrapper(connection: Connection, *args: Any, dry_run: bool, **options: Any) -> Any:
        if not dry_run:
            return command(connection, *args, **options)
        tenant = connection.shown.get("tenant") or DEFAULT_TENANT
        return command(preview.Target(None, connection.as_json, tenant=tenant), *args, **options)

    return wrapper


def _send(connection: Connection | preview.Target, composed: Composed) -> int:
    if isinstance(connection, preview.Target):
        return preview.show(connection, composed)
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


add_channels(send, _send, "Send {message}.", _target)
