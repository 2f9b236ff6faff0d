"""`postwire send --file`: many messages over one stream."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol

import click

from postwire.cli.failure import ExitCode, Failed
from postwire.cli.options import Connection

if TYPE_CHECKING:
    from postwire_client import DispatchRequest, DispatchResult

MAX_TOLD: Final = 20
"""How many messages that failed are told of by their lines."""

_FINE: Final = ("queued", "sending", "sent", "delivered")


def send_file(connection: Connection, path: Path, *, wait_for_acceptance: bool) -> int:
    """Send every line of a file, a `DispatchRequest` as protobuf's JSON each; returns the exit code.

    A line without a request id gets one that follows from its text and its place: the same command again sends nothing
    twice, so that one which was interrupted is simply repeated.
    """
    from postwire_client import Client, PostwireError

    total = _count(path)
    states: Counter[str] = Counter()
    failed: list[tuple[int, str]] = []
    hint = "run the same command again: what was sent is not sent twice"
    try:
        # With retries, unlike a single call: a long run is to survive a restart of the server.
        with (
            path.open("rb") as file,
            Client(connection.server, timeout=connection.timeout) as client,
            _progress(total, hidden=connection.as_json) as advance,
        ):
            for result in client.dispatch_many(_requests(file, wait_for_acceptance)):
                state = _state(result)
                states[state] += 1
                if state not in _FINE:
                    failed.append((result.index + 1, _why(result, state)))
                advance()
    except PostwireError as error:
        from postwire.cli.failure import from_client_error

        raise from_client_error(
            error, server=connection.server, timeout=connection.timeout, as_json=connection.as_json, hint=hint
        ) from None
    except KeyboardInterrupt:
        click.echo(f"postwire: interrupted after {sum(states.values())} of {total}; {hint}", err=True)
        raise
    _tell(connection, states, failed)
    return ExitCode.REFUSED if failed else ExitCode.OK


def _requests(file: IO[bytes], wait_for_acceptance: bool) -> Iterator[DispatchRequest]:
    from google.protobuf import json_format

    from postwire_client import DispatchRequest, WaitFor

    for number, line in enumerate(file, 1):
        request = DispatchRequest()
        try:
            json_format.Parse(line.decode("utf-8"), request)
        except (json_format.ParseError, UnicodeDecodeError):
            # What the parser says may hold the recipient.
            raise Failed(f"line {number}: is not a DispatchRequest as JSON", ExitCode.USAGE) from None
        if not request.request_id:
            request.request_id = f"file-{hashlib.sha256(b'%d ' % number + line.strip()).hexdigest()[:40]}"
        if wait_for_acceptance:
            request.options.wait_for = WaitFor.WAIT_FOR_ACCEPTANCE
        yield request


def _count(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(1 for _ in file)
    except OSError as error:
        raise Failed(f"{path}: cannot be read: {error.strerror}", ExitCode.USAGE) from None


class _Advance(Protocol):
    def __call__(self) -> None: ...


class _Silent:
    def __enter__(self) -> _Advance:
        return lambda: None

    def __exit__(self, *_: object) -> None:
        pass


class _Shown:
    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("sending"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("sending", total=total)

    def __enter__(self) -> _Advance:
        self._progress.start()
        return lambda: self._progress.advance(self._task)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _progress(total: int, *, hidden: bool) -> _Silent | _Shown:
    return _Silent() if hidden or not sys.stderr.isatty() else _Shown(total)


def _state(result: DispatchResult) -> str:
    from postwire_client import MessageState

    if result.message is None:
        return "refused"
    return MessageState.Name(result.message.state).removeprefix("MESSAGE_STATE_").lower()


def _why(result: DispatchResult, state: str) -> str:
    if result.error is None:
        return state
    first = result.error.violations[0] if result.error.violations else None
    return f"{result.error.reason or result.error.code.name}: " + (
        f"{first.field}: {first.description}" if first else result.error.message
    )


def _tell(connection: Connection, states: Counter[str], failed: list[tuple[int, str]]) -> None:
    if connection.as_json:
        told = [{"line": line, "why": why} for line, why in failed]
        click.echo(json.dumps({"states": dict(sorted(states.items())), "failed": told}))
        return
    click.echo(", ".join(f"{count} {state}" for state, count in states.most_common()) or "nothing to send")
    for line, why in failed[:MAX_TOLD]:
        click.echo(f"  line {line}: {why}", err=True)
    if len(failed) > MAX_TOLD:
        click.echo(f"  and {len(failed) - MAX_TOLD} more", err=True)
