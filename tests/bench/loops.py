"""The event loop of everything that the bench runs: the one that the service picks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed, as in `postwire.app`."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def loop_name() -> str:
    """What to call it in the report."""
    return "asyncio" if loop_factory() is None else "uvloop"
