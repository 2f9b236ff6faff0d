"""The options of commands that go to a database themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from postwire.cli.failure import ExitCode, Failed
from postwire.cli.serve import CONFIG, load_config

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is, and its password. `place` is what is shown of it."""

    url: str
    password: str | None
    place: str


def database_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command a `database`, which the options name, or else the configuration; None where neither does."""

    @CONFIG
    @click.option("--url", metavar="URL", help="The database.  [default: store.url]")
    @click.option(
        "--password-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A file that holds the password for --url.  [default: store.password]",
    )
    @functools.wraps(command)
    def with_database(*, path: Path | None, url: str | None, password_file: Path | None, **others: Any) -> Any:
        as_json = bool(others.get("as_json"))
        return command(database=_database(path, url, password_file, as_json=as_json), **others)

    return with_database


def _database(path: Path | None, url: str | None, password_file: Path | None, *, as_json: bool) -> DatabaseAddress:
    if url is None:
        if password_file:
            raise click.UsageError("--password-file goes with --url")
        store = load_config(path, as_json=as_json).store
        if store.url is None:
            said = "store.url: is not set, so there is no database; give one with --url"
            raise Failed(said, ExitCode.BAD_CONFIG, as_json=as_json)
        return DatabaseAddress(store.url, store.password, store.place)
    return address_of(url, password_file)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do what goes to a database, as `asyncio.run` does. A Ctrl-C is one also where the connection that it has ended
    looks like one that was lost.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    import asyncio

    from postwire.outbox.base import OutboxError

    async def done() -> T:
        try:
            return await work
        except OutboxError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise asyncio.CancelledError from None
            raise

    return asyncio.run(done())


def require_driver(url: str, *, as_json: bool) -> None:
    """Fail in a line where what speaks to databases is not installed."""
    from postwire.config.database_url import missing_for

    for missing in missing_for(url):
        raise Failed(str(missing), ExitCode.BAD_CONFIG, as_json=as_json)


def address_of(url: str, password_file: Path | None, option: str = "--url") -> DatabaseAddress:
    """The address that an option gives, with the password that is in a file.

    Raises:
        click.BadParameter: either cannot be used.
    """
    from postwire.config.database_url import read_url
    from postwire.config.secret_files import read_secret
    from postwire.config.types import Refused

    try:
        place = read_url(url).place
    except Refused as wrong:
        problem = wrong.problem.replace("set store.password_file", "use --password-file")
        raise click.BadParameter(f"the value {problem}", param_hint=option) from None
    try:
        password = read_secret(password_file) if password_file else None
    except ValueError as wrong:
        raise click.BadParameter(f"{wrong}", param_hint="--password-file") from None
    return DatabaseAddress(url, password, place)
