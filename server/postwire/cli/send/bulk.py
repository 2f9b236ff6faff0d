"""`postwire send --file`: many messages over one stream."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postwire.cli.failure import ExitCode, Failed, even_if_unread
from postwire.cli.options import Connection
from postwire.cli.send.bulk_faults import BadRow
from postwire.cli.send.bulk_ids import Occurrences, request_id
from postwire.cli.send.bulk_report import Report, progress, results_file
from postwire.cli.send.bulk_source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from postwire_client import Client, DispatchOptions, DispatchRequest


@dataclass(frozen=True, slots=True)
class Bulk:
    """What to send, and how. `options` and `labels` are for lines that do not say otherwise themselves."""

    path: Path
    format: str | None
    batch: str | None
    results: Path | None
    wait_for_acceptance: bool
    options: DispatchOptions
    labels: Mapping[str, str]


def send_file(connection: Connection, bulk: Bulk) -> int:
    """Send every message of a file, and return the exit code.

    Each has a request id that follows from its content, so that the same command again sends nothing twice.
    """
    from postwire_client import PostwireError

    source = Source(bulk.path, bulk.format)
    if bulk.results and source.is_same(bulk.results):
        source.close()
        raise click.UsageError(f"--results {bulk.results} is the file that is read")
    batch = bulk.batch or source.name or _new_batch(connection)
    hint = "run the same command again: what was sent is not sent twice"
    if not (bulk.batch or source.name):
        hint = f"run the same command again, with --batch {batch}: what was sent is not sent twice"
    report = Report(batch, "")
    try:
        # With retries, unlike a single call: a long run is to survive a restart of the server.
        with connection.open(retry=True) as client:
            try:
                report = Report(batch, _newest(client))
            except BaseException:
                source.close()
                raise
            _send(client, source, bulk, report, hint, as_json=connection.as_json)
    except PostwireError as error:
        raise connection.failure(error, hint) from None
    except BadRow as bad:
        raise Failed(
            str(bad),
            ExitCode.USAGE,
            more=[f"before it: {report.summary() if report.count else 'nothing'}", f"mend it, then {hint}"],
            as_json=connection.as_json,
            violations=[(f"line {bad.line}" + (f": {bad.field}" if bad.field else ""), bad.problem)],
        ) from None
    except KeyboardInterrupt:
        click.echo(f"postwire: interrupted after {report.count}; {hint}", err=True)
        raise
    with even_if_unread():
        report.show(as_json=connection.as_json)
    return ExitCode.REFUSED if report.failed else ExitCode.OK


def _send(client: Client, source: Source, bulk: Bulk, report: Report, hint: str, *, as_json: bool) -> None:
    lines: dict[int, int] = {}  # of those without an answer: so many as the client's window holds
    with (
        results_file(bulk.results, hint=hint, as_json=as_json) as write,
        progress(source.size, hidden=as_json) as show,
    ):
        for result in client.dispatch_many(_requests(source, bulk, report.batch, lines)):
            write(report.add(lines.pop(result.index), result))
            show(report.count, source.taken)


def _requests(source: Source, bulk: Bulk, batch: str, lines: dict[int, int]) -> Iterator[DispatchRequest]:
    from postwire_client import DispatchOptions, WaitFor

    seen = Occurrences()
    try:
        for index, row in enumerate(source.rows()):
            request = row.request
            if not request.request_id:
                request.request_id = request_id(batch, row.content, seen.count(row.content))
            for key, value in bulk.labels.items():
                if key not in request.message.labels:
                    request.message.labels[key] = value
            options = DispatchOptions()
            options.CopyFrom(bulk.options)
            options.MergeFrom(request.options)
            if bulk.wait_for_acceptance:
                options.wait_for = WaitFor.WAIT_FOR_ACCEPTANCE
            request.options.CopyFrom(options)
            lines[index] = row.line
            yield request
    finally:
        seen.close()


def _newest(client: Client) -> str:
    """The id of the newest message there is."""
    return next((message.message_id for message in client.list_messages(page_size=1)), "")


def _new_batch(connection: Connection) -> str:
    """A batch for what has no name by which it could be known again."""
    batch = uuid.uuid4().hex[:16]
    if connection.as_json:
        click.echo(json.dumps({"batch": batch}), err=True)
    else:
        click.echo(f"postwire: the batch is {batch}: to repeat it without sending twice, add --batch {batch}", err=True)
    return batch
