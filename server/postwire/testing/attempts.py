"""One attempt as the server makes it, looked at from closer by."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from postwire.core.message import Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.delivery import attempt
from postwire.providers.base import Provider
from postwire.providers.handover import Handover

LIMIT: Final = 10.0
"""Seconds after which what should have happened is given up. No verdict depends on less."""

_TURN: Final = 0.002
"""Seconds between two looks at a counterpart, which may be another thread or process."""


class WatchedHandover(Handover):
    """Tells whether the provider has begun to connect."""

    entered = False

    def connecting(self) -> Any:
        """See `Handover.connecting`."""
        self.entered = True
        return super().connecting()


class Attempt:
    """A call of `send` in a task, with what it raised."""

    def __init__(self, provider: Provider, message: OutboundMessage, handover: WatchedHandover) -> None:
        self.message = message
        self.handover = handover
        self.raised: BaseException | None = None
        self.cancelled_by_us = False
        self._provider = provider
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(attempt.send(self, message, handover, loop, LIMIT))  # type: ignore[arg-type]

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """Call the provider, and keep what it raises."""
        try:
            return await self._provider.send(message, handover)
        except BaseException as error:
            self.raised = error
            raise

    @property
    def name(self) -> str:
        """The provider's, for what is logged of a fault."""
        return self._provider.name

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened, or the attempt has ended."""
        await until(lambda: happened() or self.task.done())

    async def end(self) -> DispatchResult:
        """Wait for its end, which has to come by itself, and return the result."""
        result = await self.task
        timed_out = isinstance(self.raised, asyncio.CancelledError) or result in attempt.CUT_SHORT[:1]
        assert not timed_out, f"the attempt did not end within {LIMIT:g} s"
        check_form(result, self.message, self.handover)
        return result

    async def cut_short(self, patience: float) -> Outcome:
        """Cancel it, as at a time-out, unless it ends within `patience` seconds; return its outcome for the server."""
        await asyncio.wait({self.task}, timeout=patience)
        if not self.task.done():
            self.cancelled_by_us = True
            self.task.cancel()
            await asyncio.wait({self.task}, timeout=LIMIT)
            assert self.task.done(), "a call that was cancelled did not end"
            assert self.task.cancelled(), "the provider swallowed a cancellation"
            assert self.raised is not None
            return Outcome.ERROR if self.handover.is_before(self.raised) else Outcome.UNCERTAIN
        result = self.task.result()
        check_form(result, self.message, self.handover)
        return result.outcome

    def shown(self) -> str:
        """Everything that can be seen of how it has ended."""
        result = "" if self.task.cancelled() else repr(self.task.result())
        return result + (_text(self.raised) if self.raised else "")


async def shown_by(call: Awaitable[object]) -> str:
    """Return everything that can be seen of how a call has ended."""
    try:
        return repr(await call)
    except Exception as error:
        return _text(error)


def _text(error: BaseException) -> str:
    """What a traceback shows, with all that led to it."""
    return "".join(traceback.format_exception(error))


async def until(happened: Callable[[], bool]) -> None:
    """Wait until something has happened that nobody announces.

    Raises:
        TimeoutError: it has not, within `LIMIT`.
    """
    async with asyncio.timeout(LIMIT):
        while not happened():  # noqa: ASYNC110  # nobody sets an event in another process
            await asyncio.sleep(_TURN)


def check_form(result: DispatchResult, message: OutboundMessage, handover: Handover) -> None:
    """Assert that a result is one, whatever it says."""
    assert isinstance(result, DispatchResult)
    _check_words(result)
    assert isinstance(result.provider_fault, bool)
    if result.retry_after is not None:
        assert result.outcome in (Outcome.RATE_LIMITED, Outcome.DEFERRED), "nobody asks for retry_after here"
        assert 0 <= result.retry_after < float("inf")
    if result.recipients:
        assert isinstance(message.content, Email), "only an email has several recipients"
        expected = len(message.content.recipients if handover.positions is None else handover.positions)
        assert len(result.recipients) == expected, "there has to be one entry for each recipient of the attempt"
        for one in result.recipients:
            _check_words(one)
        assert result.outcome is worst(one.outcome for one in result.recipients)


def _check_words(result: DispatchResult | RecipientResult) -> None:
    assert isinstance(result.outcome, Outcome)
    assert isinstance(result.provider_message_id, str)
    assert isinstance(result.error_code, str)
    assert isinstance(result.detail, str)


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect what goes through `logging` meanwhile, on every level."""
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record) + repr(record.args))

    root, collector = logging.getLogger(), Collector(level=0)
    level = root.level
    root.addHandler(collector)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(collector)
