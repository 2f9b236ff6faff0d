"""Keys that every kind of SMS has: whom a message is from, and how long it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from postwire.config.bind import setting
from postwire.config.tables import TextTable
from postwire.config.types import CountOrNone
from postwire.core.errors import FieldViolation
from postwire.core.message import Mms, OutboundMessage, Sms
from postwire.providers.sms.encoding import segments

PREFIX = TextTable(
    'a table of senders by the beginning of a number, such as { "+1" = "+15005550006" }',
    names=r"\+[0-9]{1,15}",
    named="the beginning of a number, such as +44",
)


@dataclass(frozen=True, kw_only=True)  # without slots: kinds derive from several such classes
class SegmentSettings:
    """How long an SMS may be. `max_segments` is 0 where there is no limit."""

    max_segments: CountOrNone = setting(0, help="How many segments an SMS may take; 0: any number.")


@dataclass(frozen=True, kw_only=True)
class SmsSettings(SegmentSettings):
    """See the module."""

    sender: str | None = setting(None, help="Whom messages are from that name no sender themselves.")
    senders: Annotated[Mapping[str, str], PREFIX] = setting(
        default_factory=dict, help="The same by the beginning of the number; the longest that fits is taken."
    )

    @cached_property
    def prefix_lengths(self) -> tuple[int, ...]:
        """How long the prefixes in `senders` are, the longest first."""
        return tuple(sorted({len(prefix) for prefix in self.senders}, reverse=True))


def sender_of(settings: SmsSettings, content: Sms | Mms) -> str | None:
    """Whom a message is from: its own sender, else that for the longest prefix of the number, else the common one."""
    if content.sender:
        return content.sender
    to = content.to
    for length in settings.prefix_lengths:
        if found := settings.senders.get(to[:length]):
            return found
    return settings.sender


def without_plus(sender: str) -> str:
    """A number, or a sender that may be one, as many vendors want it: without its plus. A name stays as it is."""
    return sender[1:] if re.fullmatch(r"\+[0-9]+", sender) else sender


def why_not(settings: SmsSettings, message: OutboundMessage, *, has_sender: bool = False) -> FieldViolation | None:
    """Why a message cannot be carried with these settings; None if it can. `has_sender`: the vendor has one itself."""
    content = message.content
    assert isinstance(content, Sms | Mms)
    if not has_sender and not sender_of(settings, content):
        return FieldViolation(
            f"message.{message.channel.value}.sender", "must be given: the provider has none for this number"
        )
    return too_long(settings, message)


def too_long(settings: SegmentSettings, message: OutboundMessage) -> FieldViolation | None:
    """Why a message is too long for these settings; None if it is not. An MMS has no segments."""
    content = message.content
    if settings.max_segments and isinstance(content, Sms):
        _, count = segments(content.body)
        if count > settings.max_segments:
            most = settings.max_segments
            unit = "segment" if most == 1 else "segments"
            return FieldViolation("message.sms.body", f"must fit into at most {most} {unit}, and takes {count}")
    return None
