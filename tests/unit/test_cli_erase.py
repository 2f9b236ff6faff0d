"""`postwire messages erase`, against a server in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.root import root
from postwire.v1.dispatch_service_pb2 import EraseMessagesRequest, EraseMessagesResponse

CUSTOMER = {"customer": "7"}


class Pages(ScriptedServer):
    """Has `count` messages with any labels, three a page, and one more that is not settled."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.answer = self._of
        self._count = count

    def _of(self, asked: EraseMessagesRequest, context: grpc.ServicerContext) -> EraseMessagesResponse:
        if asked.message_ids:
            return EraseMessagesResponse(erased=len(asked.message_ids))
        first = int(asked.page_token or 0)
        last = min(first + 3, self._count)
        more = str(last) if last < self._count else ""
        return EraseMessagesResponse(erased=last - first, skipped_unsettled=int(first == 0), next_page_token=more)


@pytest.fixture
def erase() -> Callable[..., Result]:
    def run(scripted: ScriptedServer, *args: str) -> Result:
        with serving(scripted) as target:
            return CliRunner().invoke(root, ["messages", "erase", "--server", target, *args])

    return run


def test_ids_are_erased_a_thousand_a_call(erase: Callable[..., Result]) -> None:
    scripted = Pages(0)
    done = erase(scripted, *(f"id-{number}" for number in range(2_001)), "--reason", "request 12")
    assert (done.exit_code, done.stdout.split()) == (0, ["erased", "2,001", "skipped_unsettled", "0"])
    assert [len(one.message_ids) for one in scripted.asked] == [1_000, 1_000, 1]
    assert {(one.reason, one.dry_run) for one in scripted.asked} == {("request 12", False)}


def test_labels_are_followed_to_the_last_page_and_what_is_skipped_is_no_success(erase: Callable[..., Result]) -> None:
    scripted = Pages(7)
    done = erase(scripted, "--label", "customer=7", "--yes", "--json")
    assert json.loads(done.stdout) == {"erased": 7, "skipped_unsettled": 1, "dry_run": False}
    assert done.exit_code == 1
    asked = [EraseMessagesRequest(labels=CUSTOMER, page_token=token) for token in ("", "3", "6")]
    assert scripted.asked == asked


def test_a_dry_run_only_counts(erase: Callable[..., Result]) -> None:
    scripted = Pages(4)
    done = erase(scripted, "--label", "customer=7", "--dry-run")
    assert (done.exit_code, done.stdout.split()) == (0, ["would_be_erased", "4", "skipped_unsettled", "1"])
    assert all(one.dry_run for one in scripted.asked)


def test_where_nobody_can_be_asked_nothing_is_done(erase: Callable[..., Result]) -> None:
    scripted = Pages(4)
    done = erase(scripted, "--label", "customer=7")
    assert done.exit_code == 2
    assert "Erase 4 messages for good? Nobody is there to be asked: give --yes" in done.stderr
    assert all(one.dry_run for one in scripted.asked)


@pytest.mark.parametrize("args", [(), ("id-1", "--label", "customer=7"), ("--label", "customer")])
def test_what_is_meant_has_to_be_clear(erase: Callable[..., Result], args: tuple[str, ...]) -> None:
    scripted = Pages(4)
    assert erase(scripted, *args).exit_code == 2
    assert scripted.asked == []


def test_what_was_broken_off_says_how_far_it_has_come(erase: Callable[..., Result]) -> None:
    scripted = Pages(7)
    pages: Any = scripted.answer

    def answer(asked: EraseMessagesRequest, context: grpc.ServicerContext) -> EraseMessagesResponse:
        if asked.page_token == "6":
            context.abort(grpc.StatusCode.INTERNAL, "a fault")
        answered: EraseMessagesResponse = pages(asked, context)
        return answered

    scripted.answer = answer
    done = erase(scripted, "--label", "customer=7", "--yes")
    assert done.exit_code == 1
    first, last = done.stderr.splitlines()
    assert (first, last) == ("postwire: broken off after 6 messages; again goes on", "postwire: INTERNAL: a fault")
