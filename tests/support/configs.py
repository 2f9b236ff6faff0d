"""Configurations to read: two kinds of provider, and some files that declare them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from postwire.config.types import CountOrNone, Duration, Ratio, Seed
from postwire.core.message import Channel
from postwire.providers.base import Context, Kind, Provider


@dataclass(frozen=True, slots=True)
class MockSettings:
    """The mock's settings as section 9 has them, so that these tests stand by themselves."""

    seed: Seed | None = None
    error_ratio: Ratio = 0.0
    rate_limited_ratio: Ratio = 0.0
    uncertain_ratio: Ratio = 0.0
    rejected_ratio: Ratio = 0.0
    latency: Duration = 0.0
    retry_after: Duration = 0.0
    connect_error_ratio: Ratio = 0.0
    deferred_ratio: Ratio = 0.0
    misconfigured: bool = False
    dedup_window: Duration = 0.0
    open_delay: Duration = 0.0
    max_recipients: CountOrNone = 0
    delivered_ratio: Ratio = 0.0
    undelivered_ratio: Ratio = 0.0
    receipt_delay: Duration = 0.0
    doubled_receipt_ratio: Ratio = 0.0

    def check(self) -> None:
        if self.error_ratio + self.rate_limited_ratio + self.uncertain_ratio + self.rejected_ratio > 1:
            raise ValueError("error_ratio, rejected_ratio: sum to over 1, must sum to 1 at most")


@dataclass(frozen=True, slots=True)
class RelaySettings:
    host: str
    password: str | None = field(default=None, repr=False, metadata={"secret": True})


def kind_of(settings: type[Any], **declared: Any) -> Kind:
    """A kind with these settings, of which no provider is made."""

    def make(context: Context, options: Any) -> Provider:
        raise NotImplementedError

    return replace(Kind(settings=settings, make=make, channels=tuple(Channel), summary="A test's."), **declared)


KINDS: Mapping[str, Kind] = {"mock": kind_of(MockSettings), "relay": kind_of(RelaySettings)}

TWO = """
[providers.a]
kind = "mock"
channels = ["sms", "mms"]
[providers.b-2]
kind = "relay"
host = "h"
channels = ["sms", "email"]
"""
ONE = '[providers.a]\nkind = "mock"\nchannels = ["sms"]\n'
RELAY = '[providers.a]\nkind = "relay"\nchannels = ["sms"]\nhost = "h"\n'
