"""`postwire route explain sms|mms|email`."""

from __future__ import annotations

import click

from postwire.cli.command import Group
from postwire.cli.failure import ExitCode
from postwire.cli.options import Connection
from postwire.cli.send.compose import Composed, add_channels


@click.group(cls=Group)
def route() -> None:
    """Look at routes."""


@route.group()
def explain() -> None:
    """Show which providers a message would be offered to, and who could take it now.

    Takes what `postwire send` takes, and sends nothing.
    """


def _explain(connection: Connection, composed: Composed) -> int:
    from postwire.cli.show import print_protobuf, print_route

    with connection.client() as client:
        explained = client.explain_route(composed.message, composed.options)
    if connection.as_json:
        print_protobuf(explained)
    else:
        print_route(explained)
    return ExitCode.OK


add_channels(explain, _explain, "Explain the route of {message}.")
