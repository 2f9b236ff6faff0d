"""Thousands of receipts of every vendor at once: out of order, twice, of nobody's messages, forged."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from random import Random

import pytest
from tests.e2e.calls import TIMEOUT, email, request, sms
from tests.e2e.conftest import Serve
from tests.e2e.metrics import METRICS, values
from tests.e2e.server import Server, eventually
from tests.support.http_counterpart import counterpart_thread
from tests.support.receipt_vendor import PUBLIC_URL, Report, Vendor
from tests.support.receipt_vendors import every_vendor, take_for

from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2

AT_ONCE = 8
REASONS = {"signature", "credentials", "reference"}
FORGED = frozenset({401, 406})
STATES = {
    "accepted": message_pb2.RECEIPT_STATE_ACCEPTED,
    "delivered": message_pb2.RECEIPT_STATE_DELIVERED,
    "undelivered": message_pb2.RECEIPT_STATE_UNDELIVERED,
}
OPPOSITE = {"delivered": "undelivered", "undelivered": "delivered"}


@dataclass(frozen=True)
class Sent:
    """A message to a recipient of a vendor's, and what the vendor reports of it."""

    vendor: Vendor
    recipient: str
    states: Sequence[str]

    @property
    def request(self) -> pb.DispatchRequest:
        message = sms(self.recipient) if self.vendor.channel == "sms" else email(self.recipient)
        return request(message, provider_name=self.vendor.name, request_id=f"{self.vendor.name}/{self.recipient}")

    def reports(self) -> list[Report]:
        return [self.vendor.report(self.recipient, state, f"{self.recipient}/{state}") for state in self.states]

    def forged(self) -> Report:
        """Somebody says that it was the other way round."""
        state = OPPOSITE[self.states[-1]]
        return self.vendor.forge(self.vendor.report(self.recipient, state, f"{self.recipient}/forged"))


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.long)])
def test_every_state_is_right_and_nothing_that_is_forged_is_applied(serve: Serve, count: int) -> None:
    chance = Random(count)
    vendors = every_vendor()
    each = count * 6 // 10 // len(vendors)
    known = [_sent(vendor, number, chance) for vendor in vendors for number in range(each)]
    late = [
        _sent(vendor, each + number, chance) for vendor in vendors if vendor.keeps_ids for number in range(count // 160)
    ]
    ghosts = [one.vendor.report(f"9{one.recipient}", "delivered", f"ghost/{one.recipient}") for one in late]
    with counterpart_thread(partial(take_for, vendors)) as thread:
        server = serve(toml=_toml(vendors, thread.counterpart.url), **METRICS)
        _dispatch(server, known)
        reports = [one for message in known for one in message.reports()]
        reports += chance.sample(reports, count // 10) + ghosts
        reports += [one for message in late for one in message.reports()]
        forged = [message.forged() for message in chance.choices(known, k=count // 10)]
        calls = [(one, False) for one in reports] + [(one, True) for one in forged]
        chance.shuffle(calls)
        statuses = _call(server, [one for one, _ in calls])
        assert {status for status, (_, is_forged) in zip(statuses, calls, strict=True) if is_forged} <= FORGED
        assert {status // 100 for status, (_, is_forged) in zip(statuses, calls, strict=True) if not is_forged} == {2}
        _dispatch(server, late)  # and now they turn up
        everything = [*known, *late]
        eventually(lambda: not _listed(server, message_pb2.MESSAGE_STATE_SENT))
        for message in everything:
            found = server.dispatch.GetMessage(
                pb.GetMessageRequest(request_id=message.request.request_id), timeout=TIMEOUT
            ).message
            expected = f"MESSAGE_STATE_{message.states[-1].upper()}"
            assert message_pb2.MessageState.Name(found.state) == expected, message.vendor.name
            eventually(partial(_is_listed, server, message))
        reported = Counter((state, one.vendor.name) for one in everything for state in one.states)
        counted = {
            tuple(sorted(labels)): value for labels, value in values(server, "postwire_receipts_total").items() if value
        }
        assert counted == {tuple(sorted(labels)): value for labels, value in reported.items()}
        refused = values(server, "postwire_receipts_refused_total")
        assert sum(value for labels, value in refused.items() if REASONS & {*labels}) == len(forged)


def _sent(vendor: Vendor, number: int, chance: Random) -> Sent:
    state = chance.choice(("delivered", "undelivered"))
    is_accepted_first = chance.random() < 0.4 and vendor.says_accepted
    return Sent(vendor, vendor.recipient(number), ("accepted", state) if is_accepted_first else (state,))


def _toml(vendors: Iterable[Vendor], url: str) -> str:
    tables = [f'[providers.{one.name}]\nchannels = ["{one.channel}"]\n{one.settings(url)}\n' for one in vendors]
    return f'[receipts]\nlisten = "127.0.0.1:0"\npublic_url = "{PUBLIC_URL}"\n' + "".join(tables)


def _dispatch(server: Server, messages: Sequence[Sent]) -> None:
    """Send them, and return once all of them are sent."""
    with ThreadPoolExecutor(16) as pool:
        for answer in pool.map(lambda one: server.dispatch.Dispatch(one.request, timeout=TIMEOUT), messages):
            assert answer.message.attempts[-1].outcome == message_pb2.OUTCOME_SUCCESS, answer.message


def _call(server: Server, reports: Sequence[Report]) -> list[int]:
    """Call with each, some at once; returns the statuses."""
    host, _, port = str(server.wait_for_event("serving")["receipts_listen"]).rpartition(":")
    queue = SimpleQueue[http.client.HTTPConnection]()

    def call(report: Report) -> int:
        connection = queue.get()
        try:
            connection.request(report.method, report.path, report.body or None, dict(report.headers))
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            queue.put(connection)

    with ExitStack() as stack:
        for _ in range(AT_ONCE):
            connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
            stack.callback(connection.close)
            queue.put(connection)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(call, reports))


def _listed(server: Server, state: message_pb2.MessageState.ValueType) -> Sequence[message_pb2.Message]:
    chosen = pb.MessageFilter(states=[state])
    return server.dispatch.ListMessages(pb.ListMessagesRequest(filter=chosen), timeout=TIMEOUT).messages


def _is_listed(server: Server, message: Sent) -> bool:
    """Whether a message lists what was reported of it; and never anything else."""
    found = server.dispatch.GetMessage(
        pb.GetMessageRequest(request_id=message.request.request_id), timeout=TIMEOUT
    ).message
    states = [one.state for one in found.receipts]
    wanted = [STATES[state] for state in message.states]
    assert set(states) <= set(wanted), message.vendor.name
    assert len(states) == len(set(states))
    return len(states) == len(wanted)
