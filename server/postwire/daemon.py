"""A process: its event loop, what asks for its end, and work that may never end, which nothing waits for."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed: `pip install postwire[uvloop]`."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def run_in_daemon(function: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Run a function on a daemon thread, and return a future of its result, which may be cancelled.

    The event loop and the interpreter wait at their end for the threads of their own executors. They do not wait for
    this one.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # there is one if there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed: it has waited for long enough
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


async def leaves_work_behind(seconds: float) -> bool:
    """Cancel every other task of this loop, for the end of a process. Return whether any of them, or any thread of the
    loop's executor, has not ended then.

    A task may swallow its cancellation, and a thread cannot be cancelled at all. To close the loop would be to wait
    for them.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    _, pending = await asyncio.wait({*others, asyncio.create_task(_end_executor())}, timeout=seconds)
    return bool(pending)


async def _end_executor() -> None:
    await asyncio.get_running_loop().shutdown_default_executor()


def stop_signal(*numbers: signal.Signals) -> asyncio.Future[str]:
    """A future that holds the name of the first of these signals."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if not future.done():
            future.set_result(number.name)

    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    return future
