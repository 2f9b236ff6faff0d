"""`postwire messages cancel` by a filter: what it makes of refusals, and of failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.root import root
from postwire.v1.dispatch_service_pb2 import (
    CancelMessageRequest,
    CancelMessageResponse,
    ListMessagesRequest,
    ListMessagesResponse,
    MessageFilter,
)
from postwire.v1.message_pb2 import Message, MessageState

STATES = (MessageState.MESSAGE_STATE_CANCELLED, MessageState.MESSAGE_STATE_UNCERTAIN)


class Many(ScriptedServer):
    """Lists as many messages as it is told, in pages of ten, and answers each that is to be cancelled by its number."""

    def __init__(self, count: int, answers: Callable[[int, Any], Any]) -> None:
        super().__init__()
        self.answer = self._of
        self._count = count
        self._answers = answers

    def _of(self, asked: Any, context: Any) -> Any:
        if isinstance(asked, CancelMessageRequest):
            state = self._answers(int(asked.message_id), context)
            return CancelMessageResponse(message=Message(message_id=asked.message_id, state=state))
        first = int(asked.page_token or 0)
        last = min(first + 10, self._count)
        page = [Message(message_id=str(number)) for number in range(first, last)]
        return ListMessagesResponse(messages=page, next_page_token=str(last) if last < self._count else "")

    @property
    def cancelled(self) -> list[CancelMessageRequest]:
        return [one for one in self.asked if isinstance(one, CancelMessageRequest)]


@pytest.fixture
def cancel() -> Callable[..., Result]:
    def run(scripted: ScriptedServer, *args: str) -> Result:
        with serving(scripted) as target:
            return CliRunner().invoke(root, ["messages", "cancel", "--server", target, *args])

    return run


def test_every_page_is_counted_and_each_message_asked_for_once(cancel: Callable[..., Result]) -> None:
    scripted = Many(35, lambda number, context: STATES[number % 7 == 0])
    done = cancel(scripted, "--label", "team=a", "--provider", "p", "--reason", "why", "--yes")
    assert done.exit_code == 0
    assert done.stdout.split() == ["matched", "35", "cancelled", "30", "uncertain", "5"] or done.stdout.split() == [
        *("matched", "35", "uncertain", "5", "cancelled", "30"),
    ]
    listed = [one for one in scripted.asked if isinstance(one, ListMessagesRequest)]
    chosen = MessageFilter(states=[MessageState.MESSAGE_STATE_QUEUED], provider_names=["p"], labels={"team": "a"})
    assert [one.filter for one in listed] == [chosen] * 4
    assert sorted(int(one.message_id) for one in scripted.cancelled) == list(range(35))
    assert {one.reason for one in scripted.cancelled} == {"why"}


def test_what_has_gone_on_since_is_counted_apart(cancel: Callable[..., Result]) -> None:
    def answers(number: int, context: Any) -> Any:
        if number % 5 == 0:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "sending has begun")
        return STATES[0]

    done = cancel(Many(20, answers), "--channel", "sms", "--yes", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"matched": 20, "states": {"cancelled": 16}, "not_queued": 4}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_ends_it_and_says_how_far_it_has_come(cancel: Callable[..., Result], as_json: bool) -> None:
    def answers(number: int, context: Any) -> Any:
        if number >= 3:
            context.abort(grpc.StatusCode.INTERNAL, "a fault")
        return STATES[0]

    scripted = Many(500, answers)
    done = cancel(scripted, "--channel", "sms", "--yes", *(["--json"] if as_json else []))
    assert done.exit_code == 1
    assert len(scripted.cancelled) < 100, "nothing more is begun"
    if as_json:
        assert json.loads(done.stdout)["matched"] == 500
        assert json.loads(done.stderr)["error"]["code"] == "INTERNAL"
    else:
        first, last = done.stderr.splitlines()
        assert first.startswith("postwire: broken off after ")
        assert first.endswith(" of 500 messages")
        assert last == "postwire: INTERNAL: a fault"
