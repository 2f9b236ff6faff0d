"""`postwire store rekey`: has a server encrypt everything anew, and shows how far it has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Command
from postwire.cli.filters import reason_option
from postwire.cli.options import Connection, connection_options

if TYPE_CHECKING:
    from postwire_client import Rekey

BETWEEN_LOOKS: Final = 0.2
"""Seconds."""


@click.command(cls=Command)
@click.option("--status", "only_look", is_flag=True, help="Begin nothing, and show how far the last one has come.")
@click.option("--no-wait", "at_once", is_flag=True, help="Return as soon as it has begun; it goes on in the server.")
@reason_option
@connection_options()
def rekey(connection: Connection, *, only_look: bool, at_once: bool, reason: str) -> None:
    """Have everything in the store encrypted anew, with the first key of the server's store.encryption_keys_file.

    The server goes on serving meanwhile, and goes on with this after a restart. Interrupted, this command leaves it to
    the server. Once it is done, the server needs the other keys no more; backups of before do. This takes the role
    admin.
    """
    from postwire.cli.show import print_protobuf
    from postwire.v1.admin_service_pb2 import REKEY_STATE_RUNNING

    if only_look and (reason or at_once):
        raise click.UsageError(
            f"{'--reason' if reason else '--no-wait'} does not go with --status, which begins nothing"
        )
    with connection.client(hint="it goes on in the server: see --status", retry=True) as client:
        found = client.get_rekey() if only_look else client.start_rekey(reason=reason)
        if not (only_look or at_once):
            with _progress() as progress:
                while found.state == REKEY_STATE_RUNNING:
                    progress(found.rekeyed)
                    time.sleep(BETWEEN_LOOKS)
                    found = client.get_rekey()
    if connection.as_json:
        print_protobuf(found)
    else:
        _print(found)


def _print(found: Rekey) -> None:
    from postwire.cli.show import print_table, time_of, word
    from postwire.v1.admin_service_pb2 import REKEY_STATE_UNSPECIFIED, RekeyState

    if found.state == REKEY_STATE_UNSPECIFIED:
        click.echo("Nothing was encrypted anew so far.")
        return
    rows = [
        ("state", word(RekeyState, found.state)),
        ("key", found.key_id),
        ("begun", time_of(found, "start_time")),
        ("done", time_of(found, "end_time") or "-"),
        ("contents encrypted anew", f"{found.rekeyed:,}"),
    ]
    print_table(("what", "value"), rows)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Shows, on a terminal, how many contents are done; how many there will be is not known."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.status import Status

    with Status("encrypting anew", console=Console(stderr=True)) as status:
        yield lambda count: status.update(f"encrypting anew: {count:,} contents")
