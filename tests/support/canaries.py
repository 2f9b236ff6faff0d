"""Words that are nowhere else, to be looked for in a store's files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_CANARY: Final = re.compile(rb"canary-(\d{6})\.")


def canary(number: int) -> str:
    return f"canary-{number:06d}."


def canaries_in(path: Path) -> set[int]:
    """Which are to be read in a store's files."""
    found: set[int] = set()
    for file in path.parent.glob(f"{path.name}*"):
        found.update(map(int, _CANARY.findall(file.read_bytes())))
    return found
