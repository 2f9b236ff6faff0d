"""`postwire`, for shells that tests start: it asks for a fork, and is its way to whoever has started it.

A process of a shell has to be a child of that shell, which a fork is not. This one is, and starts in a fiftieth of the
time that Postwire takes to be imported: it knows nothing but the standard library, and little of that. It has the
fork's descriptors, arguments, environment and folder; hands on the signals that ask for an end; and ends as it does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

FORKER = "FORKED_FROM"
"""The variable that has the descriptor of the connection to the process that is forked."""


def ask(connection: socket.socket, request: Mapping[str, Any], standard: Sequence[int]) -> IO[bytes]:
    """Ask for a fork with these descriptors. What is returned reads its id, and when it has ended how, on lines."""
    reading, writing = os.pipe()
    asked, asking = os.pipe()
    try:
        # One byte goes with the descriptors: what several ask for at once is not mixed up.
        socket.send_fds(connection, [b"?"], [asked, writing, *standard])
    finally:
        os.close(asked)
        os.close(writing)
    with os.fdopen(asking, "wb") as file:
        file.write(json.dumps(request).encode())
    return os.fdopen(reading, "rb")


def run(main: str, args: Sequence[str]) -> int:
    """Have it run in a fork; returns its exit code, or the number of the signal that has ended it, negative."""
    env = dict(os.environ)
    connection = socket.socket(fileno=int(env.pop(FORKER)))
    cwd = os.getcwd()  # noqa: PTH109  pathlib takes longer to be imported than all of this
    reports = ask(connection, {"main": main, "args": args, "cwd": cwd, "env": env}, (0, 1, 2))
    pid = int(reports.readline())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    return int(reports.readline())


if __name__ == "__main__":
    code = run("postwire.cli:main", sys.argv[1:])
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
