"""Taking over a new configuration: as a whole or not at all, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from postwire.config.bind import ConfigError
from postwire.config.schema import Config
from postwire.delivery import QUOTA_KEYS, quotas_from
from postwire.reload import Prepared, Reloadable, Reloaded, Reloader

RELAY = """
[providers.relay]
kind = "relay"
channels = ["email"]
host = "mx.example.com"
password = "one"
"""


class Part:
    """A part of the server that takes over the log level and a provider's password."""

    def __init__(self) -> None:
        self.level = ""
        self.refuses = False
        self.renewed: tuple[str, ...] = ()
        self.reloadable = Reloadable(("telemetry.log_level", "providers.relay.password"), self._prepare)

    def _prepare(self, config: Config) -> Prepared:
        if self.refuses:
            raise ConfigError("providers.relay.password", "cannot be read")

        def apply() -> None:
            self.level = config.telemetry.log_level

        return Prepared(apply, self.renewed)


class Harness:
    """A reloader of what `read` makes of `toml`, with two parts."""

    def __init__(self, read: Any, toml: str) -> None:
        self._read = read
        self.toml = toml
        self.parts = Part(), Part()
        self.reloader = Reloader(read(toml), lambda: read(self.toml), [part.reloadable for part in self.parts])

    def reload(self, toml: str) -> Reloaded:
        self.toml = toml
        return self.reloader.apply(self.reloader.prepare())


@pytest.fixture
def harness(read: Any) -> Harness:
    return Harness(read, RELAY)


def test_what_is_the_same_is_not_told(harness: Harness) -> None:
    assert harness.reload(RELAY) == Reloaded([], [])


def test_what_can_change_is_taken_over_and_the_rest_needs_a_restart(harness: Harness) -> None:
    reported = harness.reload('server.grace = "1s"\ntelemetry.log_level = "debug"\n' + RELAY)
    assert reported == Reloaded(["telemetry.log_level"], ["server.grace"])
    assert [part.level for part in harness.parts] == ["debug", "debug"]


def test_what_needs_a_restart_is_told_until_there_is_one_and_what_was_taken_over_once(harness: Harness) -> None:
    changed = 'server.grace = "1s"\ntelemetry.log_level = "debug"\n' + RELAY
    harness.reload(changed)
    assert harness.reload(changed) == Reloaded([], ["server.grace"])
    assert harness.reload(RELAY) == Reloaded(["telemetry.log_level"], [])


def test_somebody_hears_of_what_is_taken_over_and_of_what_is_left(harness: Harness) -> None:
    heard: list[tuple[str, list[str]]] = []
    harness.reloader.on_applied = lambda config, left: heard.append((config.telemetry.log_level, list(left)))
    harness.reload('server.grace = "1s"\ntelemetry.log_level = "debug"\n' + RELAY)
    assert heard == [("debug", ["server.grace"])]


def test_a_secret_that_has_changed_is_seen_and_named_without_its_value(harness: Harness) -> None:
    reported = harness.reload(RELAY.replace("one", "two"))
    assert reported == Reloaded(["providers.relay.password"], [])


def test_a_file_that_was_written_anew_is_told_though_its_path_is_the_same(harness: Harness) -> None:
    harness.parts[1].renewed = ("server.tls.certificate",)
    assert harness.reload(RELAY) == Reloaded(["server.tls.certificate"], [])


def test_a_provider_that_comes_or_goes_is_its_table(harness: Harness) -> None:
    one = '[providers.b]\nkind = "mock"\nchannels = ["sms"]\n'
    assert harness.reload(RELAY + one).needs_restart == ["routes.sms", "providers.b"]
    assert harness.reload(one.replace("sms", "email")).needs_restart == [
        "routes.email",
        "providers.relay",
        "providers.b",
    ]


@pytest.mark.parametrize("refusing", [0, 1])
def test_where_one_part_refuses_none_takes_it_over(harness: Harness, refusing: int) -> None:
    harness.parts[refusing].refuses = True
    with pytest.raises(ConfigError, match="cannot be read"):
        harness.reload('telemetry.log_level = "debug"\n' + RELAY)
    assert [part.level for part in harness.parts] == ["", ""]
    harness.parts[refusing].refuses = False
    assert harness.reload('telemetry.log_level = "debug"\n' + RELAY).changed == ["telemetry.log_level"]


def test_files_are_read_again_and_a_part_that_refuses_holds_up_no_other(harness: Harness) -> None:
    first, second = harness.parts
    first.refuses = True
    second.renewed = ("server.tls.cert_file",)
    plan = harness.reloader.prepare_secrets()
    assert [str(one) for one in plan.mistakes] == ["providers.relay.password: cannot be read"]
    assert plan.renewed
    assert harness.reloader.apply(plan) == Reloaded(["server.tls.cert_file"], [])
    assert (first.level, second.level) == ("", "info")


def test_a_configuration_that_is_wrong_changes_nothing(harness: Harness) -> None:
    with pytest.raises(ConfigError, match=r"server\.grace"):
        harness.reload('server.grace = 5\ntelemetry.log_level = "debug"\n' + RELAY)
    assert [part.level for part in harness.parts] == ["", ""]


def test_what_tenants_may_have_can_change_and_the_rest_of_them_needs_a_restart(read: Any) -> None:
    key = '[[tenants.{}.keys]]\nname = "a"\nid = "{}"\nsha256 = "{}"\nroles = ["send"]\n'
    keys = "".join(key.format(name, name[0] * 10, str(number) * 64) for number, name in enumerate(("acme", "other")))
    toml = f"[tenants.acme]\nrate = 5\n[tenants.other]\n{keys}"
    taken: list[Any] = []
    quotas = Reloadable(QUOTA_KEYS, lambda config: Prepared(lambda: taken.append(quotas_from(config))))
    read_now = [toml]
    reloader = Reloader(read(toml), lambda: read(read_now[0]), [quotas])
    read_now[0] = f"""
[tenants.acme]
rate = 6
weight = 2
content_retention = "1h"
[tenants.other]
max_in_flight = 3
{keys}"""
    reloaded = reloader.apply(reloader.prepare())
    assert {"tenants.acme.rate", "tenants.acme.weight", "tenants.other.max_in_flight"} <= set(reloaded.changed)
    assert "tenants.acme.content_retention" in reloaded.needs_restart
    assert (taken[-1]["acme"].rate, taken[-1]["acme"].weight, taken[-1]["other"].max_in_flight) == (6.0, 2, 3)
