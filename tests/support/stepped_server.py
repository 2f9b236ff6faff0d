"""`postwire serve` on a machine whose time of day a test sets, or which it suspends.

`CLOCK_OFFSET` names a file with the seconds that are added to the time of day; `CLOCK_SLEPT`, one with those for which
it has been suspended. Either may be left out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from postwire import stores
from postwire.cli.serve import serve
from postwire.clock import SystemClock


class SteppedClock(SystemClock):
    def __init__(self) -> None:
        super().__init__()
        self._started += _seconds_in("CLOCK_OFFSET") * 1_000_000_000

    def wall(self) -> int:
        return super().wall() + (_seconds_in("CLOCK_OFFSET") + _seconds_in("CLOCK_SLEPT")) * 1_000_000

    def due(self) -> int:
        return super().due() + _seconds_in("CLOCK_SLEPT") * 1_000_000


def _seconds_in(variable: str) -> int:
    file = os.environ.get(variable)
    return int(Path(file).read_text()) if file else 0


def run() -> None:
    setattr(stores, "SystemClock", SteppedClock)  # noqa: B010  mypy refuses the plain assignment
    sys.exit(serve.main(args=[], standalone_mode=False))
