"""What a provider says is special about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.providers import FakeProvider

from postwire.core.message import Channel, OutboundMessage
from postwire.core.outcome import DispatchResult
from postwire.providers import capabilities
from postwire.providers.base import Context, Provider, ProviderHealth, Seeded, Updatable
from postwire.providers.capabilities import Capabilities
from postwire.providers.handover import Handover
from postwire.providers.mock import MockProvider, MockSettings


class Sandbox(FakeProvider):
    """Somebody's own provider that sends nothing, and has no more to it."""

    simulated = True


class Misleading(FakeProvider):
    """One that sends, with attributes that are named like capabilities."""

    seed = "a secret"

    def prepare_update(self, changes: Mapping[str, Any]) -> None:
        raise AssertionError


def test_most_providers_have_none() -> None:
    assert capabilities.of(FakeProvider()) == Capabilities()
    assert Capabilities().words == ()


def test_what_only_simulated_providers_have_is_not_taken_from_others() -> None:
    assert capabilities.of(Misleading()) == Capabilities()


def test_one_may_be_simulated_and_no_more() -> None:
    found = capabilities.of(Sandbox())
    assert found == Capabilities(simulated=True)
    assert found.words == ("simulated",)


def test_a_mock_has_them_all() -> None:
    mock = MockProvider(Context("m", (Channel.SMS,), lambda: 7), MockSettings(seed=5))
    updatable: Updatable = mock
    seeded: Seeded = mock
    assert (updatable.simulated, seeded.seed) == (True, 5)
    found = capabilities.of(mock)
    assert (found.words, found.seed, found.seeded) == (("simulated", "update"), 5, True)


def test_they_are_as_they_are_now() -> None:
    mock = MockProvider(Context("m", (Channel.SMS,), lambda: 7), MockSettings())
    assert (capabilities.of(mock).seed, capabilities.of(mock).seeded) == (7, False)
    prepare = capabilities.of(mock).prepare_update
    assert prepare is not None
    prepare({"seed": 8})()
    assert (capabilities.of(mock).seed, capabilities.of(mock).seeded) == (8, True)


def test_what_is_optional_is_looked_up_as_it_is() -> None:
    class Bare:
        name, kind, channels = "bare", "bare", (Channel.SMS,)

        async def send(self, message: OutboundMessage, handover: Handover) -> DispatchResult:
            raise NotImplementedError

        async def check(self) -> ProviderHealth:
            raise NotImplementedError

    bare: Provider = Bare()
    assert capabilities.carries_of(bare) is None
    assert capabilities.dedup_window_of(bare) == 0.0
    assert capabilities.open_of(bare) is None
    assert capabilities.close_of(bare) is None
    some = FakeProvider(dedup_window=7.0)
    assert capabilities.carries_of(some) is None, "it says that it is not selective"
    some.selective = True
    assert capabilities.carries_of(some) == some.carries
    assert capabilities.dedup_window_of(some) == 7.0
    assert (capabilities.open_of(some), capabilities.close_of(some)) == (some.open, some.close)
