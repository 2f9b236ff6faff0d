"""The suite in `postwire.testing` bites: providers with one fault each fail the test that is about it."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.line_vendor import LineConformance, LineProvider, LineSettings

from postwire.core.message import OutboundMessage, Sms
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context
from postwire.providers.handover import Handover
from postwire.telemetry.logs import EventLog
from postwire.testing import Answer, attempts, conformance, harness

Suite = LineConformance


class Quoting(LineProvider):
    """Keeps the vendor's words."""

    def verdict(self, answer: dict[str, Any]) -> DispatchResult:
        return replace(super().verdict(answer), detail=answer["words"])


class Raising(LineProvider):
    """Raises what it cannot use, with all of it."""

    def verdict(self, answer: dict[str, Any]) -> DispatchResult:
        if answer["code"] != "success":
            raise ValueError(f"what is {answer}?")
        return super().verdict(answer)


class Logging(LineProvider):
    """Logs what it sends, for whoever wants to know it all."""

    def request(self, message: OutboundMessage, handover: Handover) -> dict[str, Any]:
        logging.getLogger("vendor.line").debug("sending %s", super().request(message, handover)["text"])
        return super().request(message, handover)


class Reporting(LineProvider):
    """Has a line in the server's own log for each message."""

    def request(self, message: OutboundMessage, handover: Handover) -> dict[str, Any]:
        asked = super().request(message, handover)
        EventLog().info("sending", to=asked["to"])
        return asked


class Showing(LineProvider):
    """Shows its settings, token and all."""

    def __repr__(self) -> str:
        return f"<LineProvider {self._settings.token}>"


class Retrying(LineProvider):
    """Tries again by itself where it was cut off."""

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        result = await super().send(message, handover)
        return result if result.outcome is Outcome.SUCCESS else await super().send(message, handover)


class Swallowing(LineProvider):
    """Makes a result of a cancellation."""

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        try:
            return await super().send(message, handover)
        except asyncio.CancelledError:
            return DispatchResult(Outcome.UNCERTAIN)


class Hasty(LineProvider):
    """Has a time-out of its own, after which it calls the message not sent."""

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        try:
            async with asyncio.timeout(0.05):
                return await super().send(message, handover)
        except TimeoutError:
            return DispatchResult(Outcome.ERROR, error_code="timeout")


class Blaming(LineProvider):
    """Takes what was cut off for not sent."""

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        result = await super().send(message, handover)
        return replace(result, outcome=Outcome.ERROR) if result.error_code == "cut_off" else result


class Connecting(LineProvider):
    """Sends inside the block."""

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        with handover.connecting():
            return await super().send(message, Handover(handover.key))


class Forgetful(LineProvider):
    """Has forgotten the block."""

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        return await super().send(message, Handover(handover.key))


