"""Secrets that change while the server runs: which settings providers get, and what follows for what waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.build import SUCCESS
from tests.support.configs import kind_of
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of
from tests.support.waiting import within

from postwire.config.bind import setting
from postwire.config.schema import Config, load
from postwire.core.availability import PROBE_AFTER
from postwire.core.breaker import Verdict
from postwire.core.message import Channel, MessageState
from postwire.core.obstacles import Obstacle
from postwire.core.outcome import DispatchResult, Outcome
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.base import ProviderHealth
from postwire.providers.checks import ProviderChecks
from postwire.providers.renewal import renewables
from postwire.reload import Plan, Reloaded, Reloader

SENT, QUEUED = MessageState.SENT, MessageState.QUEUED
REFUSED = DispatchResult(Outcome.MISCONFIGURED)


@dataclass(frozen=True, slots=True)
class Dkim:
    """A table with a secret in it."""

    domain: str = ""
    private_key: str = setting("", secret=True)


@dataclass(frozen=True, slots=True)
class Settings:
    """`token` is "plain" or goes with a host whose name begins with it."""

    token: str = setting(secret=True)
    host: str = "h"
    dkim: Dkim = field(default_factory=Dkim)

    def check(self) -> None:
        if self.token.startswith("for-") and not self.host.startswith(self.token[4:]):
            raise ValueError(f"token: {self.token} is for another host")


class Vendor(FakeProvider):
    """Takes our account once `health` is good and `answer` says so; notes the settings that it is given."""

    def __init__(self, name: str = "a") -> None:
        super().__init__(name)
        self.health = ProviderHealth(ok=False, detail="away")
        self.renewed: list[Settings] = []
        self.fails = False
        self.checked = asyncio.Event()

    def renew(self, settings: Settings) -> None:
        self.renewed.append(settings)
        if self.fails:
            raise RuntimeError("broken")

    async def check(self) -> ProviderHealth:
        self.checked.set()
        return self.health


TOML = '[providers.a]\nkind = "relay"\nchannels = ["sms"]\ntoken = "one"\n'


OTHER = '[providers.b]\nkind = "relay"\nchannels = ["email"]\ntoken = "fixed"\n'


class Renewals:
    """A reloader of two providers, of which the second needs a restart."""

    def __init__(self, folder: Path, outbox: SqliteOutbox, toml: str = TOML) -> None:
        self._folder = folder
        self.vendor = Vendor()
        self.gate = gate_of("a")
        registry = registry_of(self.vendor, FakeProvider("b", (Channel.EMAIL,)), gates={"a": self.gate})
        self.harness = Harness(outbox, registry=registry)
        self.faults: list[BaseException] = []
        self.reported: list[str] = []
        self._all_reported = asyncio.Event()
        self.checks = ProviderChecks((), self._report, on_fault=self.faults.append)
        booted = self.read(toml)
        parts = renewables(registry, booted, clock=self.harness.clock, checks=self.checks, on_fault=self.faults.append)
        self.reloader = Reloader(booted, lambda: self.read(self.toml), tuple(parts))

    def _report(self, provider: Any, health: ProviderHealth) -> None:
        self.reported.append(provider.name)

    def read(self, toml: str) -> Config:
        self.toml = toml
        both = toml + '[providers.b]\nkind = "relay"\nchannels = ["email"]\ntoken = "fixed"\n' * (
            "[providers.b]" not in toml
        )
        (self._folder / "postwire.toml").write_text(both, encoding="utf-8")
        return load(path=None, environ={}, kinds={"relay": kind_of(Settings)}, cwd=self._folder)

    def reload(self, toml: str) -> Reloaded:
        self.toml = toml
        return self.reloader.apply(self.reloader.prepare())

    def reread(self) -> tuple[Plan, Reloaded]:
        plan = self.reloader.prepare_secrets()
        return plan, self.reloader.apply(plan)


@pytest.fixture
async def renewals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outbox: SqliteOutbox) -> AsyncIterator[Renewals]:
    monkeypatch.chdir(tmp_path)
    made = Renewals(tmp_path, outbox)
    yield made
    await made.checks.stop()


ONE = Settings("one")


async def test_secrets_are_taken_over_and_other_keys_need_a_restart(renewals: Renewals) -> None:
    reported = renewals.reload(TOML.replace("one", "two") + 'host = "g"\ndkim = { domain = "d", private_key = "k" }\n')
    assert reported.changed == ["providers.a.token", "providers.a.dkim.private_key"]
    assert reported.needs_restart == ["providers.a.host", "providers.a.dkim.domain"]
    assert renewals.vendor.renewed == [Settings("two", dkim=Dkim(private_key="k"))]


async def test_a_reload_that_changes_no_secret_renews_nobody(renewals: Renewals) -> None:
    renewals.reload(TOML)
    renewals.reload(TOML + 'host = "g"\n')
    assert renewals.vendor.renewed == []
    assert not renewals.vendor.checked.is_set()


async def test_one_that_cannot_be_renewed_needs_a_restart(renewals: Renewals) -> None:
    changed = TOML + OTHER.replace("fixed", "new")
    assert renewals.reload(changed) == Reloaded([], ["providers.b.token"])


async def test_secrets_that_go_with_other_keys_only_wait_for_the_restart(renewals: Renewals) -> None:
    reported = renewals.reload(TOML.replace("one", "for-g") + 'host = "g"\n')
    assert reported == Reloaded([], ["providers.a.token", "providers.a.host"])
    assert renewals.vendor.renewed == []
    assert renewals.reload(TOML) == Reloaded([], []), "it has never run with the other"
    assert renewals.reload(TOML.replace("one", "two")).changed == ["providers.a.token"]
    assert renewals.reload(TOML).changed == ["providers.a.token"]
    assert renewals.vendor.renewed == [Settings("two"), ONE]


async def test_a_provider_that_is_another_kind_or_gone_keeps_its_secrets(renewals: Renewals) -> None:
    gone = OTHER.replace('"email"', '"sms", "email"')
    assert "providers.a" in renewals.reload(gone).needs_restart
    assert renewals.vendor.renewed == []


async def test_a_secret_moves_into_a_file_which_is_read_again(renewals: Renewals, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("two\n")
    moved = TOML.replace('token = "one"', 'token_file = "token"')
    assert renewals.reload(moved).changed == ["providers.a.token", "providers.a.token_file"]
    plan, reported = renewals.reread()
    assert (plan.mistakes, reported) == ([], Reloaded([], []))
    (tmp_path / "token").write_text("three\n")
    plan, reported = renewals.reread()
    assert (plan.mistakes, reported) == ([], Reloaded(["providers.a.token_file"], []))
    assert renewals.vendor.renewed == [Settings("two"), Settings("three")]
    assert renewals.reload(moved) == Reloaded([], []), "what a file held has been told"


async def test_a_file_that_is_of_no_use_holds_up_no_other(renewals: Renewals, tmp_path: Path) -> None:
    for name in ("token", "fixed"):
        (tmp_path / name).write_text(name)
    moved = TOML.replace('token = "one"', 'token_file = "token"')
    moved += OTHER.replace('token = "fixed"', 'token_file = "fixed"')
    renewals.reload(moved)
    (tmp_path / "fixed").unlink()
    (tmp_path / "token").write_text("two")
    plan, reported = renewals.reread()
    assert [error.key for error in plan.mistakes] == ["providers.b.token_file"]
    assert reported.changed == ["providers.a.token_file"]
    (tmp_path / "fixed").write_text("other")
    plan, reported = renewals.reread()
    assert plan.mistakes == []
    assert reported == Reloaded([], ["providers.b.token", "providers.b.token_file"])


async def test_the_rest_of_the_configuration_is_not_read_with_the_files(renewals: Renewals, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("two")
    renewals.reload(TOML.replace('token = "one"', 'token_file = "token"'))
    (tmp_path / "token").write_text("for-g")
    (tmp_path / "postwire.toml").write_text("not TOML", encoding="utf-8")
    plan, reported = renewals.reread()
    assert [str(error) for error in plan.mistakes] == ["providers.a.token: (secret) is for another host"]
    assert reported == Reloaded([], [])
    (tmp_path / "token").write_text("three")
    assert renewals.reread()[1].changed == ["providers.a.token_file"]


async def test_what_renewing_raises_is_noted_and_stops_nothing(renewals: Renewals) -> None:
    renewals.vendor.fails = True
    renewals.reload(TOML.replace("one", "two"))
    assert [str(error) for error in renewals.faults] == ["broken"]
    await within(renewals.vendor.checked.wait())


# What follows.


async def refused(renewals: Renewals) -> None:
    """Have the provider refuse our account, and another message wait for it."""
    renewals.vendor.answers = [REFUSED]
    assert (await renewals.harness.send()).state is QUEUED
    assert (await renewals.harness.send()).state is QUEUED
    assert renewals.gate.availability.state is Obstacle.MISCONFIGURED
    renewals.harness.clock.advance(PROBE_AFTER / 2)  # the message that was refused is due again


async def test_what_waits_for_a_new_secret_goes_at_once(renewals: Renewals) -> None:
    await refused(renewals)
    assert len(renewals.vendor.keys) == 1
    renewals.reload(TOML.replace("one", "two"))
    await renewals.vendor.calls(3)
    await renewals.harness.calm()
    assert renewals.gate.availability.state is None
    assert renewals.harness.left() == []
    assert renewals.reported == ["a"], "it was checked as well, and that found nothing out"


async def test_a_new_secret_that_is_wrong_too_is_tried_by_one_message(renewals: Renewals) -> None:
    await refused(renewals)
    renewals.vendor.answers = [REFUSED] * 5
    renewals.reload(TOML.replace("one", "two"))
    await renewals.vendor.calls(2)
    await renewals.harness.calm()
    assert len(renewals.vendor.keys) == 2
    assert renewals.gate.availability.state is Obstacle.MISCONFIGURED


async def test_where_nothing_waits_a_check_says_that_it_is_mended(renewals: Renewals) -> None:
    renewals.gate.note_misconfigured(renewals.harness.clock.monotonic())
    mended = asyncio.Event()
    renewals.gate.on_availability = lambda state, detail: mended.set()
    renewals.vendor.health = ProviderHealth(ok=True)
    renewals.reload(TOML.replace("one", "two"))
    await within(mended.wait())
    assert renewals.gate.availability.state is None
    assert renewals.vendor.keys == []


async def test_one_that_could_not_be_opened_is_tried_at_once(renewals: Renewals) -> None:
    tried: list[str] = []
    renewals.gate.on_configured = lambda: tried.append("again")
    renewals.reload(TOML.replace("one", "two"))
    assert tried == [], "it was well"
    renewals.gate.note_opening(Obstacle.MISCONFIGURED)
    renewals.reload(TOML.replace("one", "three"))
    assert tried == ["again"]


async def test_a_refusal_of_what_was_sent_with_the_old_secret_says_nothing_of_the_new(renewals: Renewals) -> None:
    vendor, harness = renewals.vendor, renewals.harness
    held = asyncio.Event()
    vendor.answers, vendor.meanwhile = [REFUSED, SUCCESS], lambda _: held.wait()
    early = harness.start()
    await vendor.calls(1)
    harness.clock.advance(1.0)
    renewals.reload(TOML.replace("one", "two"))
    vendor.meanwhile = None
    held.set()
    assert (await within(early)).state is QUEUED
    harness.clock.advance(PROBE_AFTER / 2)
    await vendor.calls(2)
    await harness.calm()
    assert renewals.gate.availability.state is None
    assert harness.left() == []


@pytest.mark.parametrize("end", ["cancelled", "closed"])
def test_an_old_attempt_that_tried_the_account_postpones_no_new_one(end: str) -> None:
    gate = gate_of("a")
    gate.note_misconfigured(0.0)
    early = gate.enter(PROBE_AFTER)
    gate.note_renewed(PROBE_AFTER + 1)
    late = gate.enter(PROBE_AFTER + 1)
    assert late.tries_account
    assert (early.is_outdated, late.is_outdated) == (True, False)
    if end == "cancelled":
        early.cancel(PROBE_AFTER + 2)
    else:
        early.close(Verdict.NONE, PROBE_AFTER + 2)
    assert gate.obstacle(PROBE_AFTER + 2) is Obstacle.MISCONFIGURED, "one at a time"
    late.cancel(PROBE_AFTER + 2)
    assert gate.obstacle(PROBE_AFTER + 2) is None


def test_a_new_account_that_is_refused_is_left_alone_for_the_first_time() -> None:
    gate = gate_of("a")
    for _ in range(5):
        gate.note_misconfigured((gate.until(0.0) or 0.0) + 1)
    gate.note_renewed(2000.0)
    gate.note_misconfigured(2000.0)
    assert gate.until(2000.0) == 2000.0 + PROBE_AFTER


def test_a_renewal_of_one_that_is_well_changes_nothing() -> None:
    gate = gate_of("a")
    news: list[str] = []
    gate.on_free = lambda: news.append("free")
    gate.note_renewed(1.0)
    assert (news, gate.obstacle(1.0)) == ([], None)
