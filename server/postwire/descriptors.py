"""Descriptors that a process inherits: they may be closed (`postwire serve 2>&-`), or nobody reads what goes there."""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import Final

STDERR: Final = 2

UNREAD_TIME: Final = 0.5
"""Seconds after which a process that ends waits no longer for a reader that does not read."""


def open_standard() -> None:
    """Have stdin, stdout and stderr lead to /dev/null where they are closed.

    The next file or socket that is opened gets the lowest number that is free: the store could become number 2, and
    what a library writes to stderr would go into it.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            os.open(os.devnull, os.O_RDWR)  # becomes this one, since all lower ones are open
            os.set_inheritable(descriptor, True)
        if getattr(sys, name) is None:  # which Python leaves so where it finds the descriptor closed
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))  # noqa: SIM115  # for good


def leave_unread(descriptor: int, timeout: float = UNREAD_TIME) -> None:
    """Have a descriptor lead to /dev/null, if it cannot be written to for `timeout` seconds since nobody reads.

    For the end of a process: what it still has to say is not to hold that up.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(timeout * 1000):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
