"""`postwire suppressions import`: the addresses of a CSV file, in batches."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Word
from postwire.cli.failure import ExitCode, Failed, even_if_unread
from postwire.cli.options import Connection, connection_options
from postwire.cli.send.bulk_faults import BadRow, unknown
from postwire.cli.send.bulk_report import MAX_KEPT, MAX_SHOWN, progress
from postwire.cli.send.bulk_source import Source
from postwire.cli.suppressions.command import AT_ONCE, REASONS, suppression, suppressions
from postwire.cli.times import parse_time
from postwire.core.errors import InvalidMessage
from postwire.core.suppression import MAX_SOURCE

if TYPE_CHECKING:
    from postwire_client import Client, Suppression

COLUMNS: Final = ("address", "reason", "source", "expire_time", "sender")

_INDEX: Final = re.compile(r"suppressions\[([0-9]{1,3})\]")
_HINT: Final = "run the same command again: what was added is not added twice"


@suppressions.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--reason", type=Word(REASONS), default="manual", show_default=True, help="Of lines without one.")
@click.option("--source", default="", metavar="TEXT", help="Of lines without one: at most 64 characters.")
@connection_options()
def import_file(connection: Connection, *, path: Path, reason: str, source: str) -> int:
    """Write to the addresses of a CSV file no more (`-` is stdin). Its first line names its columns: address, and maybe
    reason, source, expire_time, sender.

    Lines that are of no use are named and passed over, and the exit code is 1. The same command again adds nothing
    twice, so a run that was interrupted is simply repeated.
    """
    from postwire_client import PostwireError

    opened = Source(path, "csv")
    tally = _Tally()
    try:
        with (
            connection.open(retry=True) as client,
            progress(opened.size, doing="importing", hidden=connection.as_json) as show,
        ):
            for lines, some in _batches(opened, tally, reason, source):
                _add(client, lines, some, tally)
                show(tally.lines, opened.taken)
    except PostwireError as error:
        raise connection.failure(error, _HINT) from None
    except BadRow as bad:
        raise Failed(
            str(bad),
            ExitCode.USAGE,
            more=[f"before it: {tally.summary()}", f"mend it, then {_HINT}"],
            as_json=connection.as_json,
            violations=[(f"line {bad.line}", f"{bad.field}: {bad.problem}" if bad.field else bad.problem)],
        ) from None
    except KeyboardInterrupt:
        click.echo(f"postwire: interrupted after {tally.lines:,} lines; {_HINT}", err=True)
        raise
    finally:
        opened.close()
    with even_if_unread():
        tally.show(as_json=connection.as_json)
    return ExitCode.REFUSED if tally.bad else ExitCode.OK


@dataclass(slots=True)
class _Tally:
    """What has become of the lines of a file. Those that were of no use are named by their numbers, never by what is in
    them."""

    lines: int = 0
    added: int = 0
    known: int = 0
    bad: int = 0
    named: list[tuple[int, str]] = field(default_factory=list)

    def note(self, wrong: BadRow) -> None:
        """One more that is of no use."""
        self.lines += 1
        self.bad += 1
        if len(self.named) < MAX_KEPT:
            self.named.append((wrong.line, f"{wrong.field}: {wrong.problem}" if wrong.field else wrong.problem))

    def summary(self) -> str:
        """The counts, in one line."""
        return f"{self.added:,} added, {self.known:,} suppressed already, {self.bad:,} of no use"

    def show(self, *, as_json: bool) -> None:
        """Print the counts, and which lines were of no use."""
        if as_json:
            named = [{"line": line, "problem": problem} for line, problem in self.named]
            counts = {"added": self.added, "known": self.known, "bad": named, "bad_count": self.bad}
            click.echo(json.dumps(counts))
            return
        click.echo(self.summary())
        for line, problem in self.named[:MAX_SHOWN]:
            click.echo(f"  line {line}: {problem}", err=True)
        if self.bad > MAX_SHOWN:
            click.echo(f"  and {self.bad - MAX_SHOWN:,} more (--json names {MAX_KEPT:,})", err=True)


def _batches(
    source: Source, tally: _Tally, reason: str, where_from: str
) -> Iterator[tuple[list[int], list[Suppression]]]:
    """What the lines of a file say, so many as one call takes, with their numbers. Raises BadRow for a file that is not
    what it should be; lines that are of no use are noted."""
    lines: list[int] = []
    some: list[Suppression] = []
    found = source.cells()
    number, names = next(found, (0, []))
    if not number:
        return
    columns = _columns(names, number)
    for line, cells in found:
        given = _given(columns, cells, line)
        if not given:
            continue
        try:
            some.append(_suppression({"reason": reason, "source": where_from} | given, line))
        except BadRow as wrong:
            tally.note(wrong)
            continue
        lines.append(line)
        if len(some) == AT_ONCE:
            yield lines, some
            lines, some = [], []
    if some:
        yield lines, some


def _add(client: Client, lines: list[int], some: list[Suppression], tally: _Tally) -> None:
    """Add what is in some lines, but for those that the server knows better than we do to be of no use."""
    from postwire_client import InvalidRequest

    while some:
        try:
            added = client.add_suppressions(some)
        except InvalidRequest as error:
            bad = {int(found[1]): one for one in error.violations if (found := _INDEX.match(one.field))}
            if not bad:
                raise
            for index, one in bad.items():
                tally.note(BadRow(lines[index], one.field.rpartition(".")[2], one.description))
            lines = [line for index, line in enumerate(lines) if index not in bad]
            some = [one for index, one in enumerate(some) if index not in bad]
        else:
            tally.lines += len(some)
            tally.added += added
            tally.known += len(some) - added
            return


def _columns(names: list[str], line: int) -> list[str]:
    """A header, checked. Raises BadRow: without a header its first cell is an address, which is not shown."""
    columns = [name.strip().casefold() for name in names]
    for number, name in enumerate(columns, 1):
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            problem = f"{name} is not known, did you mean {near[0]}?" if near else unknown("", COLUMNS)
            raise BadRow(line, f"column {number}", problem)
        if columns.count(name) > 1:
            raise BadRow(line, f"column {number}", f"{name} is there twice")
    if "address" not in columns:
        raise BadRow(line, "", "has no column 'address': the first line of the file names its columns")
    return columns


def _given(columns: list[str], cells: list[str], line: int) -> dict[str, str]:
    if not any(cell.strip() for cell in cells):
        return {}
    if len(cells) != len(columns):
        raise BadRow(line, "", f"has {len(cells)} cells, and the header names {len(columns)}")
    return {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if cell.strip()}


def _suppression(given: Mapping[str, str], line: int) -> Suppression:
    from postwire.core.validation import Violations, check_any_address, check_any_sender
    from postwire_client import Suppression

    found = Violations()
    check_any_address("address", given.get("address", ""), found)
    check_any_sender("sender", given.get("sender", ""), found)
    try:
        found.raise_any()
    except InvalidMessage as refused:
        raise BadRow(line, refused.violations[0].field, refused.violations[0].description) from None
    reason = given["reason"].casefold().replace("-", "_").removeprefix("suppression_reason_")
    if reason not in REASONS:
        raise BadRow(line, "reason", f"is not one of {', '.join(REASONS)}")
    if len(given["source"]) > MAX_SOURCE:
        raise BadRow(line, "source", f"must have at most {MAX_SOURCE} characters")
    until: datetime | None = None
    try:
        until = parse_time(given["expire_time"]) if "expire_time" in given else None
    except ValueError as wrong:
        raise BadRow(line, "expire_time", str(wrong)) from None
    made = Suppression(address=given["address"], source=given["source"], sender=given.get("sender", ""))
    return suppression(made, reason, until)
