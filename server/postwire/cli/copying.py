"""`postwire store copy`: takes a store from its file to a database, where several nodes can share it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postwire.cli.command import Command
from postwire.cli.database import DatabaseAddress, address_of, require_driver, run
from postwire.cli.failure import ExitCode, Failed
from postwire.cli.options import JSON

if TYPE_CHECKING:
    from postwire.outbox.copied import Sum

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many messages are done, of how many."""


@click.command(cls=Command)
@click.option(
    "--from", "file", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The store that is copied."
)
@click.option("--to", "url", required=True, metavar="URL", help="The database, which is empty.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file that holds the password for --to.",
)
@JSON
def copy(file: Path, url: str, password_file: Path | None, as_json: bool) -> None:
    """Copy a store from its FILE to an empty database. Nobody may be serving either.

    All of it goes along: messages with their contents as they are encrypted, keys, suppressions, counts, receipts and
    events. In the end, what is in the database is compared with the file, row by row. Interrupted, it goes on where it
    was when it is run again; until it is done, no node serves the database. Once it is, it is compared again. The file
    stays as it is.
    """
    from postwire.cli.show import print_json, print_table
    from postwire.outbox.base import OutboxError

    database = address_of(url, password_file, "--to")
    require_driver(url, as_json=as_json)
    try:
        with _progress() as progress:
            sums, was_done = run(_copy(file, database, progress))
    except OutboxError as error:
        raise Failed(_by_option(str(error)), ExitCode.REFUSED, as_json=as_json) from None
    counts = {table: one.count for table, one in sums.items() if one.count}
    if as_json:
        said = {"file": str(file), "database": database.place, "copied_before": was_done, "rows": counts}
        print_json(json.dumps(said))
        return
    rows = [("file", str(file)), ("database", database.place)]
    print_table(("what", "value"), rows + [(table.replace("_", " "), f"{count:,}") for table, count in counts.items()])
    if was_done:
        click.echo("\nIt was copied before, and compared again now.")
    click.echo("\nWhat is in the database is what is in the file. Set store.url in place of store.path.")


def _by_option(error: str) -> str:
    """What is wrong, by the option that was given: nobody has set a key here."""
    for key, option in (("store.path", "--from"), ("store.url", "--to")):
        if error.startswith(f"{key}:"):
            return option + error.removeprefix(key)
    return error


async def _copy(file: Path, database: DatabaseAddress, progress: Progress) -> tuple[Mapping[str, Sum], bool]:
    """What is in the database then, and whether it was copied before."""
    from postwire.outbox.base import OutboxError
    from postwire.outbox.copied import TABLES
    from postwire.outbox.postgres.taking_over import TakingOver, sums_of
    from postwire.outbox.sqlite.export import Export

    with Export.open(file) as source:
        async with TakingOver.open(database.url, database.password, source.source) as target:
            for messages in source.read_messages(target.after):
                await target.add_messages(messages)
                progress("copying", target.copied, source.messages)
            for table in TABLES:
                await target.fill_table(table, lambda table=table: source.read_table(table))  # type: ignore[misc]
            looked_at = 0

            def look() -> None:
                nonlocal looked_at
                looked_at += 1
                progress("comparing", looked_at, source.messages)

            there = await target.sums(look)
            wanted = sums_of((one for some in source.read_messages(0) for one in some), source.read_table)
            differing = [table for table, one in wanted.items() if one != there[table]]
            if differing:
                since = " since it was copied" if target.was_done else ""
                raise OutboxError(
                    f"store.url: the database differs from {file} in {', '.join(differing)}{since}: give an empty one, "
                    "and begin anew"
                )
            if not target.was_done:
                now = time.time_ns() // 1000
                await target.finish(source.facts(), source.guard_clock(now))
            return there, target.was_done


@contextmanager
def _progress() -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
