"""The options that several commands share, and how their values are read."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from postwire import SERVER_VARIABLES
from postwire.cli.failure import ExitCode, Failed, from_client_error
from postwire.cli.target import DEFAULT_SERVER, default_server

if TYPE_CHECKING:
    import grpc

    from postwire_client import Client, Credentials, PostwireError

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
    """The server to call, for how long to wait (in seconds), and how to print results. `shown` is what `Credentials`
    are made of.
    """

    server: str
    timeout: float
    as_json: bool
    shown: Mapping[str, Any] = field(default_factory=dict)

    def credentials(self) -> Credentials:
        """How the server proves itself, and what is shown to it. Ends the command where these are of no use."""
        from postwire_client import Credentials

        with self._usage():
            return Credentials(**self.shown)

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """What a channel of one's own is opened with. Ends the command where it is of no use."""
        from postwire_client.credentials import channel_credentials

        credentials = self.credentials()
        with self._usage():
            return channel_credentials(credentials)

    def open(self, *, retry: bool = False) -> Client:
        """A client, to be closed. Without `retry`, since who sits at a terminal wants to know at once."""
        from postwire_client import Client

        credentials = self.credentials()
        with self._usage():
            return Client(self.server, credentials=credentials, timeout=self.timeout, retry=retry)

    def failure(self, error: PostwireError, hint: str = "") -> Failed:
        """What ends the command for a call that has failed. `hint` follows where a repeat may do better."""
        from postwire.cli.tls_mistakes import tls_mistake

        credentials = self.credentials()

        def explain(said: str) -> str | None:
            has_certificate = credentials.cert_file is not None
            return tls_mistake(said, self.server, tls=credentials.uses_tls, has_certificate=has_certificate)

        return from_client_error(
            error, server=self.server, timeout=self.timeout, as_json=self.as_json, hint=hint, explain=explain
        )

    @contextmanager
    def client(self, *, hint: str = "", retry: bool = False) -> Iterator[Client]:
        """A client; its errors end the command. `hint` is printed where it is not known what the call has done."""
        from postwire_client import PostwireError

        with self.open(retry=retry) as client:
            try:
                yield client
            except PostwireError as error:
                raise self.failure(error, hint) from None
            except KeyboardInterrupt:
                if hint:
                    click.echo(f"postwire: interrupted; {hint}", err=True)
                raise

    @contextmanager
    def _usage(self) -> Iterator[None]:
        try:
            yield
        except ValueError as wrong:
            line = f"{wrong} (see --tls, --ca-file, --cert-file, --key-file, --token-file)"
            raise Failed(line, ExitCode.USAGE, as_json=self.as_json) from None


def is_wanted(connection: Connection, question: str) -> bool:
    """Ask whoever sits at the terminal. Ends the command where nobody does."""
    if not (sys.stdin and sys.stdin.isatty()):
        line = f"{question} Nobody is there to be asked: give --yes"
        raise Failed(line, ExitCode.USAGE, as_json=connection.as_json)
    return click.confirm(question, err=True)


def _file(name: str, help: str) -> Callable[[Any], Any]:
    variable = f"POSTWIRE_{name.upper()}"
    option = f"--{name.replace('_', '-')}"
    kind = click.Path(path_type=Path)
    return click.option(option, name, type=kind, metavar="FILE", envvar=variable, show_envvar=True, help=help)


_SHOWN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "tls": click.option("--tls", is_flag=True, envvar="POSTWIRE_TLS", show_envvar=True, help="Call by TLS."),
    "ca_file": _file("ca_file", "The authorities to trust, and TLS; without it, those that gRPC comes with."),
    "cert_file": _file("cert_file", "Your certificate, and TLS, where the server wants one."),
    "key_file": _file("key_file", "The key of your certificate."),
    "token_file": _file("token_file", "An API key or a token. Without TLS it goes to this machine only."),
    "tenant": click.option(
        "--tenant", metavar="NAME", envvar="POSTWIRE_TENANT", show_envvar=True, help="For whom an administrator calls."
    ),
}
"""The options of what `Credentials` are made of, by its fields."""


def shown_by(ctx: click.Context) -> dict[str, Any]:
    """What `Credentials` are made of, as far as the words of a command line, or of the group in it, go by now."""
    contexts = [ctx] if ctx.parent is None else [ctx.parent, ctx]
    return {name: one.params[name] for one in contexts for name in _SHOWN if one.params.get(name)}


JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object; errors too, on stderr.")


def connection_options(timeout: str = "30s") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--server`, `--timeout`, `--json` and what is shown to the server; the command gets a `Connection` as its
    first argument.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapper(*args: Any, server: str | None, timeout: float, as_json: bool, **options: Any) -> Any:
            shown = {name: options.pop(name) for name in _SHOWN}
            if click.get_current_context().invoked_subcommand:
                return None  # a group, whose options are its command's now
            called = server or default_server(as_json=as_json)
            return command(Connection(called, timeout, as_json, shown), *args, **options)

        for option in reversed((_SERVER, _timeout(timeout), JSON, *_SHOWN.values())):
            wrapper = option(wrapper)
        return wrapper

    return decorate


_SERVER: Final = click.option(
    "--server",
    callback=address,
    metavar="HOST:PORT",
    envvar=SERVER_VARIABLES,
    show_envvar=True,
    show_default=f"server.listen of ./postwire.toml, else {DEFAULT_SERVER}",
    help="The server to call.",
)


def _timeout(default: str) -> Callable[[Any], Any]:
    return click.option(
        "--timeout",
        callback=duration(_LONGEST),
        metavar="DURATION",
        default=default,
        show_default=True,
        help="How long to wait for an answer.",
    )
