"""`postwire messages cancel|resolve`: one message, or all that a filter admits."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Word
from postwire.cli.failure import ExitCode, Failed, even_if_unread
from postwire.cli.filters import filter_options, reason_option
from postwire.cli.messages.read import MAX_PAGE_SIZE, messages
from postwire.cli.options import Connection, connection_options, is_wanted

if TYPE_CHECKING:
    from postwire_client import Client, Message, MessageFilter

_AT_ONCE: Final = 16
"""How many calls are under way at once: so they share commits, and leave the server room for others."""

YES = click.option("--yes", "is_sure", is_flag=True, help="With a filter: do not ask first.")


@messages.command()
@click.argument("message_id", metavar="[ID]", required=False)
@filter_options(states=False)
@reason_option
@YES
@connection_options()
def cancel(
    connection: Connection, *, message_id: str | None, chosen: MessageFilter | None, reason: str, is_sure: bool
) -> int:
    """Take messages back that are queued: the one with this ID, or all that meet every condition.

    Again is fine; one whose sending has begun is refused. A filter is counted first, and you are asked.
    """

    def act(client: Client, message_id: str) -> Message:
        return client.cancel_message(message_id, reason=reason)

    return _steer(connection, _Action("Cancel", "queued", "", act), message_id, chosen, is_sure)


@messages.command()
@click.argument("outcome", type=Word(["sent", "failed"]))
@click.argument("message_id", metavar="[ID]", required=False)
@filter_options(states=False)
@reason_option
@YES
@connection_options()
def resolve(
    connection: Connection,
    *,
    outcome: str,
    message_id: str | None,
    chosen: MessageFilter | None,
    reason: str,
    is_sure: bool,
) -> int:
    """Settle messages that are uncertain, once you have found out at the provider whether they were sent: the one with
    this ID, or all that meet every condition.

    A filter is counted first, and you are asked.
    """

    def act(client: Client, message_id: str) -> Message:
        return client.resolve_message(message_id, sent=outcome == "sent", reason=reason)

    return _steer(connection, _Action("Resolve", "uncertain", f" as {outcome}", act), message_id, chosen, is_sure)


@dataclass(frozen=True, slots=True)
class _Action:
    """What is done to each message that is in a state, in words, and how: "", " as sent"."""

    verb: str
    state: str
    how: str
    act: Callable[[Client, str], Message]


@dataclass(slots=True)
class _Tally:
    """What became of the messages that were counted: how many are in which state now, and how many were refused."""

    matched: int
    states: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    @property
    def done(self) -> int:
        return self.states.total()


def _steer(
    connection: Connection, action: _Action, message_id: str | None, chosen: MessageFilter | None, is_sure: bool
) -> int:
    from postwire.cli.show import print_record

    context = click.get_current_context()
    if message_id is not None and chosen is not None:
        raise click.UsageError("give an ID or a filter, and not both", context)
    if message_id is not None:
        with connection.client() as client:
            print_record(action.act(client, message_id), as_json=connection.as_json)
        return ExitCode.OK
    if chosen is None:
        raise click.UsageError("give an ID, or a filter such as --label team=billing", context)
    return _steer_many(connection, action, chosen, is_sure)


def _steer_many(connection: Connection, action: _Action, chosen: MessageFilter, is_sure: bool) -> int:
    from postwire_client import MessageState

    chosen.states.append(MessageState.Value(f"MESSAGE_STATE_{action.state.upper()}"))
    with connection.client() as client:
        found = [one.message_id for one in client.list_messages(chosen, page_size=MAX_PAGE_SIZE)]
    if found and not is_sure and not is_wanted(connection, _question(action, len(found))):
        click.echo("Nothing was done.", err=True)
        return ExitCode.REFUSED
    tally = _Tally(len(found))
    try:
        with connection.client(retry=True) as client:
            _act_on_all(client, action, found, tally)
    except (Failed, KeyboardInterrupt):
        if connection.as_json:
            _print_tally(tally, action, as_json=True)
        else:
            click.echo(f"postwire: broken off after {tally.done:,} of {tally.matched:,} messages", err=True)
        raise
    with even_if_unread():
        _print_tally(tally, action, as_json=connection.as_json)
    return ExitCode.REFUSED if tally.refused else ExitCode.OK


def _question(action: _Action, count: int) -> str:
    messages = "message that is" if count == 1 else "messages that are"
    return f"{action.verb} {count:,} {messages} {action.state}{action.how}?"


def _act_on_all(client: Client, action: _Action, message_ids: Sequence[str], tally: _Tally) -> None:
    from postwire.cli.show import word
    from postwire_client import Conflict, MessageState, NotFound

    def act(message_id: str) -> str | None:
        try:
            return word(MessageState, action.act(client, message_id).state)
        except (Conflict, NotFound):
            return None  # it has gone on, or was removed, since it was counted

    hidden = not (sys.stderr and sys.stderr.isatty())
    with (
        ThreadPoolExecutor(_AT_ONCE) as pool,
        click.progressbar(length=len(message_ids), file=sys.stderr, hidden=hidden) as progress,
    ):
        for ended in _as_done(pool, act, iter(message_ids)):
            state = ended.result()
            if state is None:
                tally.refused += 1
            else:
                tally.states[state] += 1
            progress.update(1)


def _as_done(
    pool: ThreadPoolExecutor, act: Callable[[str], str | None], message_ids: Iterator[str]
) -> Iterator[Future[str | None]]:
    """Each call once it has ended, a few at once, so that nothing more is begun once one of them has failed."""
    running = {pool.submit(act, one) for one in islice(message_ids, _AT_ONCE)}
    while running:
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        yield from ended
        running |= {pool.submit(act, one) for one in islice(message_ids, len(ended))}


def _print_tally(tally: _Tally, action: _Action, *, as_json: bool) -> None:
    from postwire.cli.show import print_json, print_pairs

    refused = f"not_{action.state}"
    if as_json:
        print_json(json.dumps({"matched": tally.matched, "states": dict(tally.states), refused: tally.refused}))
        return
    counts = {"matched": tally.matched, **tally.states} | ({refused: tally.refused} if tally.refused else {})
    print_pairs([(name, f"{count:,}") for name, count in counts.items()])
