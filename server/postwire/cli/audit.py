"""`postwire audit`: who changed what."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Group, Word
from postwire.cli.messages.read import MAX_PAGE_SIZE
from postwire.cli.options import Connection, connection_options
from postwire.cli.times import TIMES_PAST, time_past
from postwire.core.audit import AuditedMethod

if TYPE_CHECKING:
    from postwire_client import AuditEvent

_MAX_LIMIT: Final = 1_000_000
_METHODS: Final = {one.value.rpartition("/")[2]: one.value for one in AuditedMethod}
"""The full names of methods, by their own."""


@click.group(cls=Group)
def audit() -> None:
    """See who changed what. This takes the role admin."""


@audit.command("list")
@click.option(
    "--of-tenant", "tenant_name", default="", metavar="NAME", help="Only what is of this tenant; providers are of none."
)
@click.option(
    "--method",
    type=Word(list(_METHODS)),
    metavar="METHOD",
    help=f"Only by this method: {', '.join(_METHODS)}.",
)
@click.option("--from", "time_from", metavar="TIME", callback=time_past, help=f"At this time or later: {TIMES_PAST}.")
@click.option("--to", "time_to", metavar="TIME", callback=time_past, help="Before this time.")
@click.option(
    "--limit",
    type=click.IntRange(1, _MAX_LIMIT),
    default=50,
    show_default=True,
    metavar="NUMBER",
    help="How many to show.",
)
@connection_options()
def list_events(
    connection: Connection,
    *,
    tenant_name: str,
    method: str | None,
    time_from: datetime | None,
    time_to: datetime | None,
    limit: int,
) -> None:
    """Show the newest changes, besides dispatches, and the calls for one that were refused.

    With --json: the events, and whether there are more of them.
    """
    from postwire.cli.show import as_dict, print_json

    wanted = limit + 1  # to know whether there are more
    with connection.client() as client:
        listed = client.list_audit_events(
            tenant=tenant_name,
            method=_METHODS[method] if method else "",
            time_from=time_from,
            time_to=time_to,
            page_size=min(wanted, MAX_PAGE_SIZE),
        )
        found = list(itertools.islice(listed, wanted))
    more = len(found) > limit
    if connection.as_json:
        print_json(json.dumps({"events": [as_dict(event) for event in found[:limit]], "more": more}))
        return
    _print(found[:limit])
    if more:
        click.echo(f"There are more: these are the newest {limit} (--limit).", err=True)


def _print(events: Iterable[AuditEvent]) -> None:
    from postwire.cli.show import print_table, time_of

    print_table(
        ("time", "principal", "tenant", "method", "target", "result", "reason"),
        [
            (
                time_of(event, "time"),
                event.principal,
                event.tenant,
                event.method.rpartition("/")[2],
                event.target,
                event.result,
                event.reason,
            )
            for event in events
        ],
        spare=("tenant",),
    )
