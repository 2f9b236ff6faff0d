"""The mock: its outcomes can be foretold by anybody with the seed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import build
from tests.support.clock import ManualClock
from tests.support.providers import FakeProvider, registry_of

from postwire.api.call import CallContext
from postwire.api.providers import ProviderServicer
from postwire.core.errors import InvalidMessage, ProviderNotFound, ProviderNotMock
from postwire.core.message import Channel, Content, Mms, OutboundMessage, Sms
from postwire.core.outcome import Outcome, RecipientResult
from postwire.core.principal import LOCAL
from postwire.delivery import Control
from postwire.outbox.sqlite import SqliteOutbox
from postwire.providers.base import Context
from postwire.providers.handover import Handover
from postwire.providers.mock import MockProvider, MockSettings
from postwire.telemetry.receipts import ReceiptFigures
from postwire.v1 import provider_service_pb2 as pb

SUCCESS, RATE_LIMITED, ERROR = Outcome.SUCCESS, Outcome.RATE_LIMITED, Outcome.ERROR
REJECTED, UNCERTAIN = Outcome.REJECTED, Outcome.UNCERTAIN

MIXED: dict[str, Any] = {"error_ratio": 0.25, "rate_limited_ratio": 0.2, "uncertain_ratio": 0.15, "rejected_ratio": 0.1}

# Seed 42 with MIXED, worked out by the reference generator in C and a chain of comparisons, not by the mock.
PREDICTED = (
    *(SUCCESS, ERROR, RATE_LIMITED, RATE_LIMITED, ERROR, SUCCESS, ERROR, SUCCESS, RATE_LIMITED, REJECTED),
    *(ERROR, UNCERTAIN, UNCERTAIN, UNCERTAIN, REJECTED, ERROR, ERROR, UNCERTAIN, ERROR, REJECTED),
)

SIMULATORS = {
    ("+15005550001", "rejected@simulator.postwire.test"): REJECTED,
    ("+15005550002", "error@simulator.postwire.test"): ERROR,
    ("+15005550003", "rate-limited@simulator.postwire.test"): RATE_LIMITED,
    ("+15005550004", "uncertain@simulator.postwire.test"): UNCERTAIN,
    ("+15005550006", "success@simulator.postwire.test"): SUCCESS,
}


def mock(*, random_seed: int = 7, **settings: Any) -> MockProvider:
    return MockProvider(Context("mock", tuple(Channel), lambda: random_seed), MockSettings(**settings))


def message(content: Content | None = None) -> OutboundMessage:
    return OutboundMessage(content or build.sms())


async def outcomes(provider: MockProvider, count: int) -> tuple[Outcome, ...]:
    return tuple([(await provider.send(message(), Handover(str(i)))).outcome for i in range(count)])


async def test_the_first_twenty_outcomes_of_seed_42() -> None:
    assert await outcomes(mock(seed=42, **MIXED), 20) == PREDICTED


async def test_an_unseeded_mock_draws_from_the_seed_it_tells() -> None:
    provider = mock(random_seed=42, **MIXED)
    assert (provider.seed, provider.seeded) == (42, False)
    assert await outcomes(provider, 20) == PREDICTED


async def test_a_seed_of_zero_is_a_seed() -> None:
    provider = mock(seed=0, random_seed=42)
    assert (provider.seed, provider.seeded) == (0, True)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("error_ratio", ERROR),
        ("rate_limited_ratio", RATE_LIMITED),
        ("uncertain_ratio", UNCERTAIN),
        ("rejected_ratio", REJECTED),
    ],
)
async def test_a_ratio_of_one_is_always_and_of_zero_never(name: str, outcome: Outcome) -> None:
    always: dict[str, Any] = {name: 1.0}
    never: dict[str, Any] = {name: 0.0}
    assert set(await outcomes(mock(seed=1, **always), 200)) == {outcome}
    assert set(await outcomes(mock(seed=1, **never), 200)) == {SUCCESS}


async def test_ratios_that_sum_to_one_leave_no_success() -> None:
    quarters: dict[str, Any] = dict.fromkeys(MIXED, 0.25)
    drawn = await outcomes(mock(seed=1, **quarters), 400)
    assert set(drawn) == {ERROR, RATE_LIMITED, UNCERTAIN, REJECTED}


@pytest.mark.parametrize("ratios", [(0.1, 0.2, 0.7, 0.0), (0.3, 0.3, 0.3, 0.1), (0.7, 0.1, 0.1, 0.1)])
def test_ratios_that_sum_to_one_but_for_binary_fractions_are_allowed(ratios: tuple[float, ...]) -> None:
    settings: dict[str, Any] = dict(zip(MIXED, ratios, strict=True))
    MockSettings(**settings).check()


def test_ratios_that_sum_to_over_one_are_refused_by_a_line_led_by_the_key() -> None:
    with pytest.raises(ValueError, match=r"^error_ratio: .* 1\.1, and must be at most 1$"):
        MockSettings(error_ratio=0.6, uncertain_ratio=0.5).check()


@pytest.mark.parametrize("outcome", list(dict.fromkeys(SIMULATORS.values())))
async def test_what_a_result_tells_beside_its_outcome(outcome: Outcome) -> None:
    to = next(phone for (phone, _), forced in SIMULATORS.items() if forced is outcome)
    result = await mock(seed=1, retry_after=2.5).send(message(Sms(to, "Hi")), Handover("m-1"))
    assert result.outcome is outcome
    assert result.provider_message_id == ("mock-m-1" if outcome is SUCCESS else "")
    assert result.error_code == ("" if outcome is SUCCESS else f"mock_{outcome.value}")
    assert bool(result.detail) is (outcome is not SUCCESS)
    assert result.retry_after == (2.5 if outcome is RATE_LIMITED else None)
    assert result.recipients == ()


@pytest.mark.parametrize(("addresses", "outcome"), SIMULATORS.items(), ids=lambda value: str(value))
async def test_simulator_recipients_force_an_outcome_and_use_no_draw(
    addresses: tuple[str, str], outcome: Outcome
) -> None:
    phone, mailbox = addresses
    provider = mock(seed=42, **MIXED)
    for content in (Sms(phone, "Hi"), Mms(phone, "Hi"), build.email(mailbox), build.email(mailbox.upper())):
        assert (await provider.send(message(content), Handover("k"))).outcome is outcome
    assert await outcomes(provider, 20) == PREDICTED


async def test_an_email_to_simulators_alone_has_an_outcome_a_recipient_and_uses_no_draw() -> None:
    provider = mock(seed=42, **MIXED)
    content = build.email(
        "success@simulator.postwire.test",
        cc=("rejected@simulator.postwire.test",),
        bcc=("success@simulator.postwire.test",),
    )
    result = await provider.send(message(content), Handover("k"))
    assert result.outcome is REJECTED
    assert result.recipients == (
        RecipientResult(SUCCESS, provider_message_id="mock-k-0"),
        RecipientResult(REJECTED, "mock_rejected"),
        RecipientResult(SUCCESS, provider_message_id="mock-k-2"),
    )
    assert result.provider_message_id == "mock-k", "it took the message for those it did not reject"
    assert await outcomes(provider, 20) == PREDICTED


async def test_the_other_recipients_of_an_email_fare_alike_by_one_draw() -> None:
    provider = mock(seed=42, **MIXED)
    content = build.email("a@example.com", "uncertain@simulator.postwire.test", "b@example.com")
    first = await provider.send(message(content), Handover("k"))
    assert [one.outcome for one in first.recipients] == [PREDICTED[0], UNCERTAIN, PREDICTED[0]]
    assert first.outcome is UNCERTAIN
    second = await provider.send(message(content), Handover("k"))
    assert [one.outcome for one in second.recipients] == [PREDICTED[1], UNCERTAIN, PREDICTED[1]]
    assert second.provider_message_id == "", "nobody got it"


async def test_an_email_without_simulators_is_one_draw_whatever_the_number_of_recipients() -> None:
    provider = mock(seed=42, **MIXED)
    content = build.email(*(f"{i}@example.com" for i in range(50)))
    results = [await provider.send(message(content), Handover("k")) for _ in range(20)]
    assert tuple(result.outcome for result in results) == PREDICTED
    assert all(result.recipients == () for result in results)


async def test_draws_are_taken_on_entry_and_in_order_even_while_calls_wait() -> None:
    """The nth call gets the nth draw, though all of them wait, are changed in between, and some are given up."""
    provider = mock(seed=42, latency=3600.0, **MIXED)
    waiting = [asyncio.create_task(provider.send(message(), Handover(str(i)))) for i in range(10)]
    await asyncio.sleep(0)  # all of them are in `send` now
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    provider.prepare_update({"latency": 0.0})()
    assert await outcomes(provider, 10) == PREDICTED[10:]


async def test_calls_that_run_at_once_get_draws_in_the_order_of_their_start() -> None:
    provider = mock(seed=42, latency=1e-9, **MIXED)
    calls = [provider.send(message(), Handover(str(i))) for i in range(20)]
    assert tuple(result.outcome for result in await asyncio.gather(*calls)) == PREDICTED


async def test_a_new_seed_starts_at_its_first_draw() -> None:
    provider = mock(random_seed=5, **MIXED)
    await outcomes(provider, 3)
    provider.prepare_update({"seed": 42})()
    assert (provider.seed, provider.seeded) == (42, True)
    assert await outcomes(provider, 7) == PREDICTED[:7]
    provider.prepare_update({"seed": 42})()
    assert await outcomes(provider, 20) == PREDICTED


async def test_other_changes_leave_the_draws_where_they_are() -> None:
    provider = mock(seed=42, **MIXED)
    await outcomes(provider, 5)
    provider.prepare_update({"retry_after": 1.0})()
    assert await outcomes(provider, 15) == PREDICTED[5:]


@given(
    st.dictionaries(st.sampled_from([*MIXED, "latency", "retry_after"]), st.floats(0, 0.2)),
)
def test_what_a_change_does_not_name_stays(changes: dict[str, float]) -> None:
    provider = mock(seed=42, latency=0.5, retry_after=0.25, **MIXED)
    provider.prepare_update(changes)()
    expected: dict[str, Any] = {"seed": 42, "latency": 0.5, "retry_after": 0.25, **MIXED, **changes}
    assert provider.settings == MockSettings(**expected)


async def test_a_refused_change_leaves_all_as_it_was() -> None:
    provider = mock(seed=42, **MIXED)
    await outcomes(provider, 5)
    before = provider.settings
    with pytest.raises(ValueError, match="at most 1"):
        provider.prepare_update({"seed": 1, "latency": 9.0, "error_ratio": 0.9})()
    assert provider.settings == before
    assert provider.seed == 42
    assert await outcomes(provider, 15) == PREDICTED[5:]


# Through the contract.


async def update(provider: MockProvider | FakeProvider, **fields: Any) -> pb.Provider:
    outbox = await SqliteOutbox.open(":memory:")
    try:
        control = Control(registry=registry_of(provider), outbox=outbox, clock=ManualClock())
        request = pb.UpdateMockProviderRequest(**{"name": "mock", **fields})
        call = CallContext(LOCAL, lambda: None)
        return (await ProviderServicer(control, ReceiptFigures()).UpdateMockProvider(request, call)).provider
    finally:
        await outbox.close()


async def test_its_capabilities_are_shown() -> None:
    assert (await update(mock(), seed=1)).capabilities == ["simulated", "update"]


async def test_a_ratio_of_zero_is_a_change_and_an_absent_one_is_none() -> None:
    provider = mock(seed=42, latency=0.5, **MIXED)
    reported = await update(provider, error_ratio=0.0, seed=0)
    assert provider.settings == MockSettings(**{**MIXED, "error_ratio": 0.0, "latency": 0.5, "seed": 0})
    assert (reported.name, reported.kind, reported.seed, reported.seeded) == ("mock", "mock", 0, True)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), float("inf")])
async def test_every_bad_field_of_a_change_is_named_and_none_is_made(ratio: float) -> None:
    provider = mock(seed=42)
    before = provider.settings
    with pytest.raises(InvalidMessage) as caught:
        await update(
            provider, error_ratio=ratio, uncertain_ratio=0.5, latency={"seconds": -1}, retry_after={"nanos": -1}
        )
    assert [one.field for one in caught.value.violations] == ["error_ratio", "latency", "retry_after"]
    assert provider.settings == before


async def test_ratios_that_do_not_go_together_are_a_bad_field() -> None:
    provider = mock(seed=42, error_ratio=0.6)
    with pytest.raises(InvalidMessage) as caught:
        await update(provider, rejected_ratio=0.6)
    assert [one.field for one in caught.value.violations] == ["error_ratio"]


async def test_only_a_mock_that_exists_can_be_changed() -> None:
    provider = mock()
    with pytest.raises(InvalidMessage, match="name: must name a provider"):
        await update(provider, name="")
    with pytest.raises(ProviderNotFound):
        await update(provider, name="other")
    with pytest.raises(ProviderNotMock):
        await update(FakeProvider("real"), name="real")
