"""`postwire store check|backup|restore|rekey|migrate|copy`: what operators do with a store."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postwire.cli.command import Group
from postwire.cli.copying import copy
from postwire.cli.database import DatabaseAddress, address_of, require_driver, run
from postwire.cli.failure import ExitCode, Failed, from_config_error
from postwire.cli.migrate import migrate
from postwire.cli.options import JSON
from postwire.cli.rekey import rekey
from postwire.cli.serve import CONFIG, load_config

if TYPE_CHECKING:
    from postwire.config.encryption_keys import EncryptionKey
    from postwire.outbox.reports import Report

_STORE = click.argument("store", type=click.Path(path_type=Path), metavar="[FILE]", required=False)


@click.group(cls=Group)
def store() -> None:
    """Look after the store, which holds every message. The server may run meanwhile, but for `restore` and `copy`."""


store.add_command(rekey)
store.add_command(migrate)
store.add_command(copy)


@store.command()
@_STORE
@click.option("--url", metavar="URL", help="A database, in place of a file.")
@click.option(
    "--password-file", type=click.Path(path_type=Path), metavar="FILE", help="A file that holds the password for --url."
)
@CONFIG
@JSON
def check(store: Path | None, url: str | None, password_file: Path | None, path: Path | None, as_json: bool) -> None:
    """Verify a store, and say what is in it. It is what the configuration names if neither FILE nor --url is given.

    Reads all of it. Contents are decrypted as well where a configuration is read (FILE and --url are left out, or
    --config given) that has store.encryption_keys_file. Exits with 1 where something is wrong.
    """
    from postwire.cli.show import print_json, print_table
    from postwire.config.bind import ConfigError
    from postwire.config.encryption_keys import keys_of
    from postwire.outbox.base import OutboxError

    if store and url:
        raise click.UsageError("FILE does not go with --url")
    if password_file and not url:
        raise click.UsageError("--password-file goes with --url")
    config = None if (store or url) and not path else load_config(path, as_json=as_json).store
    database = address_of(url, password_file) if url else None
    if config and config.url and not (store or database):
        database = DatabaseAddress(config.url, config.password, config.place)
    if database:
        require_driver(database.url, as_json=as_json)
    file = store or (config.path if config else None)
    try:
        report = _report(file, database, keys_of(config.encryption_keys_file) if config else ())
    except ConfigError as error:
        raise from_config_error(error, as_json=as_json) from None
    except OutboxError as error:
        raise Failed(str(error), ExitCode.REFUSED, as_json=as_json) from None
    kind, place = ("database", database.place) if database else ("file", str(file))
    if as_json:
        print_json(json.dumps({kind: place, "sound": not report.faults, **asdict(report)}))
    else:
        rows = [(kind, place), ("size", f"{report.size:,} bytes"), ("schema version", str(report.version))]
        rows += [(f"messages {state}", f"{count:,}") for state, count in report.messages.items()]
        rows.append(("attempts", f"{report.attempts:,}"))
        rows += [
            (f"contents encrypted with {key_id}" if key_id else "contents in clear", f"{count:,}")
            for key_id, count in report.contents.items()
        ]
        if report.oldest_unsettled is not None:
            rows.append(("oldest not settled", _time(report.oldest_unsettled)))
        if report.drained:
            rows.append(("drained providers", ", ".join(report.drained)))
        print_table(("what", "value"), rows)
        if not report.faults:
            click.echo("\nThe store is sound.")
    if report.faults:
        raise Failed(f"{place}: is damaged", ExitCode.REFUSED, more=report.faults, as_json=as_json)


def _report(file: Path | None, database: DatabaseAddress | None, keys: Sequence[EncryptionKey]) -> Report:
    if database:
        from postwire.outbox.postgres import checks

        return run(checks.check(database.url, database.password, keys))
    from postwire.outbox.sqlite import maintenance

    assert file
    return maintenance.check(file, keys)


@store.command()
@click.argument("target", type=click.Path(path_type=Path), metavar="TARGET")
@click.option(
    "--from", "store", type=click.Path(path_type=Path), metavar="FILE", help="The store.  [default: store.path]"
)
@CONFIG
def backup(target: Path, store: Path | None, path: Path | None) -> None:
    """Copy the store to TARGET, a new file, as it is at this moment.

    It takes nothing from a server that is running. `store restore` puts the copy in the store's place.
    """
    from postwire.outbox.base import OutboxError
    from postwire.outbox.sqlite.maintenance import backup

    file = store or _file(path)
    try:
        with _progress() as progress:
            size = backup(file, target, progress)
    except OutboxError as error:
        raise Failed(str(error), ExitCode.REFUSED) from None
    click.echo(f"{target}: {size:,} bytes")


@store.command()
@click.argument("copy", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--store", type=click.Path(path_type=Path), metavar="FILE", help="The store.  [default: store.path]")
@CONFIG
@JSON
def restore(copy: Path, store: Path | None, path: Path | None, as_json: bool) -> None:
    """Put FILE, a copy that `store backup` has made, in the place of the store. Nobody may be serving it.

    What was there is kept beside it, as STORE.before-restore. What waits in the copy may have been sent since: each
    such message gets an attempt that ended `uncertain`. Interrupted, it is finished by running it again.
    """
    import asyncio

    from postwire.cli.show import print_json, print_table
    from postwire.outbox.base import OutboxError
    from postwire.outbox.sqlite.files import StoreFiles
    from postwire.outbox.sqlite.restore import restore

    file = store or _file(path, as_json=as_json)
    try:
        with _progress() as progress:
            done = asyncio.run(restore(file, copy, now=time.time_ns() // 1000, progress=progress))
    except OutboxError as error:
        raise Failed(str(error), ExitCode.REFUSED, as_json=as_json) from None
    kept = StoreFiles.of(file).before
    before = str(kept) if kept.exists() else None
    if as_json:
        print_json(json.dumps({"file": str(file), "before": before, **asdict(done)}))
        return
    rows = [
        ("file", str(file)),
        ("copy made", _time(done.copy_time)),
        ("not settled in it", f"{done.unsettled:,}"),
        ("of these go on", f"{done.continued:,}"),
        ("of these uncertain", f"{done.uncertain:,}"),
        ("store before", before or "-"),
    ]
    print_table(("what", "value"), rows)
    click.echo(
        f"\nWhat was accepted after {_time(done.copy_time)} is forgotten: its request ids are taken as new ones."
    )


def _file(path: Path | None, *, as_json: bool = False) -> Path:
    """The file that the configuration names."""
    store = load_config(path, as_json=as_json).store
    if store.url:
        said = "store.url: the store is a database, whose own tools make copies and put them back: docs/nodes.md"
        raise Failed(said, ExitCode.REFUSED, as_json=as_json)
    return store.path


def _time(micros: int) -> str:
    return f"{datetime.fromtimestamp(micros / 1e6, UTC):%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying")
        yield lambda done, total: bar.update(task, completed=done, total=total)
