"""Pieces of a `postwire.toml`: mocks, and routes that a label chooses."""

from __future__ import annotations

from typing import Final

from postwire.v1.message_pb2 import OutboundMessage

ERRORS: Final = "error_ratio = 1"
THROTTLES: Final = "rate_limited_ratio = 1"
STAYS_CLOSED: Final = "breaker = { window_calls = 100000, minimum_calls = 100000, failure_ratio = 1 }"
"""A breaker that sees nothing wrong; after a first success, which makes it less than all that fail, nothing at all."""


def mock(name: str, *settings: str) -> str:
    """A mock that carries everything, with settings of its own."""
    return "\n".join((f"[providers.{name}]", 'kind = "mock"', 'channels = ["sms", "mms", "email"]', *settings, ""))


def rule(channel: str, tiers: str, *, match: str = "", overflow: bool = False) -> str:
    """A rule of a channel's routes, with `tiers` and `match` as TOML has them."""
    lines = [f"[[routes.{channel}]]", f"tiers = {tiers}", f"overflow = {str(overflow).lower()}"]
    return "\n".join([*lines, *([f"match = {match}"] if match else []), ""])


def case(name: str, tiers: str, *, channel: str = "sms", overflow: bool = False) -> str:
    """A rule for the messages that `of` has marked: tests that share a server have routes of their own."""
    return rule(channel, tiers, match=f'{{ labels = {{ case = "{name}" }} }}', overflow=overflow)


def of(name: str, message: OutboundMessage) -> OutboundMessage:
    """The message, marked for the rule that `case` made."""
    message.labels["case"] = name
    return message
