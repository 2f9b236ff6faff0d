"""How a call that its caller has left is recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.access import access_of

from postwire.api.guard import Calls, Guard


class Ended:
    """Keeps the status that each call has ended with."""

    def __init__(self) -> None:
        self.statuses: list[str] = []

    def call_started(self, method: str, metadata: Any) -> None:
        pass

    def call_ended(self, started: Any, method: str, status_code: str, system: str = "") -> None:
        self.statuses.append(status_code)

    def request_refused(self, reason: str, tenant: str) -> None:
        pass


class Context:
    def invocation_metadata(self) -> None:
        pass

    def time_remaining(self) -> None:
        pass


async def count(request: Any, context: Any) -> AsyncIterator[int]:
    for number in range(3):
        yield number


@pytest.mark.parametrize(("left_after", "status"), [(1, "CANCELLED"), (3, "CANCELLED"), (4, "OK")])
async def test_a_caller_that_hangs_up_while_a_response_is_on_its_way_cancels(left_after: int, status: str) -> None:
    """gRPC closes the stream where it waits for the response to be taken: nothing is cancelled in it."""
    ended = Ended()
    responses: Any = Guard(Calls(), [ended], access_of("")).stream_handler("Count", count, None)(None, Context())  # type: ignore[arg-type]
    for _ in range(left_after):
        await anext(responses, None)
    await responses.aclose()
    assert ended.statuses == [status]
