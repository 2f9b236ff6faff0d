"""How times are read: RFC 3339, or so much from now."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import click

MOST_AHEAD: Final = 365 * 86_400.0
"""Seconds that a message may be made to wait, where that is given as a duration."""

_MOST_AGO: Final = 10 * 365 * 86_400.0
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_EXAMPLES: Final = "2030-01-31T12:00:00Z, 2030-01-31T14:00:00+02:00"
TIMES_AHEAD: Final = f"{_EXAMPLES}, or in 2h"
"""What `time_ahead` takes, for people."""

TIMES_PAST: Final = f"{_EXAMPLES}, 2030-01-31, or 2h for two hours ago"
"""What `time_past` takes, for people."""


def parse_time(text: str) -> datetime:
    """The time, in UTC, that RFC 3339 writes as `2030-01-31T12:00:00Z` or `2030-01-31T14:00:00.5+02:00`.

    Raises ValueError, whose text reads on from the time.
    """
    found = _RFC_3339.fullmatch(text.upper())
    if found and not found[1]:
        raise ValueError("has no offset: add Z for UTC, or one such as +02:00")
    if found:
        with suppress(ValueError, OverflowError):  # a 31st of February; a time before the year 1
            return datetime.fromisoformat(found[0]).astimezone(UTC)
    raise ValueError(f"is not a time such as {_EXAMPLES}")


def time_ahead(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | float | None:
    """A callback that makes a time of RFC 3339's, and seconds from now of `in 2h`."""
    from postwire.config.types import format_duration, parse_duration

    if value is None:
        return None
    if relative := re.fullmatch(r"in +(\S+)", value, re.IGNORECASE):
        with suppress(ValueError):
            if 0 < (seconds := parse_duration(relative[1])) <= MOST_AHEAD:
                return seconds
        problem = f"is not more than 0s and at most {format_duration(MOST_AHEAD)} ahead, such as in 2h"
        raise click.BadParameter(f"{value!r} {problem}", ctx, param)
    try:
        return parse_time(value)
    except ValueError as wrong:
        raise click.BadParameter(f"{value!r} {wrong}, or in 2h for two hours from now", ctx, param) from None


def time_past(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """A callback that makes a time of RFC 3339's, of `2030-01-31` (in UTC), or of `2h`: two hours ago."""
    from postwire.config.types import parse_duration

    if value is None:
        return None
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        with suppress(ValueError):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
    with suppress(ValueError):
        if (seconds := parse_duration(value)) <= _MOST_AGO:
            return datetime.now(UTC) - timedelta(seconds=seconds)
    try:
        return parse_time(value)
    except ValueError as wrong:
        raise click.BadParameter(f"{value!r} {wrong}, 2030-01-31, or 2h for two hours ago", ctx, param) from None
