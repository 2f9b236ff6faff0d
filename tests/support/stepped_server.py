"""`postwire serve` on a machine whose time of day a test sets.

`CLOCK_OFFSET` names a file with the seconds that are added.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from postwire import app
from postwire.cli.serve import serve
from postwire.clock import SystemClock


class SteppedClock(SystemClock):
    def __init__(self) -> None:
        super().__init__()
        self._file = Path(os.environ["CLOCK_OFFSET"])
        self._started += self._offset() * 1000

    def wall(self) -> int:
        return super().wall() + self._offset()

    def _offset(self) -> int:
        """In µs."""
        return int(self._file.read_text()) * 1_000_000


def run() -> None:
    setattr(app, "SystemClock", SteppedClock)  # noqa: B010  mypy refuses the plain assignment
    sys.exit(serve.main(args=[], standalone_mode=False))
