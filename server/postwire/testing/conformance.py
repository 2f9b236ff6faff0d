"""The tests. What they hold a provider to is said in `postwire.providers.base` and docs/adr/0024."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from postwire.config.providers import own_keys
from postwire.core import canonical
from postwire.core.message import Channel, Email
from postwire.core.outcome import Outcome
from postwire.providers.base import Kind, ProviderHealth
from postwire.providers.capabilities import dedup_window_of
from postwire.providers.registry import close
from postwire.testing import messages
from postwire.testing.attempts import LIMIT, logged, shown_by
from postwire.testing.counterpart import Answer
from postwire.testing.harness import Harness, later, runs, text_of, unsuitable

_NOT_ANSWERS: Final = frozenset({Answer.SILENCE, Answer.UNREACHABLE})
_UNSEEN: Final = frozenset({Answer.ERROR, Answer.DEFERRED, Answer.REJECTED, Answer.RATE_LIMITED, Answer.MISCONFIGURED})
"""What may be said before there is a request."""


class ProviderConformance(Harness):
    """Derive from this, in a class whose name begins with `Test`. See `postwire.testing`."""

    # What it is.

    @runs
    async def test_it_is_what_it_was_made_as(self) -> None:
        async with self._provider() as provider:
            assert (provider.name, provider.kind, provider.channels) == ("tried", self.kind, self.declared.channels)

    @runs
    async def test_channels_are_those_of_its_declaration_in_their_order(self) -> None:
        for channels in (self.declared.channels[:1], self.declared.channels[::-1]):
            async with self._provider(channels=channels) as provider:
                assert provider.channels == channels

    def test_a_configuration_can_have_its_settings(self) -> None:
        assert isinstance(self.declared, Kind)
        assert self.declared.settings.__dataclass_params__.frozen
        own_keys(self.declared.settings)

    @runs
    async def test_a_check_says_that_it_can_be_reached_and_sends_nothing(self) -> None:
        async with self._provider() as provider:
            health = await asyncio.wait_for(provider.check(), LIMIT)
            assert isinstance(health, ProviderHealth)
            assert health.ok, health.detail
        assert not self.received()

    @runs
    async def test_it_closes_without_having_been_used(self) -> None:
        async with self._provider():
            pass

    # What it sends.

    @pytest.mark.parametrize("sample", messages.SAMPLES)
    @runs
    async def test_it_sends_or_says_that_it_cannot(self, sample: str) -> None:
        """Every content: of each channel, in every script, as large as the service takes."""
        self._needs_channel(Channel(sample.partition("-")[0]))
        content = messages.SAMPLES[sample]
        message = messages.labelled(content)
        as_given = canonical.encode_message(message)
        async with self._provider() as provider:
            if unsuitable(provider, message):
                pytest.skip("it says that it cannot carry this")
            await self._succeed(provider, message)
        assert canonical.encode_message(message) == as_given, "it has changed a message that others may be given"
        assert len(self.received()) == self.observes
        for request in self.received():
            assert request.text in (None, text_of(content))
            if isinstance(content, Email) and request.recipients is not None:
                assert sorted(request.recipients) == sorted(content.recipients)

    @runs
    async def test_it_sends_to_the_recipients_that_it_is_asked_to_send_to(self) -> None:
        self._needs_channel(Channel.EMAIL)
        message, positions = messages.labelled(messages.THREE), (0, 2)
        async with self._provider() as provider:
            if unsuitable(provider, message, positions):
                pytest.skip("it says that it cannot send to some recipients alone")
            await self._succeed(provider, message, positions=positions)
        for request in self.received():
            if request.recipients is not None:
                assert sorted(request.recipients) == ["a@example.com", "c@example.com"]

    @runs
    async def test_identical_attempts_make_identical_bodies(self) -> None:
        """After a restart, and an hour later. A validity may differ where the vendor compares nothing."""
        self._needs_observation()
        for message in self._messages(messages.PRIVATE):
            before = len(self.received())
            for hours in (0, 1):
                async with self._provider() as provider:
                    if not unsuitable(provider, message):
                        age = hours * 3600 if dedup_window_of(provider) else 0
                        with later(hours * 3600):
                            await self._succeed(provider, message, key="one", age=age)
            bodies = [request.body for request in self.received()[before:]]
            assert all(body == bodies[0] for body in bodies), "the bodies of identical attempts differ"

    @runs
    async def test_a_vendor_that_deduplicates_gets_the_key(self) -> None:
        self._needs_observation()
        (message, *_) = self._messages()
        async with self._provider() as provider:
            if not dedup_window_of(provider):
                pytest.skip("its vendor does not deduplicate, by its dedup_window")
            for key in ("one", "one", "other"):
                await self._succeed(provider, message, key=key)
        assert [request.key for request in self.received()] == ["one", "one", "other"]

    @runs
    async def test_calls_run_side_by_side(self) -> None:
        sent = self._messages() * 10
        async with self._provider() as provider:
            calls = [self._begin(provider, message, key=f"key-{i}") for i, message in enumerate(sent)]
            for call in calls:
                self._is_success(await call.end())
        if self.observes:
            assert len(self.received()) == len(sent)

    # How attempts end.

    @pytest.mark.parametrize("how", [one for one in Answer if one not in _NOT_ANSWERS], ids=lambda one: one.value)
    @runs
    async def test_each_answer_has_its_outcome(self, how: Answer) -> None:
        self._needs(how)
        async with self._provider(how) as provider:
            for message in self._messages():
                call = self._begin(provider, message)
                assert (await call.end()).outcome is how.outcome
                # An exception is taken as `UNCERTAIN`, and logged as a fault of the provider's code.
                assert call.raised is None, f"it raised {type(call.raised).__name__}"

    @pytest.mark.parametrize("how", list(Answer), ids=lambda one: one.value)
    @runs
    async def test_an_attempt_makes_one_request(self, how: Answer) -> None:
        self._needs(how)
        self._needs_observation()
        async with self._provider(how) as provider:
            for message in self._messages():
                before = len(self.received())
                await self._outcome(self._begin(provider, message), how, before)
                made = len(self.received()) - before
                assert made <= 1, f"{made} requests were made of one attempt"
                if how is Answer.UNREACHABLE:
                    assert made == 0
                elif how not in _UNSEEN:
                    assert made == 1

    @runs
    async def test_a_time_out_before_hand_over_is_an_error(self) -> None:
        """By `connect_timeout`, which the provider minds."""
        self._needs(Answer.UNREACHABLE)
        async with self._provider(Answer.UNREACHABLE) as provider:
            for message in self._messages():
                call = self._begin(provider, message)
                assert (await call.end()).outcome is Outcome.ERROR
        assert not self.received()

    @runs
    async def test_what_is_cut_short_before_hand_over_is_an_error(self) -> None:
        self._needs(Answer.UNREACHABLE)
        async with self._provider(Answer.UNREACHABLE, connect_timeout=1000 * LIMIT) as provider:
            call = self._begin(provider, self._messages()[0])
            await call.until_connecting()
            assert await call.cut_short(self.patience) is Outcome.ERROR
        assert not self.received()

    @runs
    async def test_a_time_out_after_hand_over_is_uncertain(self) -> None:
        """By the provider's own, if it has one that is short enough, or the server's."""
        self._needs(Answer.SILENCE)
        async with self._provider(Answer.SILENCE) as provider:
            for message in self._messages():
                before = len(self.received())
                outcome = await self._outcome(self._begin(provider, message), Answer.SILENCE, before)
                assert outcome is Outcome.UNCERTAIN

    @runs
    async def test_a_cancelled_call_ends_and_leaves_the_provider_usable(self) -> None:
        self._needs(Answer.SILENCE)
        message = self._messages()[0]
        async with self._provider(Answer.SILENCE) as provider:
            calls = [self._begin(provider, message, key=f"gone-{i}") for i in range(5)]
            await self._until_received(5, calls)
            await self.answer(Answer.SUCCESS)
            other = self._begin(provider, message, key="stays")
            for call in calls:
                await call.cut_short(0)
            self._is_success(await other.end())
            await self._succeed(provider, message, key="after")

    @runs
    async def test_it_closes_while_it_is_busy(self) -> None:
        self._needs(Answer.SILENCE)
        async with self._provider(Answer.SILENCE, closes=False) as provider:
            call = self._begin(provider, self._messages()[0])
            await self._until_received(1, [call])
            closing = asyncio.ensure_future(close(provider))
            await asyncio.wait({closing}, timeout=LIMIT)
            assert closing.done(), "closing waits for a call"
            closing.result()
            assert await call.cut_short(self.patience) is Outcome.UNCERTAIN

    @runs
    async def test_it_outlives_a_restart_of_the_counterpart(self) -> None:
        self._needs_restarts()
        message = self._messages()[0]
        async with self._provider() as provider:
            await self._succeed(provider, message)
            await self.restart()
            await self._recover(provider, message)

    @runs
    async def test_it_is_an_error_that_nobody_is_there(self) -> None:
        self._needs_restarts()
        message = self._messages()[0]
        async with self._provider() as provider:
            await self.stop()
            assert (await self._begin(provider, message).end()).outcome is Outcome.ERROR
            assert not self.received()
            await self.start()
            await self._recover(provider, message)

    @pytest.mark.parametrize("how", list(Answer), ids=lambda one: one.value)
    def test_nothing_of_a_message_or_a_secret_gets_out(self, how: Answer, capfd: pytest.CaptureFixture[str]) -> None:
        """Not in what is returned, raised, logged or printed, by an attempt or a check."""
        self._needs(how)
        with logged(self.log_level) as lines:
            self._test_leaks(how, lines)
        lines.extend(capfd.readouterr())
        seen = "\n".join(lines).lower()
        for word in (*messages.PRIVATE_WORDS, *self.secrets):
            # Not with the text itself, which would be in the report of the test.
            assert seen.count(word.lower()) == 0, "something of the message, or a secret, can be seen outside"

    @runs
    async def _test_leaks(self, how: Answer, lines: list[str]) -> None:
        async with self._provider(how) as provider:
            for message in self._messages(messages.PRIVATE):
                if (why := unsuitable(provider, message)) is not None:
                    lines.append(repr(why))
                    continue
                before, call = len(self.received()), self._begin(provider, message)
                await self._outcome(call, how, before)
                lines.append(call.shown())
            lines.append(repr(provider))
            if how not in _NOT_ANSWERS:
                lines.append(await shown_by(asyncio.wait_for(provider.check(), LIMIT)))
