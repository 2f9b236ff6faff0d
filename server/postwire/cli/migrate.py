"""`postwire store migrate`: brings a database up to date while nodes use it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from postwire.cli.command import Command
from postwire.cli.database import DatabaseAddress, database_options, require_driver, run
from postwire.cli.failure import ExitCode, Failed
from postwire.cli.options import JSON


@click.command(cls=Command)
@database_options
@JSON
def migrate(database: DatabaseAddress, as_json: bool) -> None:
    """Bring a database to the newest version of the schema, while nodes use it.

    A node does so when it starts, but for indexes on large tables: those are made here, beside the writes of all nodes.
    Run it after an upgrade when a node warns of an index that is missing. Interrupted, it is finished by running it
    again.
    """
    from postwire.cli.show import print_json, print_table
    from postwire.outbox.base import OutboxError

    require_driver(database.url, as_json=as_json)
    from postwire.outbox.postgres.indexes import build

    try:
        with _progress() as progress:
            done = run(build(database.url, database.password, progress))
    except OutboxError as error:
        raise Failed(str(error), ExitCode.REFUSED, as_json=as_json) from None
    if as_json:
        found = {"database": database.place, "before": done.before, "after": done.after, "indexes": done.indexes}
        print_json(json.dumps(found))
        return
    rows = [("database", database.place), ("schema version before", str(done.before))]
    rows += [("schema version", str(done.after)), ("indexes made", ", ".join(done.indexes) or "none")]
    print_table(("what", "value"), rows)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    if not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("making indexes", total=None)
        yield lambda name, done, total: bar.update(task, description=name, completed=done, total=total)
