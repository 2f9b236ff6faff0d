"""The command's root, and how it ends."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, Final, NoReturn

import click

from postwire import __version__
from postwire.cli.audit import audit
from postwire.cli.callers import tenants, whoami
from postwire.cli.command import Group
from postwire.cli.completion import completion
from postwire.cli.config import config
from postwire.cli.demo.command import demo
from postwire.cli.failure import EXIT_CODES, ExitCode, Failed, close_output
from postwire.cli.inbox import inbox
from postwire.cli.keys import keys
from postwire.cli.messages import erase, follow, steer  # noqa: F401  # more commands of `messages`
from postwire.cli.messages.read import health, messages
from postwire.cli.nodes import nodes
from postwire.cli.preview import preview
from postwire.cli.providers import checks, kinds  # noqa: F401  # and of `providers`
from postwire.cli.providers.command import providers
from postwire.cli.receipts import receipts
from postwire.cli.route import route
from postwire.cli.send.command import send
from postwire.cli.serve import serve
from postwire.cli.stats import stats
from postwire.cli.store import store
from postwire.cli.suppressions import importing  # noqa: F401  # another command of `suppressions`
from postwire.cli.suppressions.command import suppressions

_OF_THE_SERVER: Final = ("aiohttp", "apsw", "cryptography", "grpc_reflection", "idna", "jwt", "opentelemetry")
"""What an install with the extra `cli` has not."""


class _Unread(Exception):
    """Whoever read what is printed has seen enough (`| head -1`), which is no failure of ours. click would say 1."""


@contextmanager
def _seen_enough() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise _Unread from None


class _Root(Group):
    """Ends quietly when it is interrupted, or when nobody reads on."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command, and exit with its code."""
        extra["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a terminal may know fewer characters than we show
        # gRPC's core writes to stderr on its own; it reads this when it is first imported.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        try:
            code = super().main(*args, **extra)
        except click.Abort:
            code = ExitCode.INTERRUPTED
        except (click.ClickException, Failed) as failure:
            code = _shown(failure)
        except ModuleNotFoundError as missing:
            if (missing.name or "").partition(".")[0] not in _OF_THE_SERVER:
                raise
            line = "this install calls servers, and is none: pip install 'postwire[server]'"
            code = _shown(Failed(line, ExitCode.REFUSED))
        except OSError as error:
            # Most likely a full disk behind stdout. What is still in its buffer must not fail once more on the way out.
            close_output(1)
            code = _shown(Failed(str(error), ExitCode.REFUSED))
        except _Unread:
            close_output(1, 2)
            code = ExitCode.OK
        sys.exit(code)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """See `click.Command.make_context`."""
        with _seen_enough():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Command.invoke`."""
        with _seen_enough():
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        # Python keeps bytes that are no UTF-8 as characters that no message of the contract can hold.
        if any(re.search("[\ud800-\udfff]", arg) for arg in args):
            raise click.UsageError("an argument is not UTF-8")
        if any("\0" in arg for arg in args):  # as no process is given one, but whoever calls this from Python may
            raise click.UsageError("an argument has a NUL in it")
        return super().parse_args(ctx, args)


@click.group(cls=_Root, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def root() -> None:
    """Send SMS, MMS and email through any provider, and lose nothing that was accepted."""


def _shown(failure: click.ClickException | Failed) -> int:
    try:
        failure.show()
    except OSError:  # nobody reads stderr, or its disk is full: the exit code says it
        close_output(2)
    return failure.exit_code


for command in (
    serve,
    config,
    send,
    preview,
    messages,
    inbox,
    receipts,
    providers,
    nodes,
    stats,
    route,
    suppressions,
    store,
    keys,
    tenants,
    whoami,
    audit,
    health,
    demo,
    completion,
):
    root.add_command(command)
