"""One attempt: whatever the provider makes of its time, the task that made it is as it was before."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import build
from tests.support.providers import FakeProvider

from postwire.core.message import OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.delivery import attempt
from postwire.providers.handover import Handover

FOREVER = 60.0


class Stubborn(FakeProvider):
    """Makes something else of being cancelled."""

    def __init__(self, end: DispatchResult | Exception) -> None:
        super().__init__()
        self._end = end

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if isinstance(self._end, Exception):
                raise self._end from None
            return self._end
        raise AssertionError("nobody sets that event")


async def make(provider: FakeProvider, seconds: float, positions: tuple[int, ...] | None = None) -> DispatchResult:
    message = build.command().message
    return await attempt.send(provider, message, Handover("key", positions), asyncio.get_running_loop(), seconds)


@pytest.mark.parametrize(
    ("end", "outcome"),
    [(DispatchResult(Outcome.SUCCESS), Outcome.SUCCESS), (OSError("reset"), Outcome.UNCERTAIN)],
    ids=["a result", "an error"],
)
async def test_a_provider_that_does_not_take_its_cancellation_leaves_no_trace_of_it(
    end: DispatchResult | Exception, outcome: Outcome
) -> None:
    assert (await make(Stubborn(end), 0.001)).outcome is outcome
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    # And so the next attempt of the same task is its own.
    assert (await make(FakeProvider(), FOREVER)).outcome is Outcome.SUCCESS


async def test_a_time_limit_that_has_passed_leaves_the_task_uncancelled() -> None:
    assert await make(FakeProvider(held=True), 0.001) is attempt.TIMED_OUT
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_cancels_the_attempt_cancels_it() -> None:
    provider = FakeProvider(held=True)
    task = asyncio.create_task(make(provider, FOREVER))
    await provider.calls()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert provider.cancelled == 1


@pytest.mark.parametrize("positions", [None, (0, 2)])
async def test_the_provider_is_told_whom_it_is_for_and_by_what_key(positions: tuple[int, ...] | None) -> None:
    provider = FakeProvider()
    assert await make(provider, FOREVER, positions) is build.SUCCESS
    assert (provider.keys, provider.positions) == (["key"], [positions])


NO_RESULTS: list[object] = [
    None,
    "success",
    DispatchResult("success"),  # type: ignore[arg-type]  # on purpose
    DispatchResult(Outcome.RATE_LIMITED, retry_after="1"),  # type: ignore[arg-type]  # on purpose
]


@pytest.mark.parametrize("answer", NO_RESULTS, ids=repr)
async def test_what_is_no_result_is_a_fault_of_the_providers_code(answer: object) -> None:
    result = await make(FakeProvider(answer=answer), FOREVER)  # type: ignore[arg-type]  # on purpose
    assert (result.outcome, result.error_code) == (Outcome.UNCERTAIN, "internal")


@pytest.mark.parametrize("retry_after", [None, 0, 1, 2.5])
async def test_a_result_is_handed_on_as_it_is(retry_after: float | None) -> None:
    answer = DispatchResult(Outcome.RATE_LIMITED, retry_after=retry_after)
    assert await make(FakeProvider(answer=answer), FOREVER) is answer
