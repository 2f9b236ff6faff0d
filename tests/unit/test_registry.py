"""The providers of a server and its routes, as the configuration declares them."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.providers import Puppet, registry_of

from postwire.config import Config, load
from postwire.core.errors import InvalidProvider, InvalidRouting, ProviderNotFound
from postwire.core.message import Channel
from postwire.providers.builtin import KINDS
from postwire.providers.mock import MockProvider
from postwire.providers.registry import Registry, Slot

THREE = """
[delivery]
attempt_timeout = "7s"

[providers.phone]
kind = "mock"
channels = ["mms", "sms"]
seed = 5

[providers.spare]
kind = "mock"
channels = ["sms"]
attempt_timeout = "3s"

[providers.post]
kind = "mock"
channels = ["email"]
error_ratio = 0.5
"""


def config_of(folder: Path, text: str) -> Config:
    file = folder / "postwire.toml"
    file.write_text(text, encoding="utf-8")
    return load(path=file, environ={}, kinds={name: kind.settings for name, kind in KINDS.items()})


def build(folder: Path, text: str) -> Registry:
    return Registry.build(config_of(folder, text), KINDS, itertools.count(100).__next__)


def names(slots: tuple[Slot, ...]) -> list[str]:
    return [slot.provider.name for slot in slots]


def mock_of(registry: Registry, name: str) -> MockProvider:
    provider = registry.slot(name).provider
    assert isinstance(provider, MockProvider)
    return provider


def test_every_declared_provider_is_made_in_order(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert [(slot.provider.name, slot.provider.channels, slot.attempt_timeout) for slot in registry] == [
        ("phone", (Channel.MMS, Channel.SMS), 7.0),
        ("spare", (Channel.SMS,), 3.0),
        ("post", (Channel.EMAIL,), 7.0),
    ]
    assert [slot.in_flight for slot in registry] == [0, 0, 0]


def test_a_provider_gets_its_own_settings(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert mock_of(registry, "post").settings.error_ratio == 0.5
    assert mock_of(registry, "phone").settings.error_ratio == 0.0


def test_a_seed_is_drawn_only_for_providers_that_have_none(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert [(mock_of(registry, name).seed, mock_of(registry, name).seeded) for name in ("phone", "spare", "post")] == [
        (5, True),
        (100, False),
        (101, False),
    ]


def test_without_routes_those_that_carry_a_channel_are_tried_in_order_of_declaration(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert names(registry.route(Channel.SMS)) == ["phone", "spare"]
    assert names(registry.candidates(Channel.SMS, None)) == ["phone", "spare"]
    assert names(registry.candidates(Channel.EMAIL, None)) == ["post"]


def test_a_route_decides_who_is_tried_and_in_what_order(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE + '[routes]\nsms = ["spare", "phone"]\nmms = []')
    assert names(registry.candidates(Channel.SMS, None)) == ["spare", "phone"]
    assert registry.route(Channel.MMS) == ()
    with pytest.raises(InvalidRouting, match=r"routes\.mms") as caught:
        registry.candidates(Channel.MMS, None)
    assert caught.value.channel is Channel.MMS


def test_a_pinned_provider_is_the_only_candidate_even_beside_the_route(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE + '[routes]\nsms = ["phone"]\nmms = []')
    assert names(registry.candidates(Channel.SMS, "spare")) == ["spare"]
    assert names(registry.candidates(Channel.MMS, "phone")) == ["phone"]


@pytest.mark.parametrize(
    ("channel", "pinned", "description"),
    [
        (Channel.SMS, "nobody", "must name a provider that exists; ListProviders names them all"),
        (Channel.SMS, "Phone", "must name a provider that exists; ListProviders names them all"),
        (Channel.SMS, "", "must name a provider that exists; ListProviders names them all"),
        (Channel.EMAIL, "phone", "must name a provider that carries email"),
    ],
)
def test_a_pin_that_cannot_be_kept_is_the_callers_fault(
    channel: Channel, pinned: str, description: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidProvider) as caught:
        build(tmp_path, THREE).candidates(channel, pinned)
    assert [(one.field, one.description) for one in caught.value.violations] == [("options.provider_name", description)]


def test_slots_are_found_by_name(tmp_path: Path) -> None:
    registry = build(tmp_path, THREE)
    assert registry.slot("post").provider.name == "post"
    with pytest.raises(ProviderNotFound):
        registry.slot("nobody")


async def test_providers_are_closed_last_made_first() -> None:
    closed: list[str] = []

    class Noted(Puppet):
        async def close(self) -> None:
            closed.append(self.name)

    await registry_of(Noted("a"), Noted("b"), Noted("c")).close()
    assert closed == ["c", "b", "a"]


async def test_one_that_fails_to_close_keeps_no_other_from_closing() -> None:
    class Broken(Puppet):
        async def close(self) -> None:
            raise OSError("a connection that is gone")

    first = Puppet("a")
    with suppress(OSError, ExceptionGroup):  # it may be told, once all are closed
        await registry_of(first, Broken("b")).close()
    assert first.closed == 1
