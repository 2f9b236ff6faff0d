"""The commands that a page of the docs shows, and what it says they print.

A block that begins with ```console holds commands (`$ …`, continued by a backslash or by `> `) and their output, in
which `…` stands for any text, and alone on a line for any lines. ```console server starts a server that runs until the
next one does; ```console node one that runs beside it. ```console tls holds commands for a server with TLS that asks
who calls, which the page does not start. ```python is a program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^```(console server|console node|console tls|console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_ANY = "…"


@dataclass(frozen=True, slots=True)
class Step:
    """Something to run: a `command`, or one of `tls`, whose output is to be like `shown` (empty: like anything); a
    `server`, or a `node` beside it; `python`."""

    kind: str
    text: str
    shown: str = ""
    line: int = 0


def steps(page: Path) -> Iterator[Step]:
    """What a page shows, in its order."""
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        if block[1] == "python":
            yield Step("python", block[2], line=line)
            continue
        kind = block[1].partition(" ")[2] or "command"
        for command, shown in re.findall(r"^\$ ((?:.*\\\n)*.*(?:\n> .*)*)\n((?:(?!\$ ).*\n)*)", block[2], re.MULTILINE):
            yield Step(kind, command.replace("\n> ", "\n"), shown, line)


def pattern(shown: str) -> re.Pattern[str]:
    """What output must match in full to be as shown. Runs of blanks count as one; its last line may lack its end."""
    parts = []
    for line in shown.splitlines():
        if line.strip() == _ANY:
            parts.append(r"(?:.*\n)*?")
        else:
            pieces = (
                r"[ \t]+".join(re.escape(word) for word in re.split(r"[ \t]+", piece)) for piece in line.split(_ANY)
            )
            parts.append(".*".join(pieces) + r"[ \t]*(?:\n|\Z)")
    return re.compile("".join(parts))
