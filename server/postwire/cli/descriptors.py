"""The descriptors 0 to 2, which a process may be started without (`postwire serve 2>&-`)."""

from __future__ import annotations

import errno
import os
import sys


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
