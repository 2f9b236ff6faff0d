"""What signals do to a server that are not meant to end it. Light: they are set before what takes long is imported."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from postwire.descriptors import STDERR


@dataclass(slots=True)
class HangUp:
    """SIGHUP: a terminal that is closed, which `drains` the server; or else somebody who wants the configuration read
    again, which `is_pending` from when it came until the server can see to it.
    """

    drains: bool
    is_pending: bool = False

    def note(self, *_: object) -> None:
        """It came: a handler as `signal.signal` takes it."""
        self.is_pending = True


def take_over() -> HangUp:
    """Have no signal end this process that others are sent for another purpose.

    SIGHUP stays as it is where it is to drain the server, until that can be drained: before, nothing is under way.
    """
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # Under nohup it is ignored: it is meant to run on after the terminal is closed.
    hang_up = HangUp(drains=os.isatty(STDERR) and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)
    if not hang_up.drains:
        signal.signal(signal.SIGHUP, hang_up.note)
    return hang_up
