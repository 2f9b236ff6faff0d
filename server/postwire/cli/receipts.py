"""`postwire receipts`: what providers report later of the messages that they took."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Group, Word
from postwire.cli.completion import complete_providers
from postwire.cli.options import Connection, connection_options
from postwire.cli.watching import reader_gone
from postwire.core.receipts import ReceiptState

if TYPE_CHECKING:
    from postwire_client import Message, Receipt

_COLUMNS: Final = ("time", "provider", "state", "code", "message_id", "attempt")
_WIDTHS: Final = (len("2030-01-31T12:00:00.000Z"), len("provider"), len("undelivered"), len("30003"), 36, 0)
_MAX_KNOWN: Final = 10_000
"""Of how many messages it is known which receipts were shown."""


@click.group(cls=Group)
def receipts() -> None:
    """See what providers report of the messages that they took."""


@receipts.command()
@click.option(
    "--provider",
    "provider_names",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_providers,
    help="Only of this provider; may be given several times.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=Word([state.value for state in ReceiptState]),
    help="Only those that report this; may be given several times.",
)
@connection_options()
def tail(connection: Connection, *, provider_names: tuple[str, ...], states: tuple[str, ...]) -> None:
    """Show receipts as they come in, one line each, until you interrupt it.

    It goes on over restarts of the server as well. Of a message, the last 20 are known.
    """
    from postwire.cli.show import plain_row, word
    from postwire_client import PostwireError
    from postwire_client import ReceiptState as WireState

    new = _New(datetime.now(UTC))
    if not connection.as_json:
        click.echo(plain_row([name.upper() for name in _COLUMNS], _WIDTHS))
    with connection.client(retry=True) as client, reader_gone(client.close) as is_gone:
        try:
            with closing(client.watch_messages()) as changes:
                for message, _ in changes:
                    for receipt in new.of(message):
                        if provider_names and receipt.provider_name not in provider_names:
                            continue
                        if not states or word(WireState, receipt.state) in states:
                            _show(message, receipt, as_json=connection.as_json)
        except PostwireError:
            if is_gone():
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
            raise


class _New:
    """Tells receipts that are new from those that a message had already, which comes again with each change.

    Those of a message that has not come yet are new if they came in since `start`, by the server's clock as far as it
    is known.
    """

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._known: OrderedDict[str, frozenset[bytes]] = OrderedDict()

    def of(self, message: Message) -> Iterator[Receipt]:
        """Those of a message that are new."""
        self._start = min(self._start, message.update_time.ToDatetime(UTC))
        known = self._known.pop(message.message_id, None)
        if message.receipts:
            self._known[message.message_id] = frozenset(map(_identity, message.receipts))
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        for receipt in message.receipts:
            came = receipt.receive_time.ToDatetime(UTC)
            if _identity(receipt) not in known if known is not None else came >= self._start:
                yield receipt


def _identity(receipt: Receipt) -> bytes:
    return receipt.SerializeToString(deterministic=True)


def _show(message: Message, receipt: Receipt, *, as_json: bool) -> None:
    from google.protobuf import json_format

    from postwire.cli.show import plain_row, time_of, word
    from postwire_client import ReceiptState as WireState

    if as_json:
        record = json_format.MessageToJson(receipt, indent=None, preserving_proto_field_name=True)
        click.echo(f'{{"message_id": "{message.message_id}", "receipt": {record}}}')
        return
    cells = (
        time_of(receipt, "receive_time"),
        receipt.provider_name,
        word(WireState, receipt.state),
        receipt.error_code,
        message.message_id,
        str(receipt.attempt_number),
    )
    click.echo(plain_row(cells, _WIDTHS))
