"""The options that several commands share, and how their values are read."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from postwire import CLIENT_VARIABLES
from postwire.cli.failure import from_client_error
from postwire.cli.target import DEFAULT_SERVER, default_server

if TYPE_CHECKING:
    from postwire_client import Client

_LONGEST: Final = 86_400.0


def duration(
    most: float, *, or_none: bool = False
) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    """A callback that makes seconds, at most `most` and more than 0 (`or_none`: or 0), of `500ms`, `30s` or `10m`."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
        from postwire.config.types import format_duration, parse_duration

        if value is None:
            return None
        try:
            seconds = parse_duration(value)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not a duration such as 500ms, 30s, 10m or 4h", ctx, param) from None
        if not (0 < seconds <= most or (or_none and not seconds)):
            limits = f"{'' if or_none else 'more than 0s and '}at most {format_duration(most)}"
            raise click.BadParameter(f"{value!r} is not {limits}", ctx, param)
        return seconds

    return read


def address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A callback that lets `host:port` and `unix:/path` through."""
    from postwire.config.endpoints import host_port

    if value is None:
        return None
    try:
        if not re.fullmatch(r"unix:/[^\0]+", value):
            host_port(value)
    except ValueError:
        what = f"is not an address such as {DEFAULT_SERVER}, [::1]:50051 or unix:/path"
        raise click.BadParameter(f"{value!r} {what}", ctx, param) from None
    return value


def mapping(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """A callback that makes one mapping of every `key=value`."""
    made: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", ctx, param)
        if key in made:
            raise click.BadParameter(f"{key!r} is there twice", ctx, param)
        made[key] = value
    return made


@dataclass(frozen=True, slots=True)
class Connection:
    """The server to call, for how long to wait (in seconds), and how to print results."""

    server: str
    timeout: float
    as_json: bool

    @contextmanager
    def client(self, *, hint: str = "", retry: bool = False) -> Iterator[Client]:
        """A client; its errors end the command. `hint` is printed where it is not known what the call has done.

        Without `retry`, since who sits at a terminal wants to know at once.
        """
        from postwire_client import Client, PostwireError

        with Client(self.server, timeout=self.timeout, retry=retry) as client:
            try:
                yield client
            except PostwireError as error:
                raise from_client_error(
                    error, server=self.server, timeout=self.timeout, as_json=self.as_json, hint=hint
                ) from None
            except KeyboardInterrupt:
                if hint:
                    click.echo(f"postwire: interrupted; {hint}", err=True)
                raise


JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object; errors too, on stderr.")


def connection_options(timeout: str = "30s") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--server`, `--timeout` and `--json`; the command gets a `Connection` as its first argument."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--server",
            callback=address,
            metavar="HOST:PORT",
            envvar=CLIENT_VARIABLES,
            show_envvar=True,
            show_default=f"server.listen of ./postwire.toml, else {DEFAULT_SERVER}",
            help="The server to call.",
        )
        @click.option(
            "--timeout",
            callback=duration(_LONGEST),
            metavar="DURATION",
            default=timeout,
            show_default=True,
            help="How long to wait for an answer.",
        )
        @JSON
        @functools.wraps(command)
        def wrapper(*args: Any, server: str | None, timeout: float, as_json: bool, **options: Any) -> Any:
            if click.get_current_context().invoked_subcommand:
                return None  # a group, whose options are its command's now
            return command(Connection(server or default_server(as_json=as_json), timeout, as_json), *args, **options)

        return wrapper

    return decorate
