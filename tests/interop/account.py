"""What the example of a client says it has seen, and whether that is true."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from tests.e2e.server import Server

STEPS: Final = [*("dispatch",) * 3, "forced", "invalid", "conflict", "not_found", "retry", "stream", "watch"]
LIFE: Final = ["QUEUED", "SENDING", "SENT"]

RUN: Final = Counter({("sms", "sent"): 1 + 1 + 999 + 1, ("mms", "sent"): 1, ("email", "sent"): 1, ("sms", "failed"): 1})
"""The messages of one run of an example, by channel and state: dispatch, retry, stream, watch; …; forced."""

CALLS: Final = Counter(
    {
        ("Dispatch", "INVALID_ARGUMENT"): 1,
        ("Dispatch", "ALREADY_EXISTS"): 1,
        ("GetMessage", "NOT_FOUND"): 1,
        ("DispatchStream", "OK"): 1,
        ("WatchMessages", "CANCELLED"): 1,
    }
)
"""Its calls, but for those of `Dispatch` that are OK or given up: how many these are, the retries decide."""

_ID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the store holds it. `attempts`: who was asked, and what came of it."""

    message_id: str
    channel: str
    state: str
    attempts: tuple[tuple[str, str], ...]


def stored(server: Server) -> dict[str, Stored]:
    """All messages of a server that was stopped, by request id."""
    attempts: dict[bytes, list[tuple[str, str]]] = {}
    for message_id, provider, outcome in server.rows(
        "SELECT message_id, provider_name, outcome FROM attempts ORDER BY message_id, number"
    ):
        attempts.setdefault(message_id, []).append((provider, outcome))
    messages = server.rows("SELECT request_id, message_id, channel, state FROM messages")
    found = {
        request_id: Stored(str(UUID(bytes=message_id)), channel, state, tuple(attempts.get(message_id, [])))
        for request_id, message_id, channel, state in messages
    }
    assert len(found) == len(messages), "a request id has two messages"
    return found


def ids_in(text: str) -> set[str]:
    """The message ids that a text shows."""
    return set(_ID.findall(text))


class Account:
    """One run with `--json`."""

    def __init__(self, printed: str) -> None:
        self._lines: list[dict[str, Any]] = [json.loads(line) for line in printed.splitlines()]

    def errors(self) -> Counter[str]:
        """The reasons of all that was refused."""
        refused = [line for line in self._lines if "reason" in line] + self._one("stream")["rejections"]
        return Counter(one["reason"] for one in refused)

    def agrees_with_the_contract(self) -> None:
        """Every step has ended as the contract says."""
        assert [line["step"] for line in self._lines] == STEPS
        ends = [(line["channel"], line["state"], line["outcome"], line["provider_name"]) for line in self._lines[:4]]
        assert ends == [
            ("sms", "SENT", "SUCCESS", "sms-mms"),
            ("mms", "SENT", "SUCCESS", "sms-mms"),
            ("email", "SENT", "SUCCESS", "email"),
            ("sms", "FAILED", "REJECTED", "sms-mms"),
        ]
        expected = {"code": "INVALID_ARGUMENT", "reason": "INVALID_MESSAGE", "violations": ["message.sms.to"]}
        both = ["message.sms.to", "message.sms.body"]
        assert self._one("invalid") == {"step": "invalid", **expected, "violations": both}
        self._is_refused("conflict", "ALREADY_EXISTS", "REQUEST_ID_REUSED")
        self._is_refused("not_found", "NOT_FOUND", "MESSAGE_NOT_FOUND")
        retry = self._one("retry")
        assert retry["repeated_message_id"] == retry["message_id"]
        assert retry["tries"] >= 1
        stream = self._one("stream")
        assert stream["rejections"] == [{"sequence": 500, **expected}]
        assert len(stream["messages"]) == len(set(stream["messages"].values())) == 999
        watch = self._one("watch")
        # States may merge; they do not come twice, nor in another order.
        assert watch["states"] == [state for state in LIFE if state in watch["states"]]
        assert watch["states"][-1] == "SENT"
        assert watch["revisions"] == sorted(set(watch["revisions"]))
        assert len(watch["revisions"]) == len(watch["states"])

    def agrees_with(self, store: Mapping[str, Stored]) -> None:
        """The store holds every message as it was reported."""
        reported = dict(self._reported())
        assert len(reported) == RUN.total()
        assert {request_id: store.get(request_id) for request_id in reported} == reported
        messages = (store[request_id] for request_id in reported)
        assert Counter((one.channel, one.state) for one in messages) == RUN

    def rest_of(self, store: Mapping[str, Stored]) -> list[Stored]:
        """What the store holds beside."""
        mine = dict(self._reported())
        return [message for request_id, message in store.items() if request_id not in mine]

    def _reported(self) -> Iterator[tuple[str, Stored]]:
        for line in self._lines[:4]:
            attempt = (line["provider_name"], line["outcome"].lower())
            yield line["request_id"], Stored(line["message_id"], line["channel"], line["state"].lower(), (attempt,))
        one_by_one = [(line["request_id"], line["message_id"]) for line in (self._one("retry"), self._one("watch"))]
        for request_id, message_id in [*one_by_one, *self._one("stream")["messages"].items()]:
            yield request_id, Stored(message_id, "sms", "sent", (("sms-mms", "success"),))

    def _one(self, step: str) -> dict[str, Any]:
        [line] = [line for line in self._lines if line["step"] == step]
        return line

    def _is_refused(self, step: str, code: str, reason: str) -> None:
        line = self._one(step)
        assert (line["code"], line["reason"], line.get("violations") or []) == (code, reason, [])


def kinds(messages: Iterable[Stored]) -> Counter[tuple[str, str]]:
    """How many there are of each channel and state."""
    return Counter((one.channel, one.state) for one in messages)
