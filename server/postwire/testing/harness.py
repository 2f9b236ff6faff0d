"""What the tests are written in: a counterpart, a provider for it, and calls that come to an end."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar, Concatenate, Final, ParamSpec, TypeVar
from unittest import mock

import pytest

from postwire.core.errors import FieldViolation
from postwire.core.message import Channel, Content, Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context, Kind, Provider
from postwire.providers.capabilities import carries_of, open_of
from postwire.providers.registry import close
from postwire.testing import messages
from postwire.testing.attempts import CREATED, LIMIT, VALID_FOR, Attempt, WatchedHandover, until
from postwire.testing.counterpart import Answer, Request

P = ParamSpec("P")
H = TypeVar("H", bound="Harness")

_TRIES: Final = 3
"""How many attempts may meet what a restart has left of old connections."""

CANCEL_GRACE: Final = 0.5
"""Seconds that tasks have to end after a test."""

MESSAGE_ID: Final = "01a3a2c5-5800-7000-8000-000000000001"
"""That of every message; `key` says which attempts are for the same."""

_SOON: Final = 0.05
"""Seconds after which a provider is to give up connecting where nobody is."""


class Harness:
    """What a class of tests says of its provider, and what its tests make of that.

    Attributes say what there is; their defaults ask for everything, so that what is not tested has been said to be so.
    Each test has an instance of its own: what a method keeps in `self` is of that test alone.
    """

    kind: ClassVar[str]
    """The name of its kind."""
    declared: ClassVar[Kind]
    """Its kind. All of its channels are tried."""
    answers: ClassVar[frozenset[Answer]] = frozenset(Answer)
    """What the counterpart can do. `SUCCESS` has to be among it."""
    observes: ClassVar[bool] = True
    """Whether the counterpart records what it received."""
    restarts: ClassVar[bool] = True
    """Whether the counterpart can be stopped and started again, at the same address."""
    gives_ids: ClassVar[bool] = True
    """Whether whatever was taken has a `provider_message_id`."""
    secrets: ClassVar[tuple[str, ...]] = ()
    """Keys and passwords that `make` gives to the provider."""
    log_level: ClassVar[int] = logging.DEBUG
    """The level of `logging` from which on nothing of a message may be seen. Raise it where a library logs all that it
    does; the server shows `WARNING` and above."""
    patience: ClassVar[float] = 0.2
    """Seconds that an attempt is given to end by a time-out of the provider's own, before it is cancelled. More of them
    find more; none fails because they are few."""

    def prepare(self) -> None:
        """Called first in each test: for what another class would do in `__init__`, which pytest does not allow."""

    def make(self, context: Context) -> Provider:
        """Make a provider that uses the counterpart. `context` has its name, channels and `connect_timeout`."""
        raise NotImplementedError

    async def start(self) -> None:
        """Start the counterpart, in the loop of the test if need be. It logs nothing, and answers `SUCCESS`."""

    async def stop(self) -> None:
        """Stop the counterpart, connections and all. It may have been stopped already."""

    async def restart(self) -> None:
        """Stop the counterpart, and start it again."""
        await self.stop()
        await self.start()

    async def answer(self, how: Answer) -> None:
        """Have the counterpart do this from now on: before `make` is called, and again later.

        Its refusals should quote whom and what the request was for, since vendors do.
        """
        raise NotImplementedError

    def received(self) -> Sequence[Request]:
        """Return every request to send something that the counterpart has had in this test, over restarts as well."""
        return ()

    @asynccontextmanager
    async def _provider(
        self,
        how: Answer = Answer.SUCCESS,
        *,
        connect_timeout: float | None = None,
        channels: tuple[Channel, ...] = (),
        closes: bool = True,
    ) -> AsyncIterator[Provider]:
        if connect_timeout is None:
            connect_timeout = _SOON if how is Answer.UNREACHABLE else LIMIT
        await self.answer(how)
        provider = self.make(Context("tried", channels or self.declared.channels, lambda: 1, connect_timeout))
        try:
            if (own := open_of(provider)) is not None:
                await self.answer(Answer.SUCCESS)
                health = await asyncio.wait_for(own(), LIMIT)
                assert health is None or health.ok, health.detail
                await self.answer(how)
            yield provider
        finally:
            if closes:
                await asyncio.wait_for(close(provider), LIMIT)

    def _messages(self, contents: Mapping[Channel, Content] = messages.PLAIN) -> list[OutboundMessage]:
        return [messages.labelled(contents[channel]) for channel in self.declared.channels]

    def _begin(
        self,
        provider: Provider,
        message: OutboundMessage,
        *,
        key: str = "key",
        positions: tuple[int, ...] | None = None,
        age: float = 0.0,
    ) -> Attempt:
        return Attempt(
            provider,
            message,
            WatchedHandover(
                key,
                positions,
                CREATED + VALID_FOR,
                message_id=MESSAGE_ID,
                created=CREATED,
                now=CREATED + int(age * 1e6),
            ),
        )

    async def _succeed(
        self,
        provider: Provider,
        message: OutboundMessage,
        *,
        key: str = "key",
        positions: tuple[int, ...] | None = None,
        age: float = 0.0,
    ) -> None:
        """`age` is for how many seconds the message has been waiting."""
        self._is_success(await self._begin(provider, message, key=key, positions=positions, age=age).end())

    def _is_success(self, result: DispatchResult) -> None:
        assert result.outcome is Outcome.SUCCESS, f"{result.error_code}: {result.detail}"
        assert result.provider_message_id or not self.gives_ids

    async def _recover(self, provider: Provider, message: OutboundMessage) -> None:
        for _ in range(_TRIES):
            before = len(self.received())
            outcome = (await self._begin(provider, message).end()).outcome
            made = len(self.received()) - before
            assert made <= 1, "an attempt was repeated by the provider itself"
            if outcome is Outcome.SUCCESS:
                return
            assert outcome in (Outcome.ERROR, Outcome.UNCERTAIN)
            assert not (made and outcome is Outcome.ERROR), "what was received may have been sent"
        raise AssertionError("the provider is of no use after its counterpart was restarted")

    async def _until_received(self, count: int, calls: Sequence[Attempt]) -> None:
        if self.observes:
            await until(
                lambda: len(self.received()) >= count or any(call.task.done() for call in calls),
                f"the counterpart did not receive {count} requests at once",
            )

    async def _outcome(self, call: Attempt, how: Answer, before: int = 0) -> Outcome:
        """Let an attempt come to its end: once its request was taken it is cut short, where there is no answer."""
        if how is Answer.SILENCE:
            await self._until_received(before + 1, [call])
            return await call.cut_short(self.patience)
        return (await call.end()).outcome

    def _needs(self, how: Answer) -> None:
        if how not in self.answers:
            pytest.skip(f"the counterpart cannot answer {how.value}")

    def _needs_observation(self) -> None:
        if not self.observes:
            pytest.skip("the counterpart does not tell what it received")

    def _needs_restarts(self) -> None:
        if not self.restarts:
            pytest.skip("the counterpart cannot be started again")

    def _needs_channel(self, channel: Channel) -> None:
        if channel not in self.declared.channels:
            pytest.skip(f"it carries no {channel.value}")


def runs(
    test: Callable[Concatenate[H, P], Awaitable[None]],
) -> Callable[Concatenate[H, P], None]:
    """Make a plain test of a coroutine, which pytest runs without a plug-in. The counterpart is there meanwhile."""

    @functools.wraps(test)
    def run(self: H, /, *args: P.args, **kwargs: P.kwargs) -> None:
        async def with_counterpart() -> None:
            self.prepare()
            await self.start()
            try:
                await test(self, *args, **kwargs)
            finally:
                await self.stop()

        _run(with_counterpart())

    return run


def _run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test in a loop of its own. Unlike `asyncio.run`, leave behind what does not end when it is cancelled."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(test)
    finally:
        if pending := asyncio.all_tasks(loop):
            for task in pending:
                task.cancel()
            loop.run_until_complete(asyncio.wait(pending, timeout=CANCEL_GRACE))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def unsuitable(
    provider: Provider, message: OutboundMessage, positions: tuple[int, ...] | None = None
) -> FieldViolation | None:
    """Why the provider says that it cannot carry a message, if it does."""
    if (carries := carries_of(provider)) is None:
        return None
    why = carries(message, positions)
    assert carries(message, positions) == why, "`carries` always gives the same answer"
    if why is not None:
        assert isinstance(why, FieldViolation)
        assert why.field.startswith("message.")
        assert why.description
    return why


def text_of(content: Content) -> str:
    return content.text if isinstance(content, Email) else content.body


@contextmanager
def later(seconds: float) -> Iterator[None]:
    """Have `time.time` and `time.time_ns` show a later time."""
    wall, nanoseconds = time.time, time.time_ns
    with (
        mock.patch("time.time", lambda: wall() + seconds),  # noqa: PT008
        mock.patch("time.time_ns", lambda: nanoseconds() + int(seconds * 1e9)),  # noqa: PT008
    ):
        yield
