"""`postwire demo`: a server of its own, sample messages of every channel, and what became of each."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.failure import ExitCode, Failed, from_client_error

if TYPE_CHECKING:
    from postwire.v1.dispatch_service_pb2 import DispatchRequest
    from postwire_client import Client, Message, PostwireError

CONFIG: Final = """\
[server]
listen = "127.0.0.1:0"

[delivery]
seed = 1

[telemetry]
metrics_listen = "127.0.0.1:0"
log_format = "json"

[providers.sms-mms]
kind = "mock"
channels = ["sms", "mms"]
seed = 29
error_ratio = 0.25
rate_limited_ratio = 0.1

[providers.email]
kind = "mock"
channels = ["email"]
seed = 87
error_ratio = 0.2
uncertain_ratio = 0.1
"""
"""Two mocks that fail now and then; their seeds make them fail in the same way each time."""

SAMPLES: Final = "samples.jsonl"
"""What is sent: one `DispatchRequest` a line, as protobuf's JSON. The label `sample` says what it shows."""

LABEL: Final = "sample"
_TIMEOUT: Final = 10.0
_OUTCOMES: Final = ("success", "rate_limited", "error", "rejected", "uncertain")


@click.command()
def demo() -> None:
    """Show what Postwire does: a server with two mock providers, and messages of every channel.

    The server is a process of its own, with a store of its own, on a free port; both are gone at the end. The mocks
    send nothing, and fail the same way each time.
    """
    from postwire.cli.demo_server import ServerFailed, running

    with tempfile.TemporaryDirectory(prefix="postwire-demo-") as folder:
        config = Path(folder) / "demo.toml"
        config.write_text(CONFIG, encoding="utf-8")
        command = [sys.executable, "-m", "postwire", "serve", "--config", str(config)]
        try:
            with running(command, _environ(Path(folder) / "demo.db")) as server:
                samples = read_samples()  # loads gRPC, while the server boots
                address = server.wait_until_serving()
                click.echo(f"A server on {address}, with two mock providers that fail now and then.\n")
                _show(address, samples)
                server.stop()
        except ServerFailed as failed:
            raise Failed(str(failed), ExitCode.BAD_CONFIG) from None
    click.echo("The server stopped by SIGTERM, with exit code 0.\n")
    click.echo(_next_steps(_program()))


def read_samples() -> list[DispatchRequest]:
    """The requests that the demo sends."""
    from google.protobuf import json_format

    from postwire.v1.dispatch_service_pb2 import DispatchRequest

    lines = resources.files("postwire.cli").joinpath(SAMPLES).read_text(encoding="utf-8").splitlines()
    return [json_format.Parse(line, DispatchRequest()) for line in lines]


def _show(address: str, samples: Sequence[DispatchRequest]) -> None:
    from postwire_client import Client, PostwireError

    # One at a time and without retries: the draws of the mocks, and so what is shown, depend on the order.
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
            accepted.append(message)
            rows.append((*head, *_result(message)))
    print_table(("no", "channel", "sample", "provider", "outcome", "state", "why"), rows)
    return accepted


def _refusal(error: PostwireError) -> str:
    reason = error.reason or error.code.name
    fields = ", ".join(one.field for one in error.violations)
    return f"{reason}: {fields}" if fields else reason


def _result(message: Message) -> tuple[str, ...]:
    from postwire.cli.show import word
    from postwire_client import MessageState, Outcome

    why = message.attempts[-1].detail if message.attempts else ""
    ends = Counter(word(Outcome, one.outcome) for one in message.recipients)
    if len(ends) > 1:
        why = ", ".join(f"{count} {outcome}" for outcome, count in ends.items())
    return message.provider_name, word(Outcome, message.outcome), word(MessageState, message.state), why


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


def _environ(store: Path) -> Mapping[str, str]:
    """This process's environment, without settings for servers: they would win over the demo's."""
    kept = {name: value for name, value in os.environ.items() if not re.match("POSTWIRE_[A-Z0-9_]+__", name)}
    return {**kept, "POSTWIRE_STORE__PATH": str(store)}


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
  grpcurl -plaintext 127.0.0.1:50051 list"""
