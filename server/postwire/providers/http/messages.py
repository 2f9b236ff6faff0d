"""A request to a vendor and its answer, as values."""

from __future__ import annotations

import email.utils
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from postwire.providers.pieces import Body, json_body


class Hasher(Protocol):
    """What `hashlib` and `hmac` make."""

    def update(self, data: bytes, /) -> None:
        """Take more of what is hashed."""
        ...

    def digest(self) -> bytes:
        """The hash of all of it."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Signing:
    """How a request is signed, whose body may be large: `headers` makes more headers of the digest that the body has in
    a hasher of `hasher`."""

    hasher: Callable[[], Hasher]
    headers: Callable[[bytes], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What a vendor is asked. Everything but the method may hold what is nobody else's business."""

    method: str
    url: str = field(repr=False)
    """Whole, and escaped already."""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    body: Body = field(default=b"", repr=False)
    signing: Signing | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a vendor has answered.

    `headers` are by their names in lower case. `body` is at most as long as the sender reads, and `complete` tells
    whether that is all of it.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    body: bytes = field(default=b"", repr=False)
    complete: bool = True

    def json(self) -> Any:
        """The body as JSON, or None if it is not."""
        if not self.complete:
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def fields(self) -> Mapping[str, Any]:
        """The body as an object of JSON; empty if it is something else."""
        found = self.json()
        return found if isinstance(found, dict) else {}

    def retry_after(self, now: int) -> float | None:
        """For how many seconds it asks to be left alone (RFC 9110, section 10.2.3); None if it does not legibly.

        `now`, in µs since the epoch, is what a date is held against.
        """
        value = self.headers.get("retry-after", "").strip()
        if value.isdecimal() and value.isascii():
            return float(value[:_LONGEST])
        try:
            date = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        return max(date.timestamp() - now / 1e6, 0.0)


_LONGEST: Final = 9
"""Digits, at most, of a number of seconds."""


def json_request(method: str, url: str, value: Any, headers: Mapping[str, str]) -> HttpRequest:
    """A request whose body is `value` as JSON, always the same for the same value: see `pieces.json_body`."""
    return HttpRequest(method, url, {"Content-Type": "application/json", **headers}, json_body(value))


def form_request(
    url: str, fields: Mapping[str, str] | list[tuple[str, str]], headers: Mapping[str, str]
) -> HttpRequest:
    """A POST of a form (application/x-www-form-urlencoded, in UTF-8); a list has what repeats."""
    kind = "application/x-www-form-urlencoded"
    return HttpRequest("POST", url, {"Content-Type": kind, **headers}, urlencode(fields).encode())
