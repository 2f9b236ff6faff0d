"""The sandbox: whatever it takes is in the inbox and delivered, but for recipients that force something else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support import build
from tests.support.waiting import within

from postwire.config.bind import ConfigError
from postwire.config.schema import load
from postwire.core.message import Channel, Content, Email, OutboundMessage, Sms
from postwire.core.outcome import Outcome
from postwire.core.receipts import Inbound, Receipt, ReceiptState
from postwire.providers import capabilities
from postwire.providers.base import Context
from postwire.providers.builtin import KINDS
from postwire.providers.handover import Handover
from postwire.providers.mock import MockProvider, MockSettings
from postwire.providers.sandbox import SandboxProvider, SandboxSettings
from postwire.providers.simulated import SIMULATORS

Taken = list[tuple[OutboundMessage, Handover, tuple[int, ...]]]


class Heard:
    """What was reported, and what is in the inbox."""

    def __init__(self) -> None:
        self.receipts: list[Receipt | Inbound] = []
        self.taken: Taken = []
        self.changed = asyncio.Event()

    async def report(self, reported: Sequence[Receipt | Inbound]) -> None:
        self.receipts += reported
        self.changed.set()

    async def until_receipts(self, count: int) -> list[ReceiptState]:
        while len(self.receipts) < count:
            self.changed.clear()
            await within(self.changed.wait())
        return [one.state for one in self.receipts if isinstance(one, Receipt)]

    def context(self) -> Context:
        return Context(
            "sandbox",
            tuple(Channel),
            lambda: 1,
            report=self.report,
            to_inbox=lambda message, handover, positions: self.taken.append((message, handover, positions)),
        )


def sandbox(heard: Heard, **settings: float) -> SandboxProvider:
    return SandboxProvider(heard.context(), SandboxSettings(**settings))


@pytest.mark.parametrize("content", [build.sms(), build.mms(), build.email()], ids=lambda one: type(one).__name__)
async def test_what_it_takes_is_in_the_inbox_and_delivered(content: Content) -> None:
    heard, message, handover = Heard(), OutboundMessage(content), Handover("m-1", reference="r-1")
    provider = sandbox(heard)
    result = await provider.send(message, handover)
    assert (result.outcome, result.provider_message_id) == (Outcome.SUCCESS, "sandbox-m-1")
    assert heard.taken == [(message, handover, ())]
    assert await heard.until_receipts(1) == [ReceiptState.DELIVERED]
    await provider.close()


@pytest.mark.parametrize(("to", "outcome"), SIMULATORS.items())
async def test_simulators_force_an_outcome(to: str, outcome: Outcome) -> None:
    heard = Heard()
    provider = sandbox(heard)
    content = Email((to,), subject="Hi") if "@" in to else Sms(to, "Hi")
    result = await provider.send(OutboundMessage(content), Handover("m-1"))
    assert result.outcome is outcome
    assert result.error_code == ("" if outcome is Outcome.SUCCESS else f"sandbox_{outcome.value}")
    assert result.detail.startswith("" if outcome is Outcome.SUCCESS else "the sandbox ")
    assert bool(heard.taken) is (outcome in (Outcome.SUCCESS, Outcome.UNCERTAIN))
    await provider.send(OutboundMessage(build.sms()), Handover("m-2"))
    assert len(await heard.until_receipts(1 + (outcome is Outcome.SUCCESS))) == 1 + (outcome is Outcome.SUCCESS)
    await provider.close()


async def test_of_an_email_those_who_have_it_are_in_the_inbox_and_those_to_whom_it_was_sent_get_receipts() -> None:
    heard = Heard()
    provider = sandbox(heard)
    content = Email(
        ("rejected@simulator.postwire.test", "ada@example.com"),
        cc=("uncertain@simulator.postwire.test",),
        bcc=("error@simulator.postwire.test",),
    )
    result = await provider.send(OutboundMessage(content), Handover("m-1", (0, 1, 2)))
    assert [one.outcome for one in result.recipients] == [Outcome.REJECTED, Outcome.SUCCESS, Outcome.UNCERTAIN]
    assert heard.taken[0][2] == (1, 2)
    assert await heard.until_receipts(1) == [ReceiptState.DELIVERED]
    assert [one.recipient for one in heard.receipts] == ["ada@example.com"]
    await provider.close()


async def test_an_email_that_nobody_has_is_not_in_the_inbox() -> None:
    heard = Heard()
    both = ("rejected@simulator.postwire.test", "error@simulator.postwire.test")
    await sandbox(heard).send(OutboundMessage(Email(both)), Handover("m-1"))
    assert heard.taken == []


async def test_what_is_given_up_while_it_takes_its_time_may_have_been_taken() -> None:
    heard = Heard()
    for provider in (
        sandbox(heard, latency=3600.0),
        MockProvider(heard.context(), MockSettings(latency=3600.0)),
    ):
        attempt = asyncio.ensure_future(provider.send(OutboundMessage(build.sms()), Handover("m-1")))
        await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.wait([attempt])
        await provider.close()
    assert len(heard.taken) == 2


async def test_a_mock_puts_into_the_inbox_what_it_may_have_taken() -> None:
    heard = Heard()
    mock = MockProvider(heard.context(), MockSettings())
    for to in SIMULATORS:
        if not to.startswith("+"):
            await mock.send(OutboundMessage(Email((to,))), Handover(to))
    assert [handover.key for _, handover, _ in heard.taken] == [
        "uncertain@simulator.postwire.test",
        "success@simulator.postwire.test",
    ]


def test_it_is_simulated_and_no_mock() -> None:
    found = capabilities.of(sandbox(Heard()))
    assert found.words == ("simulated",)
    assert found.seed is None


def config(tmp_path: Path, environment: str, kind: str = "sandbox") -> object:
    file = tmp_path / "postwire.toml"
    file.write_text(
        f'[server]\nenvironment = "{environment}"\n[providers.trial]\nkind = "{kind}"\nchannels = ["sms"]\n',
        encoding="utf-8",
    )
    return load(path=file, environ={}, kinds=KINDS)


@pytest.mark.parametrize("environment", ["", "test", "staging-2", "production-like"])
def test_it_is_taken_in_any_environment_but_production(tmp_path: Path, environment: str) -> None:
    assert config(tmp_path, environment)
    assert config(tmp_path, "production", "mock")


def test_production_refuses_it_with_a_line_that_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, "production")
    assert str(caught.value) == (
        'providers.trial.kind: "sandbox" is for tests, and server.environment is "production": take the provider out'
    )


@pytest.mark.parametrize("environment", ["Production", "a b", "-a", "a--b", "a-", "ü"])
def test_an_environment_is_a_name(tmp_path: Path, environment: str) -> None:
    with pytest.raises(ConfigError, match=r"^server\.environment: ") as caught:
        config(tmp_path, environment)
    assert "is not a name of lower-case letters and digits" in str(caught.value)
