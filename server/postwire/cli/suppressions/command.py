"""`postwire suppressions add|remove|check|list`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import click

from postwire.cli.command import Group, Word
from postwire.cli.failure import even_if_unread
from postwire.cli.messages.read import MAX_PAGE_SIZE
from postwire.cli.options import Connection, connection_options
from postwire.cli.times import TIMES_AHEAD, time_ahead
from postwire.core.suppression import SuppressionReason

if TYPE_CHECKING:
    from postwire_client import Suppression

T = TypeVar("T")

AT_ONCE: Final = 1_000
"""How many addresses one call takes."""

REASONS: Final = tuple(reason.value for reason in SuppressionReason)
_MAX_LIMIT: Final = 1_000_000

_addresses: Final = click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)


@click.group(cls=Group)
def suppressions() -> None:
    """Say who is not written to: phone numbers and email addresses. This takes the role operate."""


@suppressions.command()
@_addresses
@click.option("--reason", type=Word(REASONS), default="manual", show_default=True, help="Why.")
@click.option("--source", default="", metavar="TEXT", help="Where this is known from: at most 64 characters.")
@click.option("--sender", default="", metavar="SENDER", help="Only for messages from this sender, or this provider.")
@click.option(
    "--expire-at", "expire", metavar="TIME", callback=time_ahead, help=f"Until when: {TIMES_AHEAD}. Else for good."
)
@connection_options()
def add(
    connection: Connection,
    *,
    addresses: tuple[str, ...],
    reason: str,
    source: str,
    sender: str,
    expire: datetime | float | None,
) -> None:
    """Write to these addresses no more. Again is fine."""
    from postwire_client import Suppression

    made = [
        suppression(Suppression(address=one, source=source, sender=sender), reason, _moment(expire))
        for one in addresses
    ]
    added = 0
    with connection.client() as client:
        for some in in_pieces(made):
            added += client.add_suppressions(some)
    _show_count(connection, "added", added)


@suppressions.command()
@_addresses
@connection_options()
def remove(connection: Connection, *, addresses: tuple[str, ...]) -> None:
    """Write to these addresses again, whatever senders they were suppressed for. Again is fine."""
    removed = 0
    with connection.client() as client:
        for some in in_pieces(addresses):
            removed += client.remove_suppressions(some)
    _show_count(connection, "removed", removed)


@suppressions.command()
@_addresses
@connection_options()
def check(connection: Connection, *, addresses: tuple[str, ...]) -> None:
    """Show which of these addresses are not written to, and why."""
    found: list[Suppression] = []
    with connection.client() as client:
        for some in in_pieces(addresses):
            found += client.check_suppressions(some)
    _print(connection, found, headed=("address", *_HEADINGS))


@suppressions.command("list")
@click.option(
    "--limit",
    type=click.IntRange(1, _MAX_LIMIT),
    default=50,
    show_default=True,
    metavar="NUMBER",
    help="How many to show.",
)
@connection_options()
def list_suppressions(connection: Connection, *, limit: int) -> None:
    """Show the newest suppressions. Not for whom they are: the server does not know.

    With --json: the suppressions, and whether there are more of them.
    """
    wanted = limit + 1  # to know whether there are more
    with connection.client() as client:
        listed = client.list_suppressions(page_size=min(wanted, MAX_PAGE_SIZE))
        found = list(itertools.islice(listed, wanted))
    more = len(found) > limit
    _print(connection, found[:limit], more=more)
    if more and not connection.as_json:
        click.echo(f"There are more: these are the newest {limit} (--limit).", err=True)


_HEADINGS: Final = ("reason", "sender", "source", "since", "until")


def suppression(made: Suppression, reason: str, until: datetime | None) -> Suppression:
    """The same with a reason, and an end if there is one."""
    from postwire_client import SuppressionReason

    made.reason = SuppressionReason.Value(f"SUPPRESSION_REASON_{reason.upper().replace('-', '_')}")
    if until is not None:
        made.expire_time.FromDatetime(until)
    return made


def in_pieces(some: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many as one call takes."""
    for at in range(0, len(some), AT_ONCE):
        yield some[at : at + AT_ONCE]


def _moment(expire: datetime | float | None) -> datetime | None:
    return datetime.now(UTC) + timedelta(seconds=expire) if isinstance(expire, float) else expire


def _show_count(connection: Connection, name: str, count: int) -> None:
    from postwire.cli.show import print_json, print_pairs

    with even_if_unread():
        if connection.as_json:
            print_json(json.dumps({name: count}))
        else:
            print_pairs([(name, f"{count:,}")])


def _print(
    connection: Connection, found: Iterable[Suppression], *, headed: Sequence[str] = _HEADINGS, more: bool | None = None
) -> None:
    from postwire.cli.show import as_dict, print_json, print_table, time_of, word
    from postwire_client import SuppressionReason

    if connection.as_json:
        shown = {"suppressions": [as_dict(one) for one in found]}
        print_json(json.dumps(shown if more is None else shown | {"more": more}))
        return
    cells = [
        {
            "address": one.address,
            "reason": word(SuppressionReason, one.reason),
            "sender": one.sender or "any",
            "source": one.source,
            "since": time_of(one, "create_time"),
            "until": time_of(one, "expire_time"),
        }
        for one in found
    ]
    print_table(headed, [[row[name] for name in headed] for row in cells], spare=("since", "source"))
