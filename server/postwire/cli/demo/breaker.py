"""`postwire demo breaker`: one provider fails, its breaker opens and closes again, and the other never notices."""

from __future__ import annotations

import queue
import time
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Command
from postwire.cli.demo.timeline import Slice, Timeline
from postwire.cli.failure import ExitCode, Failed, from_client_error

if TYPE_CHECKING:
    from postwire.cli.demo.server import Event
    from postwire_client import Client, OutboundMessage

FAILING: Final = "sms-mms"
UNTOUCHED: Final = "email"
CHANNELS: Final = {FAILING: "sms", UNTOUCHED: "email"}
"""The providers, and what is sent through them."""

CONFIG: Final = """\
[server]
listen = "127.0.0.1:0"
max_wait = "1s"

[delivery]
seed = 1
max_attempts = 20
backoff_base = "1s"
backoff_max = "2s"

[telemetry]
metrics_listen = ""
log_format = "json"

[providers.sms-mms]
kind = "mock"
channels = ["sms", "mms"]
latency = "20ms"

[providers.sms-mms.breaker]
window_calls = 10
minimum_calls = 5
open_for = "800ms"
close_after = 3

[providers.email]
kind = "mock"
channels = ["email"]
latency = "20ms"
"""
"""Two mocks whose outcomes the demo sets, and a breaker that opens for a second rather than for minutes."""

SLICE: Final = 0.1
"""Seconds. In each of them one SMS and one email are sent."""

FAILS_AT: Final = 10
WELL_AT: Final = 30
"""In which slice the one provider begins to fail, and in which it stops."""

AFTERWARDS: Final = 10
"""How many slices follow once its breaker is closed again."""

MOST: Final = 70
"""How many slices there are at the most. A terminal has 80 columns."""

_TIMEOUT: Final = 5.0
_PATIENCE: Final = 3.0
"""Seconds that parked messages have to be sent once the breaker is closed."""


@click.command(cls=Command)
def breaker() -> None:
    """Show how a provider that fails is kept from hurting the others.

    SMS and email are sent at a steady pace. Then every SMS fails: its provider's breaker opens, and what comes is
    parked. When it works again, the breaker lets a few through, closes, and all are sent. Email goes on all the while.
    """
    from postwire.cli.demo.server import ServerFailed, serving

    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    try:
        with serving(CONFIG, events.put) as server:
            from postwire_client import Client, PostwireError  # loads gRPC, while the server boots

            address = server.wait_until_serving()
            click.echo(f"A server on {address}. In each {SLICE:g}s, it gets an SMS and an email.\n")
            with Client(address, timeout=_TIMEOUT, retry=False) as client:
                try:
                    story = _Story(client, events)
                    with Timeline(tuple(CHANNELS)) as timeline:
                        story.play(timeline)
                    story.summarise()
                except PostwireError as error:
                    raise from_client_error(error, server=address, timeout=_TIMEOUT, as_json=False) from None
            server.stop()
    except ServerFailed as failed:
        raise Failed(str(failed), ExitCode.BAD_CONFIG) from None


class _Breakers:
    """The state of every breaker, as the server's log has it."""

    def __init__(self, events: queue.SimpleQueue[Event], began: float) -> None:
        """`began` is when the story did, in seconds since the epoch."""
        self.opened = 0
        self.open_for = 0.0
        self._events = events
        self._began = began
        self._states: dict[str, str] = {}
        self._open_since = 0.0

    def state(self, provider: str) -> str:
        """As far as the log has been read."""
        return self._states.get(provider, "closed")

    def follow(self, timeline: Timeline) -> dict[str, str]:
        """Read on in the log, and report each change; returns the states that are worth showing now.

        A breaker that was half-open since the last look is shown as that, however short it was.
        """
        seen: dict[str, str] = {}
        while not self._events.empty():
            event = self._events.get()
            if event.get("event") != "breaker":
                continue
            provider, source, target = event["provider_name"], event["from"], event["to"]
            at = datetime.fromisoformat(event["time"]).timestamp() - self._began
            timeline.report(at, f"the breaker of {provider}: {source} -> {target}")
            self._states[provider] = target
            if "half_open" in (source, target):
                seen[provider] = "half_open"
            if target == "open":
                self.opened += 1
                self._open_since = at
            elif source == "open":
                self.open_for += at - self._open_since
        return self._states | seen


