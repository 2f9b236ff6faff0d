"""What is going on, for whoever sits at a terminal."""

from __future__ import annotations

import sys


def say(text: str = "") -> None:
    """Show a line in the place of the last; nothing takes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text} " if text else "\r\x1b[K", end="", file=sys.stderr, flush=True)
