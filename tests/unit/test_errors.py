"""What each refusal tells its caller. Texts are for people, but clients print them and docs/ quotes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postwire.core.errors import (
    FieldViolation,
    InvalidMessage,
    InvalidProvider,
    InvalidRouting,
    MessageNotFound,
    MessageNotQueued,
    MessageNotUncertain,
    Overloaded,
    ProviderDrained,
    ProviderNotFound,
    ProviderNotMock,
    Refusal,
    RequestIdReused,
    ResumeTokenExpired,
    ShuttingDown,
    StoreUnavailable,
    TryAgain,
)
from postwire.core.message import Channel, MessageState

# Made in the tests, not here: what is made while this file is read is made by code that `make mutate` does not watch.
TEXTS: list[tuple[Callable[[], Refusal], str]] = [
    (lambda: InvalidMessage("message.sms.to: bad"), "message.sms.to: bad"),
    (lambda: InvalidProvider("must exist"), "options.provider_name: must exist"),
    (
        lambda: InvalidRouting(Channel.MMS),
        "no provider carries the channel mms: see routes.mms of the server",
    ),
    (
        RequestIdReused,
        "request_id: already used for a message with another payload; send the same payload or another id",
    ),
    (MessageNotFound, "message_id: there is no such message"),
    (
        lambda: MessageNotQueued(MessageState.SENT),
        "message_id: this message is sent, and only one that is queued can be cancelled",
    ),
    (
        lambda: MessageNotUncertain(MessageState.FAILED),
        "message_id: this message is failed, and only one that is uncertain can be resolved",
    ),
    (
        ResumeTokenExpired,
        "resume_token: it is too old: watch without it, and list what has changed since",
    ),
    (ProviderNotFound, "name: there is no such provider; ListProviders names them all"),
    (
        lambda: ProviderNotMock("smtp"),
        "name: this provider is of kind smtp, and only a mock can be changed",
    ),
    (ProviderDrained, "name: this provider is drained: resume it instead"),
    (Overloaded, "too much is in flight: slow down and try again"),
    (lambda: Overloaded(text="too many wait"), "too many wait"),
    (StoreUnavailable, "the store cannot commit: repeat the call with the same request_id"),
    (lambda: StoreUnavailable("it cannot be read"), "it cannot be read"),
    (ShuttingDown, "the server is shutting down: try again, at another server if there is one"),
]


@pytest.mark.parametrize(("refuse", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_each_refusal_has_its_text(refuse: Callable[[], Refusal], text: str) -> None:
    assert str(refuse()) == text


@pytest.mark.parametrize("kind", [Overloaded, StoreUnavailable, ShuttingDown])
def test_whoever_is_to_try_again_is_told_when(kind: Callable[..., TryAgain]) -> None:
    assert kind().retry_delay == 1.0
    assert kind(retry_delay=0.25).retry_delay == 0.25


def test_a_bad_provider_is_a_bad_field() -> None:
    assert InvalidProvider("must exist").violations == (FieldViolation("options.provider_name", "must exist"),)


def test_the_channel_that_nobody_carries_is_known() -> None:
    assert InvalidRouting(Channel.MMS).channel is Channel.MMS


def test_violations_are_kept_and_there_need_be_none() -> None:
    one = FieldViolation("message.sms.to", "must be right")
    assert InvalidMessage("x", iter([one, one])).violations == (one, one)
    assert InvalidMessage("x").violations == ()
