"""[tenants]: what each may have, what is refused, and the page that shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from postwire.config.bind import ConfigError
from postwire.core.message import Channel, Priority
from postwire.core.quotas import NO_QUOTA, Quota
from postwire.delivery import Limits, quotas_from

PAGE = Path(__file__).parents[2] / "docs" / "tenants.md"
KEY = '[[tenants.{}.keys]]\nid = "{}"\nsha256 = "{}"\nroles = ["send"]\n'


def keys(*tenants: str) -> str:
    return "".join(KEY.format(name, f"{number:010}", f"{number:064}") for number, name in enumerate(tenants))


def test_without_tenants_there_are_no_quotas(read: Any) -> None:
    config = read("")
    assert dict(config.tenants) == {}
    assert Limits.from_config(config).quotas == quotas_from(config) == {}


def test_the_page_s_examples_can_be_used(read: Any) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    providers = "".join(
        f'[providers.{name}]\nkind = "mock"\nchannels = ["sms"]\n' for name in ("acme-account", "shared")
    )
    config = read("\n".join((*blocks, providers, keys("acme"))))
    assert quotas_from(config) == {
        "acme": Quota(
            rate=50.0, burst=200, max_unsettled=100_000, max_in_flight=300, weight=3, max_priority=Priority.NORMAL
        ),
        "default": NO_QUOTA,
    }
    assert config.routes[Channel.SMS][0].match.tenants == ("acme",)


def test_the_environment_sets_keys_of_tenants_that_are_declared(read: Any) -> None:
    config = read(
        "[tenants.acme-eu]\nrate = 1\n" + keys("acme-eu"),
        TENANTS__ACME_EU__RATE="2.5",
        TENANTS__ACME_EU__MAX_PRIORITY="low",
    )
    assert quotas_from(config)["acme-eu"] == Quota(rate=2.5, max_priority=Priority.LOW)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("rate = 0", "tenants.acme.rate: 0 is not a rate from 0.001 to 1000000 messages a second"),
        ("rate = '50'", 'tenants.acme.rate: "50" is not a rate from 0.001 to 1000000 messages a second'),
        ("burst = 5", "tenants.acme.burst: does nothing by itself, set rate too"),
        ("weight = 0", "tenants.acme.weight: 0 is not a whole number from 1 to 1000"),
        ("weight = 1001", "tenants.acme.weight: 1001 is not a whole number from 1 to 1000"),
        ("max_unsettled = 0", "tenants.acme.max_unsettled: 0 is not"),
        ("max_in_flight = 1.5", "tenants.acme.max_in_flight: 1.5 is not"),
        ("max_priority = 'urgent'", 'tenants.acme.max_priority: "urgent" is not'),
        ("content_retention = -1", "tenants.acme.content_retention: -1 has no unit"),
        (
            "content_retention = '8d'",
            "tenants.acme.content_retention: 8d is longer than store.retention (7d), must be at most that",
        ),
        ("rates = 5", "tenants.acme.rates: is not known, did you mean tenants.acme.rate?"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(read: Any, setting: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(f"[tenants.acme]\n{setting}\n" + keys("acme"))
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize("name", ["Acme", "a b", "acme-", "1a", "a_b", "a.b"])
def test_a_name_is_as_those_of_providers(read: Any, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a tenant's name"):
        read(f'[tenants."{name}"]\nrate = 1\n' + keys("acme"))


ROUTE = (
    '[providers.p]\nkind = "mock"\nchannels = ["sms"]\n[[routes.sms]]\nmatch = { tenants = ["acme"] }\ntiers = ["p"]\n'
)
CERTIFICATE = '[[tenants.acme.certificates]]\nuri = "spiffe://example.com/billing"\nroles = ["send"]\n'


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[tenants.acme]\nrate = 0\n" + keys("acme") + ROUTE, "tenants.acme.rate"),
        ("[auth.jwt]\nissuer = 5\n[tenants.acme]\n" + ROUTE, "auth.jwt"),
        ("[server]\nmax_wait = 5\n" + CERTIFICATE + ROUTE, "server.max_wait"),
        ("[store]\nretention = 30\n[tenants.acme]\ncontent_retention = '8d'\n" + keys("acme"), "store.retention"),
    ],
)
def test_one_mistake_is_not_told_as_another_s_as_well(read: Any, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert all(one.key.startswith(key) for one in (raised.value, *raised.value.others))