class Stamping(LineProvider):
    """Says in the request when it was made, to the minute."""

    def request(self, message: OutboundMessage, handover: Handover) -> dict[str, Any]:
        return super().request(message, handover) | {"time": time.time() // 60}


class Drawing(LineProvider):
    """Gives each request a number of its own."""

    def request(self, message: OutboundMessage, handover: Handover) -> dict[str, Any]:
        return super().request(message, handover) | {"boundary": random.getrandbits(64)}


class Keyless(LineProvider):
    """Makes up a key for each attempt."""

    def request(self, message: OutboundMessage, handover: Handover) -> dict[str, Any]:
        return super().request(message, handover) | {"key": "k"}


class Mangling(LineProvider):
    """Sends what ASCII has."""

    def request(self, message: OutboundMessage, handover: Handover) -> dict[str, Any]:
        asked = super().request(message, handover)
        return asked | {"text": asked["text"].encode("ascii", "replace").decode()}


class Changing(LineProvider):
    """Writes into what it was handed."""

    def request(self, message: OutboundMessage, handover: Handover) -> dict[str, Any]:
        asked = super().request(message, handover)
        assert isinstance(message.content, Sms)
        message.content = replace(message.content, sender="Changed")  # type: ignore[misc]
        return asked


class Careless(LineProvider):
    """Sends to all, whoever has it already."""

    def request(self, message: OutboundMessage, handover: Handover) -> dict[str, Any]:
        return super().request(message, Handover(handover.key))


class Clinging(LineProvider):
    """Never parts with a connection."""

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._idle:
            self._kept = await super()._connection()
        return self._kept


class Stubborn(LineProvider):
    """Starts again when it is cancelled."""

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        while True:
            try:
                return await super().send(message, handover)
            except asyncio.CancelledError:
                continue


class Serial(LineProvider):
    """Sends one after another."""

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        lock: asyncio.Lock = self.__dict__.setdefault("lock", asyncio.Lock())
        async with lock:
            return await super().send(message, handover)


class Waiting(LineProvider):
    """Closes once all calls have ended."""

    async def close(self) -> None:
        while self._all:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Patient(LineProvider):
    """Goes on connecting for as long as it takes."""

    def __init__(self, context: Context, settings: LineSettings) -> None:
        super().__init__(replace(context, connect_timeout=1000), settings)


class Sending(LineProvider):
    """Sends a message to see whether that works."""

    async def check(self) -> Any:
        reader, writer = await self._connection()
        writer.write(json.dumps({"to": ["+1"], "key": "", "text": ""}).encode() + b"\n")
        await reader.readline()
        return await super().check()


FAULTS: list[tuple[type[LineProvider], Callable[[Suite], None]]] = [
    (Retrying, lambda suite: suite.test_an_attempt_makes_one_request(Answer.CUT_OFF)),
    (Retrying, lambda suite: suite.test_an_attempt_makes_one_request(Answer.RATE_LIMITED)),
    (Raising, lambda suite: suite.test_each_answer_has_its_outcome(Answer.REJECTED)),
    (Swallowing, lambda suite: suite.test_a_cancelled_call_ends_and_leaves_the_provider_usable()),
    (Swallowing, lambda suite: suite.test_a_time_out_after_hand_over_is_uncertain()),
    (Hasty, lambda suite: suite.test_a_time_out_after_hand_over_is_uncertain()),
    (Connecting, lambda suite: suite.test_a_time_out_after_hand_over_is_uncertain()),
    (Blaming, lambda suite: suite.test_it_closes_while_it_is_busy()),
    (Blaming, lambda suite: suite.test_each_answer_has_its_outcome(Answer.CUT_OFF)),
    (Forgetful, lambda suite: suite.test_a_time_out_before_hand_over_is_an_error()),
    (Forgetful, lambda suite: suite.test_it_is_an_error_that_nobody_is_there()),
    (Stamping, lambda suite: suite.test_identical_attempts_make_identical_bodies()),
    (Drawing, lambda suite: suite.test_identical_attempts_make_identical_bodies()),
    (Keyless, lambda suite: suite.test_a_vendor_that_deduplicates_gets_the_key()),
    (Mangling, lambda suite: suite.test_it_sends_or_says_that_it_cannot("sms-unicode")),
    (Changing, lambda suite: suite.test_it_sends_or_says_that_it_cannot("sms-unicode")),
    (Careless, lambda suite: suite.test_it_sends_to_the_recipients_that_it_is_asked_to_send_to()),
    (Clinging, lambda suite: suite.test_it_outlives_a_restart_of_the_counterpart()),
    (Sending, lambda suite: suite.test_a_check_says_that_it_can_be_reached_and_sends_nothing()),
]


@pytest.mark.parametrize(
    ("broken", "test"), FAULTS, ids=[f"{i}-{broken.__name__}" for i, (broken, _) in enumerate(FAULTS)]
)
def test_a_fault_fails_its_test_and_what_has_it_not_passes(
    broken: type[LineProvider], test: Callable[[Suite], None]
) -> None:
    class Broken(Suite):
        make_from = broken

    test(Suite())
    with pytest.raises(AssertionError):
        test(Broken())


ENDLESS: list[tuple[type[LineProvider], Callable[[Suite], None], str]] = [
    (Stubborn, lambda suite: suite.test_a_time_out_after_hand_over_is_uncertain(), "did not end"),
    (Serial, lambda suite: suite.test_a_cancelled_call_ends_and_leaves_the_provider_usable(), "5 requests at once"),
    (Waiting, lambda suite: suite.test_it_closes_while_it_is_busy(), "closing waits"),
    (Patient, lambda suite: suite.test_a_time_out_before_hand_over_is_an_error(), "did not end"),
    (Forgetful, lambda suite: suite.test_what_is_cut_short_before_hand_over_is_an_error(), "was not entered"),
]


@pytest.mark.parametrize(("broken", "test", "why"), ENDLESS, ids=[broken.__name__ for broken, _, _ in ENDLESS])
def test_what_never_ends_fails_and_holds_up_nobody(
    broken: type[LineProvider], test: Callable[[Suite], None], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Suite):
        make_from = broken

    test(Suite())
    for module in (attempts, conformance, harness):
        monkeypatch.setattr(module, "LIMIT", 0.3)
    with pytest.raises(AssertionError, match=why):
        test(Broken())


LEAKS = [
    (Quoting, Answer.REJECTED),
    (Raising, Answer.ERROR),
    (Logging, Answer.SUCCESS),
    (Reporting, Answer.SILENCE),
    (Showing, Answer.SUCCESS),
]


@pytest.mark.parametrize(("broken", "how"), LEAKS, ids=[broken.__name__ for broken, _ in LEAKS])
def test_what_gets_out_is_seen(broken: type[LineProvider], how: Answer, capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(Suite):
        make_from = broken

    Suite().test_nothing_of_a_message_or_a_secret_gets_out(how, capfd)
    with pytest.raises(AssertionError, match="can be seen outside"):
        Broken().test_nothing_of_a_message_or_a_secret_gets_out(how, capfd)


AUTHORS = """
from postwire.providers.mock import KIND, MockSettings
from postwire.testing import Answer, ProviderConformance


class TestMine(ProviderConformance):
    kind = "mock"
    declared = KIND
    answers = frozenset({Answer.SUCCESS})
    observes = restarts = False

    def make(self, context):
        return KIND.make(context, MockSettings())

    async def answer(self, how):
        pass
"""


def test_it_takes_nothing_but_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(AUTHORS, encoding="utf-8")
    plugins = [f"-pno:{name}" for name in ("asyncio", "xdist", "hypothesispytest", "cacheprovider")]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "--strict-markers", "-Werror", *plugins]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed, " in done.stdout
    assert "the counterpart cannot answer silence" in done.stdout
    assert "the counterpart does not tell what it received" in done.stdout
