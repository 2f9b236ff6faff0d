"""One attempt as the server makes it, looked at from closer by."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

from postwire.core.message import Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, RecipientResult, worst
from postwire.delivery import attempt
from postwire.providers.base import Provider
from postwire.providers.handover import Handover
from postwire.telemetry import logs

LIMIT: Final = 10.0
"""Seconds after which what should have happened is given up. No verdict depends on less."""

_TIME_LIMIT_FACTOR: Final = 2
"""How many times as long an attempt may take, so that it outlasts a test that waits for something to happen in it."""

_TURN: Final = 0.002
"""Seconds between two looks at a counterpart, which may be another thread or process."""


CREATED: Final = 1_800_000_000_000_000
"""When messages are accepted here, in µs since the epoch."""

VALID_FOR: Final = 4 * 3600 * 1_000_000
"""How long they are worth delivering, in µs."""


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
        self.task = loop.create_task(attempt.send(self, message, handover, loop, _TIME_LIMIT_FACTOR * LIMIT))  # type: ignore[arg-type]

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

    async def until_connecting(self) -> None:
        """Wait until the provider says that it connects, or the attempt has ended."""
        await until(lambda: self.handover.entered or self.task.done(), "`handover.connecting()` was not entered")

    async def end(self) -> DispatchResult:
        """Wait for its end, which has to come by itself, and return the result."""
        result = await self.task
        assert not isinstance(self.raised, asyncio.CancelledError), "the attempt did not end by itself"
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


async def until(happened: Callable[[], bool], otherwise: str) -> None:
    """Wait until something has happened that nobody announces; fail, and say `otherwise`, if it never does."""
    deadline = asyncio.get_running_loop().time() + LIMIT
    while not happened():
        assert asyncio.get_running_loop().time() < deadline, otherwise
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


class _Collector(logging.Handler):
    """Keeps what is logged: by `logging`, and as a sink of the server's own log."""

    def __init__(self, lines: list[str], level: int) -> None:
        super().__init__(level)
        self.lines = lines
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        self.lines.append(self.format(record))

    def put(self, line: str, *, urgent: bool) -> None:
        """See `postwire.telemetry.logs.Sink.put`."""
        self.lines.append(line)


@contextmanager
def logged(level: int) -> Iterator[list[str]]:
    """Collect what is logged meanwhile, from that level of `logging` on."""
    root, collector = logging.getLogger(), _Collector([], level)
    before = root.level
    root.addHandler(collector)
    root.setLevel(level)
    try:
        with mock.patch.multiple(logs._out, sink=collector, level=logging.DEBUG):
            yield collector.lines
    finally:
        root.setLevel(before)
        root.removeHandler(collector)
