"""`postwire providers`: look at providers, and steer them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from postwire.cli.command import Group
from postwire.cli.completion import complete_providers
from postwire.cli.failure import ExitCode
from postwire.cli.filters import reason_option
from postwire.cli.options import Connection, connection_options, duration

if TYPE_CHECKING:
    from postwire_client import Provider

_DAY: Final = 86_400.0
_MAX_SEED: Final = 2**64 - 1


@click.group(cls=Group)
def providers() -> None:
    """Look at providers, and steer them."""


@providers.command("list")
@connection_options()
def list_providers(connection: Connection) -> None:
    """Show every provider: what it carries, and how it stands."""
    from postwire.cli.show import print_protobuf, print_providers
    from postwire.v1.provider_service_pb2 import ListProvidersResponse

    with connection.client() as client:
        found = client.list_providers()
    if connection.as_json:
        print_protobuf(ListProvidersResponse(providers=found))
    else:
        print_providers(found)


@providers.command()
@connection_options()
def watch(connection: Connection) -> int:
    """Show every provider, and each change, until Ctrl-C.

    On a terminal, a table that is kept up to date. Elsewhere, and with --json, a line for each provider and each
    change: `postwire providers watch | grep -m 1 'email .* open'` waits for one. The timeout is for the first answer.
    """
    from postwire.cli.providers.watch import watch_providers

    try:
        watch_providers(connection)
    except KeyboardInterrupt:
        return ExitCode.OK  # there is no other way to end it, so it is no interruption
    raise AssertionError("it ends by an exception")


@providers.command()
@click.argument("name", shell_complete=complete_providers)
@connection_options()
def get(connection: Connection, name: str) -> None:
    """Show one provider: its breaker, its window, what is under way."""
    with connection.client() as client:
        provider = client.get_provider(name)
    _show(connection, provider)


@providers.command()
@click.argument("name", shell_complete=complete_providers)
@reason_option
@connection_options()
def drain(connection: Connection, name: str, reason: str) -> None:
    """Take a provider out of service, until it is resumed.

    No attempt starts at it from now on; those under way are left to end. A restart of the server changes nothing.
    """
    with connection.client() as client:
        provider = client.drain_provider(name, reason=reason)
    _show(connection, provider)
    if provider.unserved_route_keys and not connection.as_json:
        routes = ", ".join(provider.unserved_route_keys)
        click.echo(f"postwire: every provider is drained now of: {routes}; their messages wait", err=True)


@providers.command()
@click.argument("name", shell_complete=complete_providers)
@reason_option
@connection_options()
def resume(connection: Connection, name: str, reason: str) -> None:
    """Put a drained provider into service again."""
    with connection.client() as client:
        provider = client.resume_provider(name, reason=reason)
    _show(connection, provider)


@providers.command()
@click.argument("name", shell_complete=complete_providers)
@reason_option
@connection_options()
def reset(connection: Connection, name: str, reason: str) -> None:
    """Close a provider's breaker, whatever it has seen."""
    with connection.client() as client:
        provider = client.reset_breaker(name, reason=reason)
    _show(connection, provider)


def _ratio(name: str, outcome: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    what = f"The share of attempts that end {outcome}, from 0 to 1."
    return click.option(name, type=click.FloatRange(0, 1), metavar="RATIO", help=what)


@providers.command()
@click.argument("name", shell_complete=complete_providers)
@_ratio("--error-ratio", "error")
@_ratio("--rate-limited-ratio", "rate_limited")
@_ratio("--uncertain-ratio", "uncertain")
@_ratio("--rejected-ratio", "rejected")
@click.option(
    "--connect-error-ratio", type=click.FloatRange(0, 1), metavar="RATIO", help="The share that reaches nobody."
)
@click.option("--deferred-ratio", type=click.FloatRange(0, 1), metavar="RATIO", help="The share that is put off.")
@click.option("--misconfigured/--no-misconfigured", default=None, help="Whether it refuses its account.")
@click.option(
    "--latency", callback=duration(_DAY, or_none=True), metavar="DURATION", help="How long each attempt takes."
)
@click.option(
    "--retry-after",
    callback=duration(_DAY, or_none=True),
    metavar="DURATION",
    help="How long it asks to be left alone when it throttles.",
)
@click.option(
    "--delivered-ratio",
    type=click.FloatRange(0, 1),
    metavar="RATIO",
    help="The share of what it took that it reports as delivered.",
)
@click.option(
    "--undelivered-ratio", type=click.FloatRange(0, 1), metavar="RATIO", help="The share reported as undelivered."
)
@click.option(
    "--doubled-receipt-ratio",
    type=click.FloatRange(0, 1),
    metavar="RATIO",
    help="The share of reports that come twice.",
)
@click.option(
    "--receipt-delay", callback=duration(_DAY, or_none=True), metavar="DURATION", help="How long after it reports."
)
@click.option(
    "--seed", type=click.IntRange(0, _MAX_SEED), metavar="NUMBER", help="What its outcomes are drawn from, anew."
)
@connection_options()
def update(connection: Connection, name: str, **changes: Any) -> None:
    """Change how a mock behaves, until the server stops. What is left out stays as it is."""
    with connection.client() as client:
        provider = client.update_mock_provider(name, **changes)
    _show(connection, provider)


def _show(connection: Connection, provider: Provider) -> None:
    from postwire.cli.show import print_protobuf, print_provider

    if connection.as_json:
        print_protobuf(provider)
    else:
        print_provider(provider)