class _Story:
    """See the module."""

    def __init__(self, client: Client, events: queue.SimpleQueue[Event]) -> None:
        from postwire_client import Email, OutboundMessage, Sms

        self._client = client
        self._began = time.time()
        self._breakers = _Breakers(events, self._began)
        self._messages = {
            FAILING: OutboundMessage(sms=Sms(to="+12025550101", body="Hello")),
            UNTOUCHED: OutboundMessage(email=Email(to=["ada@example.com"], subject="Hello", text="Hello")),
        }
        self._answers: dict[str, Counter[Slice]] = {provider: Counter() for provider in self._messages}

    def play(self, timeline: Timeline) -> None:
        """Send messages, have one provider fail, and see it recover."""
        start, end = time.monotonic(), MOST
        for number in range(MOST):
            if number == end:
                break
            if number in (FAILS_AT, WELL_AT):
                self._steer(timeline, fails=number == FAILS_AT)
            answers = {provider: self._send(message) for provider, message in self._messages.items()}
            time.sleep(max(0.0, start + (number + 1) * SLICE - time.monotonic()))
            states = self._breakers.follow(timeline)
            for provider, answer in answers.items():
                self._answers[provider][answer] += 1
                timeline.add(provider, answer, states.get(provider, "closed"))
            timeline.draw()
            if number > WELL_AT and end == MOST and self._breakers.state(FAILING) == "closed":
                end = number + 1 + AFTERWARDS
        self._wait_for_the_parked()
        self._breakers.follow(timeline)
        timeline.draw()

    def summarise(self) -> None:
        """Say what became of every message."""
        from postwire.cli.show import print_table, word
        from postwire_client import Channel, MessageState, Outcome

        rows: list[tuple[str, ...]] = []
        every = list(self._client.list_messages())
        for provider, channel in CHANNELS.items():
            ours = [message for message in every if word(Channel, message.channel) == channel]
            sent = sum(message.state == MessageState.MESSAGE_STATE_SENT for message in ours)
            failed = sum(attempt.outcome == Outcome.OUTCOME_ERROR for message in ours for attempt in message.attempts)
            counts = (len(ours), sent, *(self._answers[provider][slice] for slice in Slice), failed)
            rows.append((channel, provider, *map(str, counts)))
        click.echo()
        print_table(("channel", "provider", "messages", "sent", "at_once", "failed", "parked", "errors"), rows)
        opened, open_for = self._breakers.opened, self._breakers.open_for
        times = "once" if opened == 1 else f"{opened} times"
        click.echo(f"\nThe breaker of {FAILING} opened {times}, and was open for {open_for:.1f}s.")
        at_once, total = self._answers[UNTOUCHED][Slice.SENT], self._answers[UNTOUCHED].total()
        click.echo(f"Email was {'untouched' if at_once == total else 'held up'}: {at_once} of {total} sent at once.")
        lost = sum(message.state != MessageState.MESSAGE_STATE_SENT for message in every)
        if lost:
            raise Failed(f"{lost} of {len(every)} messages were not sent", ExitCode.REFUSED)
        click.echo(f"Nothing was lost: all {len(every)} messages are sent.")

    def _steer(self, timeline: Timeline, *, fails: bool) -> None:
        self._client.update_mock_provider(FAILING, error_ratio=float(fails))
        timeline.report(
            time.time() - self._began, f"{FAILING} {'begins to fail, each time' if fails else 'works again'}"
        )

    def _send(self, message: OutboundMessage) -> Slice:
        """Send a message, and return what has become of it at once."""
        from postwire_client import MessageState, Outcome

        record = self._client.dispatch(message)
        if record.state == MessageState.MESSAGE_STATE_SENT:
            return Slice.SENT
        return Slice.FAILED if record.outcome == Outcome.OUTCOME_ERROR else Slice.PARKED

    def _wait_for_the_parked(self) -> None:
        from postwire_client import MessageFilter, MessageState

        waiting = MessageFilter(states=[MessageState.MESSAGE_STATE_QUEUED, MessageState.MESSAGE_STATE_SENDING])
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and any(self._client.list_messages(waiting, page_size=1)):
            time.sleep(SLICE)
