"""`postwire demo`: a server of its own, sample messages of every channel, and what became of each."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Group
from postwire.cli.demo.breaker import breaker
from postwire.cli.demo.nodes import nodes
from postwire.cli.failure import ExitCode, Failed, from_client_error

if TYPE_CHECKING:
    from postwire.v1.dispatch_service_pb2 import DispatchRequest
    from postwire_client import Client, Message, PostwireError

CONFIG: Final = """\
[server]
listen = "127.0.0.1:0"

[delivery]
seed = 1
max_attempts = 3
backoff_base = "20ms"
backoff_max = "100ms"

[telemetry]
metrics_listen = "127.0.0.1:0"
log_format = "json"

[providers.sms-mms]
kind = "mock"
channels = ["sms", "mms"]
seed = 29
error_ratio = 0.25
rate_limited_ratio = 0.1
retry_after = "50ms"

[providers.email]
kind = "mock"
channels = ["email"]
seed = 93
error_ratio = 0.2
uncertain_ratio = 0.1
retry_after = "30s"
"""
"""Two mocks that fail now and then; their seeds make them fail in the same way each time. Retries come quickly, and the
one vendor that throttles for long is the last that is asked."""

SAMPLES: Final = "samples.jsonl"
"""What is sent: one `DispatchRequest` a line, as protobuf's JSON. The label `sample` says what it shows."""

LABEL: Final = "sample"
_TIMEOUT: Final = 10.0
_SOON: Final = timedelta(seconds=2)
"""What is due later than that is not waited for."""

_OUTCOMES: Final = ("success", "rate_limited", "error", "rejected", "uncertain")


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def demo(ctx: click.Context) -> None:
    """Show what Postwire does: a server with two mock providers, and messages of every channel.

    The server is a process of its own, with a store of its own, on a free port; both are gone at the end. The mocks
    send nothing, and fail the same way each time.
    """
    if ctx.invoked_subcommand:
        return
    from postwire.cli.demo.server import ServerFailed, serving

    try:
        with serving(CONFIG) as server:
            samples = read_samples()  # loads gRPC, while the server boots
            address = server.wait_until_serving()
            click.echo(f"A server on {address}, with two mock providers that fail now and then.\n")
            _show(address, samples)
            server.stop()
    except ServerFailed as failed:
        raise Failed(str(failed), ExitCode.BAD_CONFIG) from None
    click.echo("The server stopped by SIGTERM, with exit code 0.\n")
    click.echo(_next_steps(_program()))


demo.add_command(breaker)
demo.add_command(nodes)


def read_samples() -> list[DispatchRequest]:
    """The requests that the demo sends."""
    from google.protobuf import json_format

    from postwire.v1.dispatch_service_pb2 import DispatchRequest

    lines = resources.files(__package__).joinpath(SAMPLES).read_text(encoding="utf-8").splitlines()
    return [json_format.Parse(line, DispatchRequest()) for line in lines]


def _show(address: str, samples: Sequence[DispatchRequest]) -> None:
    from postwire_client import Client, PostwireError

    # One at a time, to its end, and without retries of ours: the draws of the mocks, and so what is shown, depend on
    # the order.
    with Client(address, timeout=_TIMEOUT, retry=False) as client:
        try:
            messages = _send_all(client, samples)
            _summarise(client, messages)
            _repeat(client, samples[0], messages[0])
        except PostwireError as error:
            raise from_client_error(error, server=address, timeout=_TIMEOUT, as_json=False) from None


def _send_all(client: Client, samples: Sequence[DispatchRequest]) -> list[Message]:
    """Send every sample, show a row for each, and return the records of those that were accepted."""
    from postwire.cli.show import print_table
    from postwire_client import PostwireError, TryAgain

    rows: list[tuple[str, ...]] = []
    accepted: list[Message] = []
    for number, sample in enumerate(samples, start=1):
        head = (str(number), sample.message.WhichOneof("content") or "", sample.message.labels[LABEL])
        try:
            message = client.dispatch(sample.message, request_id=sample.request_id, options=sample.options)
        except TryAgain:
            raise
        except PostwireError as error:
            rows.append((*head, "", "", "refused", _refusal(error)))
        else:
            message = _ended(client, message)
            accepted.append(message)
            rows.append((*head, *_result(message)))
    print_table(("no", "channel", "sample", "provider", "outcomes", "state", "why"), rows)
    return accepted


