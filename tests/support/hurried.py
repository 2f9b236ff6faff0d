"""Has a server wait for nobody: for no further call before it ends, for no further line before it writes its log, and
hardly before it looks again at its files and its backlog.

It is called in a fork, before the server. Not where callers go on while the server ends: the first of these waits is
for them.
"""

from __future__ import annotations

from typing import Final

from postwire.api import server
from postwire.delivery import stats
from postwire.maintenance import recounting, reloading
from postwire.telemetry import line_writer

LOOKS: Final = 0.2
"""Seconds between two looks at files, and at the backlog. How long a file has to be left alone is as ever."""


def hurry() -> None:
    vars(server)["QUIET"] = 0.0
    vars(line_writer)["GATHER_TIME"] = 0.0
    for module in (recounting, reloading):
        vars(module)["INTERVAL"] = LOOKS
    vars(stats)["WATCH_INTERVAL"] = LOOKS
