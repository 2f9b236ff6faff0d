"""What is said of the messages of a file: while they are sent, of each in a file of results, and at the end."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from postwire.cli.failure import ExitCode, Failed

if TYPE_CHECKING:
    from postwire_client import DispatchResult

MAX_SHOWN: Final = 20
"""How many messages that failed are named for people."""

MAX_KEPT: Final = 1_000
"""How many are named for programs: all of them are in a file of results."""

REFUSED: Final = "refused"
_FINE: Final = ("queued", "sending", "sent", "delivered")
_FIELDS: Final = ("line", "request_id", "message_id", "state", "reason")


class Report:
    """Counts results. `newest` is the id of the newest message there was before: one that is no newer is a repeat."""

    def __init__(self, batch: str, newest: str) -> None:
        self.batch = batch
        self.states: Counter[str] = Counter()
        self.repeats: Counter[str] = Counter()
        self.failed = 0
        self._named: list[dict[str, Any]] = []
        self._newest = newest

    @property
    def count(self) -> int:
        """How many results there were."""
        return self.states.total() + self.repeats.total()

    @property
    def is_all_repeats(self) -> bool:
        """Whether an earlier run has had all of it."""
        return bool(self.repeats) and not self.states

    def add(self, line: int, result: DispatchResult) -> dict[str, Any]:
        """One more; returns what is to be known of it."""
        state, reason = _end(result)
        message_id = result.message.message_id if result.message else ""
        reported = dict(zip(_FIELDS, (line, result.request.request_id, message_id, state, reason), strict=True))
        is_repeat = bool(message_id) and message_id <= self._newest  # ids sort by the time of acceptance
        (self.repeats if is_repeat else self.states)[state] += 1
        if state not in _FINE:
            self.failed += 1
            if len(self._named) < MAX_KEPT:
                self._named.append(reported)
        return reported

    def summary(self) -> str:
        """The counts, in one line."""
        parts = [_counts(self.states)] if self.states else []
        if self.repeats:
            parts.append(f"{_plural(self.repeats.total(), 'repeat')} of an earlier run ({_counts(self.repeats)})")
        return "; ".join(parts) or "nothing to send"

    def show(self, *, as_json: bool) -> None:
        """Print the counts, and which messages failed."""
        warning = ""
        if self.is_all_repeats:
            warning = f"nothing was sent, an earlier run of the batch {self.batch!r} has had all of it"
        if as_json:
            reported: dict[str, Any] = {
                "batch": self.batch,
                "states": dict(sorted(self.states.items())),
                "repeats": dict(sorted(self.repeats.items())),
                "failed": self._named,
                "failed_count": self.failed,
                "warning": warning or None,
            }
            click.echo(json.dumps(reported))
            return
        click.echo(self.summary())
        if warning:
            click.echo(f"postwire: warning: {warning}; to send it once more, give another --batch", err=True)
        for one in self._named[:MAX_SHOWN]:
            why = one["reason"] if one["state"] == REFUSED else ": ".join(filter(None, (one["state"], one["reason"])))
            click.echo(f"  line {one['line']}: {why}", err=True)
        if self.failed > MAX_SHOWN:
            click.echo(f"  and {self.failed - MAX_SHOWN} more (--results)", err=True)


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _counts(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items(), key=lambda one: (-one[1], one[0])))


def _end(result: DispatchResult) -> tuple[str, str]:
    """The state that a message is in, and why it is not a better one."""
    from postwire.cli.show import word
    from postwire_client import MessageState, Outcome

    if result.message is None:
        error = result.error
        if error is None:
            return REFUSED, ""
        first = error.violations[0] if error.violations else None
        what = f"{first.field}: {first.description}" if first else error.message
        return REFUSED, f"{error.reason or error.code.name}: {what}"
    state = word(MessageState, result.message.state)
    if state in _FINE or not result.message.attempts:
        return state, ""
    last = result.message.attempts[-1]
    return state, " ".join(filter(None, (word(Outcome, last.outcome), last.error_code)))


@contextmanager
def results_file(
    path: Path | None, *, hint: str = "", as_json: bool = False
) -> Iterator[Callable[[dict[str, Any]], object]]:
    """Writes results: as CSV with a header, or an object a line where the name ends with .jsonl. Raises Failed."""
    if path is None:
        yield lambda reported: None
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() in (".jsonl", ".ndjson"):
                yield lambda reported: print(json.dumps(reported), file=file)
            else:
                rows = csv.DictWriter(file, _FIELDS, lineterminator="\n")
                rows.writeheader()
                yield rows.writerow
    except OSError as error:
        line = f"{path}: cannot be written: {error.strerror}"
        raise Failed(line, ExitCode.USAGE, more=[hint], as_json=as_json) from None


@contextmanager
def progress(size: int | None, *, doing: str = "sending", hidden: bool) -> Iterator[Callable[[int, int], object]]:
    """Shows on a terminal how many are done, and how many bytes of the file's `size` are read."""
    if hidden or sys.stderr is None or not sys.stderr.isatty():
        yield lambda count, taken: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=size)
        yield lambda count, taken: bar.update(task, description=f"{count:,} done", completed=taken)
