"""`postwire messages erase`: what messages say, and their labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.failure import ExitCode, Failed, even_if_unread
from postwire.cli.messages.read import messages
from postwire.cli.options import Connection, connection_options, is_wanted, mapping

if TYPE_CHECKING:
    from postwire_client import Client, EraseMessagesResponse

_AT_ONCE: Final = 1_000
"""How many messages one call takes."""


@messages.command()
@click.argument("message_ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    callback=mapping,
    help="All with this label, instead of IDs; several must all be there.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
@click.option(
    "--reason",
    default="",
    metavar="TEXT",
    help="Why, for the record of what was done: at most 256 characters. It is never logged.",
)
@click.option("--yes", "is_sure", is_flag=True, help="With labels: do not ask first.")
@connection_options()
def erase(
    connection: Connection,
    *,
    message_ids: tuple[str, ...],
    labels: dict[str, str],
    dry_run: bool,
    reason: str,
    is_sure: bool,
) -> int:
    """Erase what settled messages say, and their labels, for good: of those with these IDs, or of all with a label.

    Their records stay. What is not settled yet is skipped, and the exit code is 1. Again is fine. What has labels is
    counted first, and you are asked.
    """
    if bool(message_ids) == bool(labels):
        raise click.UsageError("give IDs or --label KEY=VALUE, and not both", click.get_current_context())
    tally = _Tally(dry_run)
    if labels and not dry_run and not is_sure:
        counted = _Tally(dry_run=True)
        with connection.client() as client:
            for answer in _answers(client, message_ids, labels, dry_run=True, reason=""):
                counted.add(answer)
        if counted.erased and not is_wanted(connection, _question(counted.erased)):
            click.echo("Nothing was done.", err=True)
            return ExitCode.REFUSED
    try:
        with connection.client(retry=True) as client:
            for answer in _answers(client, message_ids, labels, dry_run=dry_run, reason=reason):
                tally.add(answer)
    except (Failed, KeyboardInterrupt):
        if tally.erased and not connection.as_json:
            click.echo(f"postwire: broken off after {tally.erased:,} messages; again goes on", err=True)
        raise
    with even_if_unread():
        tally.show(as_json=connection.as_json)
    return ExitCode.REFUSED if tally.skipped and not dry_run else ExitCode.OK


@dataclass(slots=True)
class _Tally:
    """What the calls have come to."""

    dry_run: bool
    erased: int = 0
    skipped: int = 0

    def add(self, answer: EraseMessagesResponse) -> None:
        self.erased += answer.erased
        self.skipped += answer.skipped_unsettled

    def show(self, *, as_json: bool) -> None:
        from postwire.cli.show import print_json, print_pairs

        if as_json:
            counts = {"erased": self.erased, "skipped_unsettled": self.skipped, "dry_run": self.dry_run}
            print_json(json.dumps(counts))
            return
        pairs = [("would_be_erased" if self.dry_run else "erased", f"{self.erased:,}")]
        print_pairs([*pairs, ("skipped_unsettled", f"{self.skipped:,}")])


def _answers(
    client: Client, message_ids: Sequence[str], labels: dict[str, str], *, dry_run: bool, reason: str
) -> Iterator[EraseMessagesResponse]:
    """What each call comes to."""
    for at in range(0, len(message_ids), _AT_ONCE):
        yield client.erase_messages(message_ids[at : at + _AT_ONCE], dry_run=dry_run, reason=reason)
    token = ""
    while labels:
        answer = client.erase_messages(labels=labels, dry_run=dry_run, page_token=token, reason=reason)
        yield answer
        if not (token := answer.next_page_token):
            return


def _question(count: int) -> str:
    return f"Erase {count:,} message{'' if count == 1 else 's'} for good?"
