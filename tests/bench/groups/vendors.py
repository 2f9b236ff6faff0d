"""Providers that send, beside mocks: what a message costs that goes over a network, and what 20 MB hold up."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from statistics import median
from typing import Any, Final

from tests.bench.bench import Bench
from tests.bench.figures import Case, figure, ratios
from tests.bench.jobs import Calls
from tests.bench.loops import loop_factory
from tests.bench.processes import BenchError, counterpart, postwire_server, store_of
from tests.bench.progress import say
from tests.bench.report import Result, Table
from tests.bench.rounds import Run, run_rounds
from tests.bench.stores import check_stored

from postwire.core.message import Attachment, Channel, Email, OutboundMessage
from postwire.core.outcome import Outcome
from postwire.providers.base import Context
from postwire.providers.builtin import KINDS
from postwire.providers.handover import Handover

MOCK_SMS: Final = Case("mock-sms", "a mock, SMS")
WEBHOOK: Final = Case("webhook", "webhook, SMS", MOCK_SMS.name)
SMPP: Final = Case("smpp", "smpp, SMS", MOCK_SMS.name)
MOCK_EMAIL: Final = Case("mock-email", "a mock, email")
SMTP: Final = Case("smtp", "smtp, email", MOCK_EMAIL.name)

CONFIG: Final = """
[providers.webhook]
kind = "webhook"
channels = ["sms"]
url = "http://127.0.0.1:{http}/in"
secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
[providers.smtp]
kind = "smtp"
channels = ["email"]
host = "127.0.0.1"
port = {smtp}
security = "none"
sender = "us@example.com"
max_concurrent = 64
"""
SMPP_CONFIG: Final = """
[providers.smpp]
kind = "smpp"
channels = ["sms"]
host = "127.0.0.1"
port = {smpp}
system_id = "bench"
sender = "+15005550006"
window = 64
"""
LARGE: Final = 20_000_000
"""Bytes of an attachment."""
TURN: Final = 0.0005
"""Seconds between two looks at what the loop has done meanwhile."""


def measure(bench: Bench) -> Result:
    """See the module."""
    dispatched = bench.total(bench.scale.messages)
    with ExitStack() as running:
        http, smtp, smpp = running.enter_context(counterpart(bench.folder / "counterpart.log"))
        mocks = running.enter_context(postwire_server("mocks", bench.folder))
        real = running.enter_context(
            postwire_server("vendors", bench.folder, config=CONFIG.format(http=http, smtp=smtp))
        )
        centre = running.enter_context(postwire_server("centre", bench.folder, config=SMPP_CONFIG.format(smpp=smpp)))
        measurements = run_rounds(
            [
                Run(case, server, _calls(bench, server.address, channel))
                for case, server, channel in (
                    (MOCK_SMS, mocks, "sms"),
                    (WEBHOOK, real, "sms"),
                    (SMPP, centre, "sms"),
                    (MOCK_EMAIL, mocks, "email"),
                    (SMTP, real, "email"),
                )
            ],
            bench.load,
            bench.scale.rounds,
        )
        gaps = [_gaps(http, smtp) for _ in range(bench.scale.rounds)]
    for name in ("mocks", "vendors"):
        check_stored(name, store_of(name, bench.folder), messages=2 * dispatched, sent=2 * dispatched)
    check_stored("centre", store_of("centre", bench.folder), messages=dispatched, sent=dispatched)
    figures = [figure(case.name, ratios(measurements, case)) for case in (WEBHOOK, SMPP, SMTP)]
    held = figure("held", [max(one.values()) * 1000 for one in gaps], _worst(gaps))
    title = f"Vendors, {bench.scale.messages:,} a round, {bench.scale.concurrency} at once"
    return Result([*figures, held], Table(title, (MOCK_SMS, WEBHOOK, SMPP, MOCK_EMAIL, SMTP), measurements))


def _calls(bench: Bench, address: str, channel: str) -> Calls:
    scale = bench.scale
    return Calls(address, scale.messages, scale.concurrency, scale.connections, scale.request_ids, channel)


def _worst(gaps: list[dict[str, float]]) -> str:
    each = {kind: median(one[kind] for one in gaps) for kind in gaps[0]}
    return ", ".join(f"{kind} {gap * 1000:.0f}" for kind, gap in sorted(each.items(), key=lambda one: -one[1]))


def _gaps(http: int, smtp: int) -> dict[str, float]:
    """For how long (s) an email of 20 MB holds the loop at a time, by kind."""
    url = f"http://127.0.0.1:{http}"
    settings: dict[str, dict[str, Any]] = {
        "smtp": {"host": "127.0.0.1", "port": smtp, "security": "none"},
        "ses": {"region": "eu-west-1", "access_key_id": "x", "secret_access_key": "x", "base_url": url},
        "mailgun": {"api_key": "x", "domain": "example.com", "base_url": url},
        "sendgrid": {"api_key": "x", "base_url": url},
        "webhook": {"secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", "url": url},
    }
    found = {}
    for kind, given in settings.items():
        say(f"20 MB by {kind}")
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            found[kind] = runner.run(_gap(kind, given))
    return found


async def _gap(kind: str, given: dict[str, Any]) -> float:
    declared = KINDS[kind]
    sender = {} if kind == "webhook" else {"sender": "us@example.com"}
    provider: Any = declared.make(Context(kind, (Channel.EMAIL,), lambda: 1), declared.settings(**given, **sender))
    attachment = Attachment("a.bin", "application/octet-stream", bytes(LARGE))
    message = OutboundMessage(Email(("ada@example.com",), subject="Large", text="Large", attachments=(attachment,)))
    handover = Handover("k", message_id="01a3a2c5-5800-7000-8000-000000000001", created=1, now=1)
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            # By the CPU of the loop's thread: what else runs on the machine makes no difference.
            before = time.thread_time()
            await asyncio.sleep(TURN)
            worst = max(worst, time.thread_time() - before)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(TURN)
    result = await provider.send(message, handover)
    watching.cancel()
    await provider.close()
    if result.outcome not in (Outcome.SUCCESS, Outcome.UNCERTAIN):  # not every vendor is answered in its own form
        raise BenchError(f"20 MB by {kind}: {result.error_code}")
    return worst
