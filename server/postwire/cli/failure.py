"""How a command fails: exit codes, and what it says on stderr."""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from postwire.config.bind import ConfigError
    from postwire_client import PostwireError


class ExitCode(enum.IntEnum):
    """What the command's exit code means."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    NO_ANSWER = 3
    BAD_CONFIG = 4
    UNCERTAIN = 5
    TIMED_OUT = 6
    INTERRUPTED = 130


EXIT_CODES: Final = """\b
Exit codes:
  0    done; a message is sent, or still on its way
  1    refused by the server, or a message that was not sent
  2    wrong usage
  3    no answer: the server is not there, or cannot take it now
  4    the configuration is wrong, or the server could not start
  5    a message that was waited for is UNCERTAIN: it may have been sent
  6    the time to wait for a message has run out
  130  interrupted"""
"""For the end of `--help`."""


class Failed(Exception):
    """Ends the command with a line on stderr, and more lines below it; or with `as_json`, one object."""

    def __init__(
        self,
        line: str,
        exit_code: ExitCode,
        *,
        more: Sequence[str] = (),
        as_json: bool = False,
        code: str | None = None,
        reason: str | None = None,
        message: str = "",
        violations: Sequence[tuple[str, str]] = (),
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(line)
        self.exit_code = exit_code
        self._lines = [f"postwire: {printable(line)}", *(f"  {printable(one)}" for one in more)]
        self._error: dict[str, Any] | None = None
        if as_json:
            self._error = {
                "code": code,
                "reason": reason,
                "message": message or line,
                "field_violations": [{"field": field, "description": description} for field, description in violations],
                "retry_delay": retry_delay,
            }

    def show(self) -> None:
        """Write it to stderr."""
        lines = self._lines if self._error is None else [json.dumps({"error": self._error})]
        for line in lines:
            click.echo(line, err=True)


@contextmanager
def even_if_unread() -> Iterator[None]:
    """Print within this what may be read by nobody any more, in a command whose exit code says more than 0."""
    try:
        yield
    except BrokenPipeError:
        close_output(1)


def close_output(*descriptors: int) -> None:
    """Have what is still to be written there, as by a buffer on the way out, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def printable(text: str) -> str:
    """The text in one line, without what would steer a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def from_config_error(error: ConfigError, *, as_json: bool = False, hint: str = "") -> Failed:
    """A configuration that is wrong."""
    return Failed(
        str(error),
        ExitCode.BAD_CONFIG,
        more=[*map(str, error.others), *filter(None, [hint])],
        as_json=as_json,
        reason="INVALID_CONFIGURATION",
        violations=[(one.key, one.problem) for one in (error, *error.others)],
    )


def from_client_error(
    error: PostwireError,
    *,
    server: str,
    timeout: float,
    as_json: bool,
    hint: str = "",
    explain: Callable[[str], str | None] = lambda said: None,
) -> Failed:
    """A call that failed. `hint` follows where a repeat may do better. `explain` is asked for better words than those
    of gRPC, where there was no connection.
    """
    from postwire.config.types import format_duration
    from postwire_client import TryAgain

    violations = [(one.field, one.description) for one in error.violations]
    more = [": ".join(filter(None, violation)) for violation in violations]
    message, exit_code = error.message, ExitCode.REFUSED
    line = f"{error.code.name} {error.reason}" if error.reason else error.code.name
    if not violations:  # which say it all
        line += f": {message}"
    if error.reason == "NO_CREDENTIALS":
        more.append("give an API key or a token by --token-file, or POSTWIRE_TOKEN_FILE")
    if isinstance(error, TryAgain):
        exit_code = ExitCode.NO_ANSWER
        if violations and error.retry_delay is not None:  # of a guard, and it may be hours
            more.append(f"there is room again in {format_duration(math.ceil(error.retry_delay))}")
        if error.reason is None:
            explained = explain(message) if _never_connected(error) else None
            line = message = explained or _no_answer(error, server, timeout)
        if hint and not _never_connected(error):
            more.append(hint)
    return Failed(
        line,
        exit_code,
        more=more,
        as_json=as_json,
        code=error.code.name,
        reason=error.reason,
        message=message,
        violations=violations,
        retry_delay=error.retry_delay,
    )


def _no_answer(error: PostwireError, server: str, timeout: float) -> str:
    if error.code.name == "DEADLINE_EXCEEDED":
        return f"no answer from {server} within {timeout:g}s: is the server running? (postwire serve)"
    if _never_connected(error):
        return f"no answer from {server}: is the server running? (postwire serve)"
    return f"no answer from {server}: {error.message}"


def _never_connected(error: PostwireError) -> bool:
    # gRPC has no code of its own for it, only these words; should they change, a hint too many is all that follows.
    said = error.message.lower()
    return error.reason is None and ("failed to connect" in said or "resolving" in said or "resolution failed" in said)
