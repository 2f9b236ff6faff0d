"""From arguments to the contract's messages: texts, files, options."""

from __future__ import annotations

import mimetypes
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from postwire_client import Attachment, DispatchOptions, Media

_URL: Final = re.compile(r"https?://", re.IGNORECASE)
_UNKNOWN_TYPE: Final = "application/octet-stream"


def text(value: str) -> str:
    """The text itself, or for `-`, what stdin holds, without its last line break."""
    if value != "-":
        return value
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise click.UsageError("stdin is not UTF-8") from None


def media(source: str) -> Media:
    """What is at an address, or in a file."""
    from postwire_client import Media

    if _URL.match(source):
        return Media(url=source)
    path = Path(source)
    return Media(data=_bytes(path), content_type=_type(path), file_name=path.name)


def attachment(path: Path) -> Attachment:
    """A file, attached."""
    from postwire_client import Attachment

    return Attachment(file_name=path.name, content_type=_type(path), data=_bytes(path))


@dataclass(frozen=True, slots=True)
class Given:
    """How to send, as arguments say it. `send` and `expire` are times of UTC, or seconds from now."""

    provider: str
    priority: str | None
    delivery_guarantee: str | None
    max_attempts: int | None
    send: datetime | float | None
    expire: datetime | float | None


def options(given: Given, *, wait_for: str | None = None) -> DispatchOptions:
    """How to send, as the contract says it."""
    from postwire_client import DeliveryGuarantee, DispatchOptions, Priority, WaitFor

    made = DispatchOptions(provider_name=given.provider)
    if given.max_attempts is not None:
        made.max_attempts = given.max_attempts
    if wait_for:
        made.wait_for = WaitFor.Value(f"WAIT_FOR_{wait_for.upper()}")
    if given.priority:
        made.priority = Priority.Value(f"PRIORITY_{given.priority.upper()}")
    if given.delivery_guarantee:
        spelled = given.delivery_guarantee.upper().replace("-", "_")
        made.delivery_guarantee = DeliveryGuarantee.Value(f"DELIVERY_GUARANTEE_{spelled}")
    now = datetime.now(UTC)
    if send_time := _moment(given.send, now):
        made.send_time.FromDatetime(send_time)
    if expire_time := _moment(given.expire, now):
        made.expire_time.FromDatetime(expire_time)
    return made


def _moment(when: datetime | float | None, now: datetime) -> datetime | None:
    return now + timedelta(seconds=when) if isinstance(when, float) else when


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as wrong:
        why = wrong.strerror if isinstance(wrong, OSError) else "it is no path"
        raise click.UsageError(f"cannot read {path}: {why}") from None


def _type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or _UNKNOWN_TYPE
