"""`postwire serve`, whose mocks write down what comes to them: `HANDED_LOG` names the file. All else is the product's.

A line is one `write` to a file that is opened for appending, and so it is there though the process is killed in the
next moment: one before the mock looks at a message, and one once it has answered.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.nodes.ledger import Handed, attempt_of

from postwire.core.message import Email, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome
from postwire.providers.base import Context
from postwire.providers.handover import Handover
from postwire.providers.mock import KIND, MockProvider, MockSettings

LOG = "HANDED_LOG"
REQUEST_ID = "request-id"
"""The label that says which request a message is of."""


class WritingMock(MockProvider):
    """The mock, with a log of its calls."""

    def __init__(self, context: Context, settings: MockSettings) -> None:
        super().__init__(context, settings)
        self._log = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
        """See `Provider.send`."""
        count = len(message.content.recipients) if isinstance(message.content, Email) else 1
        positions = range(count) if handover.positions is None else handover.positions
        call = (time.time_ns(), self.name, handover.reference, message.labels[REQUEST_ID])
        self._write(call, dict.fromkeys(positions))
        result = await super().send(message, handover)
        each = [one.outcome for one in result.recipients] or [result.outcome] * len(positions)
        self._write(call, dict(zip(positions, each, strict=True)))
        return result

    def _write(self, call: tuple[Any, ...], answers: Mapping[int, Outcome | None]) -> None:
        answered = [(position, outcome and outcome.value) for position, outcome in answers.items()]
        os.write(self._log, json.dumps([*call, answered]).encode() + b"\n")


def handed_in(log: Path, node: str) -> Iterator[Handed]:
    """The messages that came to the mocks of a node."""
    found: dict[tuple[int, str], Handed] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        moment, provider, reference, request_id, answers = json.loads(line)
        message_id, attempt = attempt_of(reference)
        heard = {position: outcome and Outcome(outcome) for position, outcome in answers}
        found[moment, reference] = Handed(message_id, attempt, provider, request_id, moment, heard, node)
    yield from found.values()


def run() -> None:
    """What a fork runs."""
    from postwire import app
    from postwire.cli.serve import serve
    from postwire.providers.builtin import KINDS

    kinds = MappingProxyType({**KINDS, "mock": replace(KIND, make=WritingMock)})
    setattr(app, "KINDS", kinds)  # noqa: B010  mypy refuses the plain assignment
    sys.exit(serve.main(args=[], standalone_mode=False))
