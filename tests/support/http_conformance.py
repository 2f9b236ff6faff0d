"""What every kind that calls a vendor over HTTP keeps to, beside what every provider does."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final
from unittest import mock

import pytest
from tests.support.http_counterpart import HEADLESS, SILENT, HttpCall, HttpCounterpart, HttpReply

from postwire.core.message import OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context, Provider
from postwire.providers.http.vendor import HttpProvider
from postwire.testing import Answer, BlackHole, ProviderConformance, Request
from postwire.testing.attempts import LIMIT
from postwire.testing.harness import runs

QUOTED: Final = " to +15005550187 <zq9canary7@example.com>: 'zq9canary7'"
"""What refusals quote, as vendors do. Nothing of it may be seen."""

METHODS: Final = ("GET", "PUT", "POST", "DELETE", "PATCH")
HUGE: Final = 10 * 1024 * 1024

FAULTS: Final[Mapping[str, tuple[HttpReply, Outcome]]] = {
    "400": (HttpReply(400, b"no"), Outcome.ERROR),
    "404": (HttpReply(404), Outcome.MISCONFIGURED),
    "405": (HttpReply(405), Outcome.MISCONFIGURED),
    "408": (HttpReply(408), Outcome.UNCERTAIN),
    "409": (HttpReply(409), Outcome.ERROR),
    "418": (HttpReply(418), Outcome.ERROR),
    "422": (HttpReply(422), Outcome.ERROR),
    "425": (HttpReply(425), Outcome.UNCERTAIN),
    "429": (HttpReply(429), Outcome.RATE_LIMITED),
    "500": (HttpReply(500), Outcome.UNCERTAIN),
    "502": (HttpReply(502), Outcome.UNCERTAIN),
    "503": (HttpReply(503), Outcome.UNCERTAIN),
    "503 with Retry-After": (HttpReply(503).with_headers(Retry_After="7"), Outcome.RATE_LIMITED),
    "504": (HttpReply(504), Outcome.UNCERTAIN),
    "401": (HttpReply(401), Outcome.MISCONFIGURED),
    "402": (HttpReply(402), Outcome.MISCONFIGURED),
    "403": (HttpReply(403), Outcome.MISCONFIGURED),
    **{
        str(status): (HttpReply(status).with_headers(Location="/elsewhere"), Outcome.MISCONFIGURED)
        for status in (301, 302, 307, 308)
    },
    "303": (HttpReply(303).with_headers(Location="/elsewhere"), Outcome.UNCERTAIN),
    "cut off before the head": (HEADLESS, Outcome.UNCERTAIN),
}
"""Answers that mean the same whoever gives them, by what they are called here."""


class HttpConformance(ProviderConformance):
    """Derive from this, and say what the vendor's answers look like. Each of them is `taken` apart from a request."""

    success: ClassVar[HttpReply]
    """That the message was taken."""
    probed: ClassVar[HttpReply] = HttpReply.of_json(200, {})
    """A good answer to `HttpVendor.probe`."""
    replies: ClassVar[Mapping[Answer, HttpReply]]
    """Answers in the vendor's form, by what they mean. They quote `QUOTED`."""
    codes: ClassVar[Mapping[str, Outcome]] = {}
    """What the vendor's codes mean, as its pages say."""
    faults: ClassVar[Mapping[str, Outcome | None]] = {}
    """Which of `FAULTS` mean something else, of a vendor's own; None: cannot be."""
    provider_faults: ClassVar[frozenset[str]] = frozenset()
    """Those of `codes` that end `ERROR` by a fault of the vendor's."""

    def code_reply(self, code: str) -> HttpReply:
        """An answer with that code, as the vendor gives it."""
        raise NotImplementedError

    def make_from(self, context: Context, url: str) -> Provider:
        """Make a provider that calls `url`, with the vendor's path behind it."""
        raise NotImplementedError

    def read(self, call: HttpCall) -> Request:
        """What a request asks for."""
        raise NotImplementedError

    def is_send(self, call: HttpCall) -> bool:
        """Whether a request asks for something to be sent."""
        return call.method == "POST"

    # What `ProviderConformance` asks for.

    answers = frozenset(Answer) - {Answer.DEFERRED}
    patience = 0.02  # it waits for an answer for as long as it is let

    def prepare(self) -> None:
        """See `ProviderConformance.prepare`."""
        self.counterpart = HttpCounterpart()
        self._how = Answer.SUCCESS
        self._received: list[Request] = []
        self._read = 0  # so many of the calls

    def make(self, context: Context) -> Provider:
        """See `ProviderConformance.make`."""
        port = self._hole.port if self._how is Answer.UNREACHABLE else self.counterpart.port
        return self.make_from(context, f"http://127.0.0.1:{port}")

    async def start(self) -> None:
        """See `ProviderConformance.start`."""
        self._hole = BlackHole()
        await self.counterpart.start()
        await self.answer(self._how)

    async def stop(self) -> None:
        """See `ProviderConformance.stop`."""
        await self.counterpart.stop()
        self._hole.close()

    async def answer(self, how: Answer) -> None:
        """See `ProviderConformance.answer`."""
        self._how = how
        special = {Answer.SUCCESS: self.success, Answer.SILENCE: SILENT, Answer.CUT_OFF: HEADLESS}
        self.counterpart.reply = special.get(how) or self.replies.get(how, HEADLESS)

    def received(self) -> Sequence[Request]:
        """See `ProviderConformance.received`."""
        calls = self.counterpart.calls[self._read :]
        self._read += len(calls)
        self._received += map(self.read, filter(self.is_send, calls))
        return tuple(self._received)

    # What is asked beside that.

    async def _result(self, reply: HttpReply, message: OutboundMessage | None = None) -> DispatchResult:
        """The result of an attempt that meets a reply; exactly one request is made."""
        async with self._provider() as provider:
            self.counterpart.reply = reply
            result = await self._begin(provider, message or self._messages()[0]).end()
        assert len(self.received()) == 1
        assert QUOTED not in repr(result)
        return result

    @pytest.mark.parametrize("fault", FAULTS)
    @runs
    async def test_an_answer_without_a_code_goes_by_its_status(self, fault: str) -> None:
        reply, outcome = FAULTS[fault]
        expected = self.faults.get(fault, outcome)
        if expected is None:
            pytest.skip("it means nothing by itself here")
        result = await self._result(reply)
        assert result.outcome is expected
        if expected is Outcome.ERROR:
            assert not result.provider_fault, "such a refusal says nothing of the vendor's health"

    @runs
    async def test_each_code_has_its_outcome(self) -> None:
        async with self._provider() as provider:
            for code, outcome in self.codes.items():
                self.counterpart.reply = self.code_reply(code)
                result = await self._begin(provider, self._messages()[0]).end()
                assert (code, result.outcome) == (code, outcome)
                assert result.error_code == code
                assert result.detail
                if outcome is Outcome.ERROR:
                    assert result.provider_fault is (code in self.provider_faults), code
        assert len(self.received()) == len(self.codes)

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [("120", 120.0), ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0), ("soon", None), ("-3", None), ("", None)],
    )
    @runs
    async def test_who_throttles_is_left_alone_for_as_long_as_it_asks(self, header: str, seconds: float | None) -> None:
        reply = self.replies[Answer.RATE_LIMITED]
        result = await self._result(reply.with_headers(Retry_After=header) if header else reply)
        assert (result.outcome, result.retry_after) == (Outcome.RATE_LIMITED, seconds)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b'"x"', b"{", b"\xff\xfe", b"[" * 100_000])
    @runs
    async def test_garbage_with_200_is_uncertain(self, body: bytes) -> None:
        assert (await self._result(HttpReply(200, body))).outcome is (self.faults.get("garbage") or Outcome.UNCERTAIN)

    @runs
    async def test_what_is_cut_off_in_its_body_is_uncertain_but_where_the_head_says_all(self) -> None:
        body = self.success.body or b"{}"
        async with self._provider() as provider:
            for status, outcome in ((200, Outcome.UNCERTAIN), (201, Outcome.SUCCESS), (202, Outcome.SUCCESS)):
                self.counterpart.reply = replace(self.success, status=status, body=body, cut_at=1)
                result = await self._begin(provider, self._messages()[0]).end()
                assert (status, result.outcome) == (status, self.faults.get(f"cut off {status}") or outcome)
        assert len(self.received()) == 3

    @runs
    async def test_an_answer_of_ten_megabytes_is_not_read_to_its_end(self) -> None:
        async with self._provider() as provider:
            self.counterpart.reply = HttpReply(200, b"x" * HUGE)
            result = await self._begin(provider, self._messages()[0]).end()
            assert result.outcome is (self.faults.get("huge") or Outcome.UNCERTAIN)
            self.counterpart.reply = self.success
            self._is_success(await self._begin(provider, self._messages()[0]).end())
        assert len(self.received()) == 2
        assert self.counterpart.connections == 2, "what is left of an answer is not read, so its connection ends"

    @runs
    async def test_a_connection_is_used_again(self) -> None:
        async with self._provider() as provider:
            for _ in range(3):
                await self._succeed(provider, self._messages()[0])
        assert self.counterpart.connections == 1

    @pytest.mark.parametrize("method", METHODS)
    @runs
    async def test_nothing_is_sent_again_by_any_method(self, method: str) -> None:
        """Not even on a connection that was used before, where a library takes the liberty."""
        async with self._provider() as provider:
            assert isinstance(provider, HttpProvider)
            vendor, real = provider._vendor, provider._vendor.request
            await self._succeed(provider, self._messages()[0])
            before = len(self.counterpart.calls)
            with mock.patch.object(vendor, "request", lambda *given: replace(real(*given), method=method)):
                self.counterpart.replies = [HEADLESS]
                result = await self._begin(provider, self._messages()[0]).end()
            assert result.outcome is Outcome.UNCERTAIN
            assert [call.method for call in self.counterpart.calls[before:]] == [method]

    @runs
    async def test_a_check_tells_a_wrong_key_from_a_wrong_host(self) -> None:
        async with self._provider() as provider:
            self.counterpart.reply = self.probed
            assert (await provider.check()).ok
            self.counterpart.reply = HttpReply(401, QUOTED.encode())
            refused = await provider.check()
            assert (refused.ok, refused.misconfigured) == (False, True)
            self.counterpart.reply = HttpReply(500, QUOTED.encode())
            failing = await provider.check()
            assert (failing.ok, failing.misconfigured) == (False, False)
            await self.stop()
            gone = await provider.check()
            assert (gone.ok, gone.misconfigured) == (False, False)
            assert not any(QUOTED in one.detail for one in (refused, failing, gone))
            assert len({one.detail for one in (refused, failing, gone)}) == 3
        assert not self.received()

    @runs
    async def test_a_check_and_an_attempt_name_what_does_not_resolve(self) -> None:
        provider = self.make_from(Context("tried", self.declared.channels, lambda: 1, LIMIT), "http://nowhere.invalid")
        try:
            with mock.patch("socket.getaddrinfo", side_effect=socket.gaierror(socket.EAI_NONAME, "no such name")):
                health = await provider.check()
                assert "name" in health.detail
                result = await self._begin(provider, self._messages()[0]).end()
            assert result.outcome is Outcome.ERROR
        finally:
            await provider.close()  # type: ignore[attr-defined]
