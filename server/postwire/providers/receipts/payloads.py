"""What readers of receipts share to read what a vendor sends. Nobody has promised that any of it is as it should be."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from postwire.core import reference as references
from postwire.providers.receipts.base import ReceiptCall, Unreadable

MAX_FIELDS: Final = 1_000
"""Fields of a form at most: the largest that any vendor sends has some forty."""

MAX_SECONDS: Final = 253_402_300_799
"""The last second of the year 9999."""

MAX_UNPROVEN: Final = 64 * 1024
"""Bytes of a call that are looked into before it is known whose it is. Of the whole MiB that a call may have, that
could take a third of a second, in which nothing else is done."""

_REFERENCE: Final = re.compile(rf"[A-Za-z0-9_-]{{{references.LENGTH}}}")
_NUMBER: Final = re.compile(r"\+?([1-9][0-9]{2,14})")


def unproven(body: bytes, at_most: int = MAX_UNPROVEN) -> bytes:
    """The body of a call, where that is to be looked into before it is known whose it is.

    Raises:
        Unreadable: it has more than `at_most` bytes.
    """
    if len(body) > at_most:
        raise Unreadable(f"is larger than {at_most} bytes")
    return body


def json_object(body: bytes | str) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        Unreadable: it is something else.
    """
    found = json_value(body)
    if not isinstance(found, dict):
        raise Unreadable("is not an object of JSON")
    return found


def json_value(body: bytes | str) -> Any:
    """What stands in JSON, encoded in UTF-8.

    Raises:
        Unreadable: it is not JSON.
    """
    try:
        return json.loads(body.decode() if isinstance(body, bytes) else body)
    except (ValueError, RecursionError):
        raise Unreadable("is not JSON") from None


def events_in(body: bytes) -> list[dict[str, Any]]:
    """The events of a call that has one, or several in an array, each with its name as `event`.

    Raises:
        Unreadable: it is not JSON, or none of it is an event.
    """
    value = json_value(body)
    events = value if isinstance(value, list) else [value]
    if events and not any(isinstance(one, dict) and isinstance(one.get("event"), str) for one in events):
        raise Unreadable("there is no event")
    return [event for event in events if isinstance(event, dict)]


def form_fields(call: ReceiptCall) -> list[tuple[str, str]]:
    """The fields of a call: of its form, or of the query if it is a GET. In order, and empty ones too.

    Raises:
        Unreadable: it is no form, not in UTF-8, or too large.
    """
    try:
        text = urlsplit(call.url).query if call.method == "GET" else unproven(call.body).decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Unreadable("is not a form in UTF-8") from None


def object_in(value: Any, *path: str) -> dict[str, Any]:
    """The object of JSON that is found at `path`; an empty one where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def list_in(value: Any, name: str) -> list[Any]:
    """The array of JSON by a name; an empty one where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def text_of(value: Any) -> str:
    """A text as it may be kept: empty where it is something else, or cannot be written in UTF-8."""
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value


def number_of(value: Any) -> str:
    """A phone number in E.164, of one that may lack its plus; empty where it is none."""
    found = _NUMBER.fullmatch(text_of(value))
    return f"+{found[1]}" if found else ""


def reference_of(value: Any) -> str:
    """A text that may be a reference of ours; empty where it cannot be."""
    return value if isinstance(value, str) and _REFERENCE.fullmatch(value) else ""


def numbered(event_id: str, at: int) -> str:
    """The id of one of several receipts that a vendor has reported under one id; `at` is from 0."""
    return f"{event_id}#{at}" if event_id and at else event_id


def time_of(value: Any) -> int | None:
    """A time by ISO 8601, in UTC where it does not say, in µs since the epoch; None where it is none."""
    try:
        found = datetime.fromisoformat(text_of(value))
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None


def seconds_of(value: Any) -> int | None:
    """A time in seconds since the epoch, whole or not, in µs since then; None where it is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value * 1_000_000) if is_number and 0 <= value <= MAX_SECONDS else None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
