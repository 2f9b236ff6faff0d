"""What every provider keeps to, whatever is behind it: the promises of `providers.base.Provider`.

A kind that is new to `builtin.KINDS` fails here until `MAKERS` says how to make one whose vendor answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from tests.support import build

from postwire.core.message import Attachment, Channel, Content, Email, Media, Mms, OutboundMessage
from postwire.core.outcome import DispatchResult, Outcome, worst
from postwire.providers.base import Context, Provider
from postwire.providers.builtin import KINDS
from postwire.providers.handover import Handover
from postwire.providers.mock import MockSettings
from postwire.providers.registry import close

Make = Callable[[str, tuple[Channel, ...]], Provider]


def _mock(name: str, channels: tuple[Channel, ...]) -> Provider:
    # A wait, however short, makes a call one that can be cancelled half-way.
    return KINDS["mock"].make(Context(name, channels, lambda: 1), MockSettings(latency=0.001))


MAKERS: Mapping[str, Make] = {"mock": _mock}
"""By kind: how to make one that can be reached, and takes what it is given."""

CARRIES: Mapping[str, tuple[Channel, ...]] = {"mock": tuple(Channel)}
"""By kind: what it can carry."""

CONTENTS: Mapping[Channel, tuple[Content, ...]] = {
    Channel.SMS: (build.sms(), build.sms("\u00fc \U0001f600")),
    Channel.MMS: (
        build.mms(),
        Mms("+15005550100", media=(Media(data=b"\x89PNG", content_type="image/png"),)),
    ),
    Channel.EMAIL: (
        build.email(),
        build.email(
            *(f"{i}@example.com" for i in range(20)),
            cc=("c@example.com",),
            bcc=("d@example.com",),
            html="<p>\u00fc</p>",
            headers={"X-Campaign": "\u00fc"},
            attachments=(Attachment("\u00fc.pdf", "application/pdf", b"%PDF"),),
        ),
    ),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def provider(kind: str) -> AsyncIterator[Provider]:
    made = MAKERS[kind](f"a-{kind}", CARRIES[kind])
    yield made
    await close(made)


def sendable(provider: Provider) -> list[OutboundMessage]:
    return [
        OutboundMessage(content, {"team": "auth"}) for channel in provider.channels for content in CONTENTS[channel]
    ]


def check(result: DispatchResult, message: OutboundMessage) -> None:
    assert isinstance(result, DispatchResult)
    assert result.outcome is Outcome.SUCCESS
    assert result.provider_message_id
    if result.recipients:
        assert isinstance(message.content, Email)
        assert len(result.recipients) == len(message.content.recipients)
        assert result.outcome is worst(one.outcome for one in result.recipients)


def test_every_kind_is_tried_here() -> None:
    assert set(MAKERS) == set(CARRIES) == set(KINDS)
    assert all(CARRIES.values())


def test_a_kind_has_settings_that_the_configuration_can_read(kind: str) -> None:
    assert KINDS[kind].settings.__dataclass_params__.frozen


async def test_it_is_what_it_was_made_as(provider: Provider, kind: str) -> None:
    assert (provider.name, provider.kind, provider.channels) == (f"a-{kind}", kind, CARRIES[kind])


async def test_channels_are_those_of_its_declaration_in_their_order(kind: str) -> None:
    for channels in (CARRIES[kind][:1], CARRIES[kind][::-1]):
        made = MAKERS[kind]("some", channels)
        assert made.channels == channels
        await close(made)


async def test_it_carries_each_of_its_channels(provider: Provider) -> None:
    for number, message in enumerate(sendable(provider)):
        check(await provider.send(message, Handover(f"key-{number}")), message)


async def test_one_message_can_be_sent_again_under_its_key(provider: Provider) -> None:
    message = sendable(provider)[0]
    for _ in range(2):
        check(await provider.send(message, Handover("the same")), message)


async def test_calls_run_side_by_side(provider: Provider) -> None:
    messages = sendable(provider) * 10
    results = await asyncio.gather(
        *(provider.send(message, Handover(f"key-{i}")) for i, message in enumerate(messages))
    )
    for result, message in zip(results, messages, strict=True):
        check(result, message)


async def test_a_call_that_is_cancelled_ends_and_leaves_the_provider_usable(provider: Provider) -> None:
    message = sendable(provider)[0]
    calls = [asyncio.create_task(provider.send(message, Handover(f"gone-{i}"))) for i in range(5)]
    other = asyncio.create_task(provider.send(message, Handover("stays")))
    await asyncio.sleep(0)  # a turn of the loop, in which they begin
    for call in calls:
        call.cancel()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    check(await other, message)
    check(await provider.send(message, Handover("after")), message)


async def test_a_check_says_that_it_can_be_reached(provider: Provider) -> None:
    health = await provider.check()
    assert health.ok, health.detail


async def test_results_hold_nothing_of_the_message(provider: Provider) -> None:
    canary = "Zq9canary7"
    contents: dict[Channel, Content] = {
        Channel.SMS: build.sms(canary),
        Channel.MMS: build.mms(canary),
        Channel.EMAIL: build.email(f"{canary}@example.com", text=canary),
    }
    for channel in provider.channels:
        result = await provider.send(OutboundMessage(contents[channel], {canary: canary}), Handover("key"))
        assert canary not in repr(result)


async def test_it_closes_without_having_been_used(kind: str) -> None:
    await close(MAKERS[kind]("unused", CARRIES[kind]))