def _ended(client: Client, message: Message) -> Message:
    """The message as it stands once no attempt follows, or none for a while."""
    from postwire_client import MessageState

    end = time.monotonic() + _TIMEOUT
    while time.monotonic() < end:
        if message.state not in (MessageState.MESSAGE_STATE_QUEUED, MessageState.MESSAGE_STATE_SENDING):
            break
        if message.HasField("next_attempt_time") and _pause(message) > _SOON:
            break
        time.sleep(0.01)
        message = client.get_message(message.message_id)
    return message


def _pause(message: Message) -> timedelta:
    """How long after its last attempt the next one is due."""
    return message.next_attempt_time.ToDatetime(UTC) - message.update_time.ToDatetime(UTC)


def _refusal(error: PostwireError) -> str:
    reason = error.reason or error.code.name
    fields = ", ".join(one.field for one in error.violations)
    return f"{reason}: {fields}" if fields else reason


def _result(message: Message) -> tuple[str, ...]:
    from postwire.cli.show import time_of, word
    from postwire_client import MessageState, Outcome

    outcomes = ", ".join(word(Outcome, attempt.outcome) for attempt in message.attempts)
    why = message.attempts[-1].detail if message.attempts else ""
    ends = Counter(word(Outcome, one.outcome) for one in message.recipients)
    if len(ends) > 1:
        why = ", ".join(f"{count} {outcome}" for outcome, count in ends.items())
    if message.state == MessageState.MESSAGE_STATE_QUEUED and not message.attempts:
        why = f"not before {time_of(message, 'next_attempt_time')}"
    elif message.state == MessageState.MESSAGE_STATE_QUEUED:
        why += f": again in {_pause(message).total_seconds():.0f}s"
    return message.provider_name, outcomes, word(MessageState, message.state), why


def _summarise(client: Client, messages: Sequence[Message]) -> None:
    from postwire.cli.show import print_table, word
    from postwire_client import Channel, Outcome

    attempts = Counter(
        (attempt.provider_name, word(Outcome, attempt.outcome)) for message in messages for attempt in message.attempts
    )
    click.echo("\nAttempts of each provider, by their outcome:\n")
    print_table(
        ("provider", "channels", "seed", *_OUTCOMES),
        [
            (
                provider.name,
                ",".join(word(Channel, channel) for channel in provider.channels),
                str(provider.seed),
                *(str(attempts[provider.name, outcome]) for outcome in _OUTCOMES),
            )
            for provider in client.list_providers()
        ],
    )


def _repeat(client: Client, sample: DispatchRequest, first: Message) -> None:
    again = client.dispatch(sample.message, request_id=sample.request_id, options=sample.options)
    if again != first:
        raise Failed(f"{sample.request_id} was repeated, and another record came back", ExitCode.REFUSED)
    click.echo(f"\nDispatch with the request id {sample.request_id} again: the same message came back, sent once.")
    if client.get_message(first.message_id) != first:
        raise Failed(f"{first.message_id} was read, and another record came back", ExitCode.REFUSED)
    click.echo(f"GetMessage of {first.message_id}: the same record.")


def _program() -> str:
    """How this command was called, as one would call it again."""
    called = Path(sys.argv[0])
    if called.name != "postwire":
        return "python -m postwire"
    found = shutil.which("postwire")
    return "postwire" if found and Path(found).resolve() == called.resolve() else str(called)


def _next_steps(program: str) -> str:
    return f"""\
Next:
  {program} serve
  {program} send sms --to +15005550006 --body Hello
  {program} providers list
  {program} messages get ID
  {program} demo breaker
  grpcurl -plaintext 127.0.0.1:50051 list"""
