"""What the server's log writes, line by line."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from postwire.telemetry import logs


class Written(io.StringIO):
    """A sink that keeps what it takes."""

    dropped = 0

    def __init__(self) -> None:
        super().__init__()
        self.urgent: list[bool] = []

    def put(self, line: str, *, urgent: bool) -> None:
        self.write(line)
        self.urgent.append(urgent)


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For whoever imports it: what a test has set up to be logged ends with it."""
    for owner, name in ((logs, "_out"), (warnings, "showwarning"), (threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def start(log_format: str = "json", log_level: str = "info", *, is_terminal: bool = False) -> Written:
    """Log into what is returned, until the test ends."""
    stream = Written()
    logs.setup(log_format=log_format, log_level=log_level, sink=stream, is_terminal=is_terminal)
    return stream


def lines(stream: Written) -> list[dict[str, Any]]:
    """Every line, parsed. It fails on anything that is not one JSON object a line."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]
