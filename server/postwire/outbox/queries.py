"""Reads `queries.sql`: statements by name, and those that take any number of rows at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import Final

import apsw

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ROWS: Final = "{rows}"
_MAX_CHUNK: Final = 128

SQLValue = int | str | bytes | None
Row = tuple[SQLValue, ...]


def _load() -> dict[str, str]:
    text = resources.files(__package__).joinpath("queries.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {
        name: "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


QUERIES: Final = _load()
"""Every statement of `queries.sql`, by its name."""


class Bulk:
    """A statement over many rows, run in as few pieces as the powers of two allow, so that each piece's text recurs and
    its compiled form is reused."""

    def __init__(self, name: str) -> None:
        self._sql = QUERIES[name]
        self._by_size: dict[int, str] = {}

    def run(self, connection: apsw.Connection, rows: Sequence[Row]) -> int:
        """Run it over all `rows`; returns how many rows of the store were changed."""
        changed = 0
        at = 0
        while at < len(rows):
            size = min(_MAX_CHUNK, 1 << ((len(rows) - at).bit_length() - 1))
            chunk = rows[at : at + size]
            connection.execute(
                self._by_size.get(size) or self._text(size, len(chunk[0])), [value for row in chunk for value in row]
            )
            changed += connection.changes()
            at += size
        return changed

    def _text(self, size: int, width: int) -> str:
        one = "(" + ", ".join("?" * width) + ")"
        text = self._by_size[size] = self._sql.replace(_ROWS, ", ".join([one] * size))
        return text
