"""What `postwire send --file` reads: a file, a pipe or stdin, once and line by line, as requests."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from postwire.cli.send.bulk_columns import Columns
from postwire.cli.send.bulk_faults import BadRow, parse_request

if TYPE_CHECKING:
    from postwire_client import DispatchRequest

STDIN: Final = "-"
FORMATS: Final = ("jsonl", "csv")
MAX_LINE: Final = 64 << 20
"""Bytes: more than a server takes in one message, so that a file without line breaks is not read into memory whole."""

_CSV_SUFFIXES: Final = (".csv", ".tsv")
_SEPARATORS: Final = ",;\t"
_NAMELESS: Final = (Path("/dev"), Path("/proc"))
"""Where a name says nothing about what is read."""


@dataclass(frozen=True, slots=True)
class Row:
    """A message of a file. `line` counts from 1; `content` is equal for equal rows, however they are written."""

    line: int
    content: str
    request: DispatchRequest


class Source:
    """A file of messages, opened. `size` is in bytes, and None where nobody knows; `taken` is what was read of it."""

    def __init__(self, path: Path, format: str | None) -> None:
        """Raises click.UsageError for what cannot be read."""
        try:
            self._file = _open(path)
        except (OSError, ValueError) as wrong:
            why = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else "it is no file"
            raise click.UsageError(f"cannot read {path}: {why}") from None
        status = os.fstat(self._file.fileno())
        is_regular = stat.S_ISREG(status.st_mode)
        has_name = is_regular and str(path) != STDIN and not any(path.is_relative_to(place) for place in _NAMELESS)
        self.name = path.name if has_name else None
        """The file's; None for a pipe and all else that another command would not find again by it."""
        self.size = status.st_size if is_regular else None
        self.taken = 0
        self._format = format or ("csv" if path.suffix.lower() in _CSV_SUFFIXES else "jsonl")

    def is_same(self, path: Path) -> bool:
        """Whether this path leads to the same file."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), path.stat())
        except OSError:
            return False

    def close(self) -> None:
        """Let the file go, unless `rows` is being read, which does so itself at its end.

        A thread that waits for a pipe holds its file: to close it from another one would wait as well.
        """
        self._file.close()

    def rows(self) -> Iterator[Row]:
        """Every message, once. Raises BadRow for the first one that cannot be read."""
        with self._file:
            yield from self._csv() if self._format == "csv" else self._json()

    def _json(self) -> Iterator[Row]:
        for number, text in self._lines():
            if text.strip():
                raw = _object(number, text)
                yield Row(number, _sorted(raw), parse_request(raw, number))

    def _csv(self) -> Iterator[Row]:
        found = self.cells()
        line, names = next(found, (0, []))
        if not line:
            return
        columns = Columns(names, line)
        for first, cells in found:
            if given := columns.given(cells, first):
                yield Row(first, _sorted(given), parse_request(columns.request(given, first), first, columns))

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Every row of CSV, the header first, each with the line that it begins at. Raises BadRow."""
        csv.field_size_limit(MAX_LINE)
        lines = ((number, text) for number, text in self._lines() if text.strip())
        line, text = next(lines, (0, ""))
        if not line:
            return
        separator = next((one for one in _SEPARATORS if one in text), _SEPARATORS[0])
        (names,) = _read_csv(iter([text]), line, separator)
        yield line, names
        last = line

        def counted() -> Iterator[str]:
            nonlocal last
            for number, text in self._lines(after=line):
                last = number
                yield text

        rows = csv.reader(counted(), delimiter=separator, strict=True)
        while True:
            first = last + 1
            try:
                cells = next(rows, None)
            except csv.Error as wrong:
                raise BadRow(first, "", f"is not CSV: {wrong}") from None
            if cells is None:
                return
            yield first, cells

    def _lines(self, after: int = 0) -> Iterator[tuple[int, str]]:
        """Each line with its number, from the one behind `after` on."""
        number = after
        while line := self._file.readline(MAX_LINE + 1):
            number += 1
            self.taken += len(line)
            if len(line) > MAX_LINE:
                raise BadRow(number, "", f"is over {MAX_LINE >> 20} MiB, more than any message may have")
            try:
                # Editors put a byte order mark in front, spreadsheets do as well.
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise BadRow(number, "", "is not UTF-8, save it as UTF-8") from None


def _open(path: Path) -> IO[bytes]:
    if str(path) != STDIN:
        return path.open("rb")
    if sys.stdin is None:
        raise click.UsageError("cannot read -: stdin is closed")
    # A file of our own: the interpreter's exit waits for a thread that reads from its own.
    return io.open(os.dup(sys.stdin.fileno()), "rb")  # noqa: UP020  # `open` of a descriptor, which a Path has not


def _read_csv(lines: Iterator[str], number: int, separator: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=separator, strict=True))
    except csv.Error as wrong:
        raise BadRow(number, "", f"is not CSV: {wrong}") from None


def _object(number: int, text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, number), parse_constant=_refuse_constant)
    except json.JSONDecodeError as wrong:
        raise BadRow(number, "", f"is not JSON: {wrong.msg} at character {wrong.colno}") from None
    except (ValueError, RecursionError):
        raise BadRow(number, "", "is not JSON") from None
    if not isinstance(raw, dict):
        raise BadRow(number, "", "is not a JSON object: one message a line, as a DispatchRequest (CSV: --format csv)")
    return raw


def _unique(pairs: list[tuple[str, Any]], number: int) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise BadRow(number, next(key for key in keys if keys.count(key) > 1), "is there twice")
    return made


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _sorted(raw: dict[str, Any]) -> str:
    return json.dumps(raw, sort_keys=True, separators=(",", ":"))
