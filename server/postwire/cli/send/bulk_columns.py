"""The columns of a CSV file of messages, named after the contract's fields, and the request that a row makes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from postwire.cli.send.bulk_faults import BadRow, unknown
from postwire.cli.times import parse_time
from postwire.core.message import Channel

_FIELDS: Final = {
    Channel.SMS: ("to", "body", "sender"),
    Channel.MMS: ("to", "body", "sender", "media"),
    Channel.EMAIL: ("to", "cc", "bcc", "subject", "body", "html", "sender", "reply_to"),
}
_TEXTS: Final = ("body", "html", "subject")
"""Kept as they are; other cells lose the spaces around them."""

_CONTENT: Final = tuple(dict.fromkeys(field for fields in _FIELDS.values() for field in fields))
_OPTIONS: Final = ("priority", "delivery_guarantee", "provider_name", "max_attempts", "send_time", "expire_time")
_MAPS: Final = ("labels", "headers")
COLUMNS: Final = ("channel", *_CONTENT, "labels", "labels.KEY", "headers.KEY", "request_id", *_OPTIONS)
"""Every column that there may be."""

_ALIASES: Final = {"text": "body"}


class Columns:
    """A header, checked. Raises BadRow for a column that nobody knows, or that is there twice."""

    def __init__(self, names: list[str], line: int) -> None:
        self._names = [_column(name) for name in names]
        for number, name in enumerate(self._names, 1):
            head, dot, key = name.partition(".")
            is_known = name in COLUMNS if not dot else head in _MAPS and bool(key)
            if not is_known:
                # Without a header the name is a recipient: it is shown only where it is nearly a column's.
                near = difflib.get_close_matches(name, COLUMNS, 1)
                problem = f"{name} is not known, did you mean {near[0]}?" if near else unknown("", COLUMNS)
                raise BadRow(line, f"column {number}", problem)
            if self._names.count(name) > 1:
                raise BadRow(line, f"column {number}", f"{name} is there twice")
        if "to" not in self._names:
            raise BadRow(line, "", "has no column 'to': the first line of a CSV file names its columns")

    def given(self, cells: list[str], line: int) -> dict[str, str]:
        """The cells of a row that hold anything, by their columns. Raises BadRow."""
        if not any(cell.strip() for cell in cells):
            return {}  # a blank line, or one that a spreadsheet has left
        if len(cells) != len(self._names):
            raise BadRow(line, "", f"has {len(cells)} cells, and the header names {len(self._names)}")
        named = zip(self._names, cells, strict=True)
        return {name: cell if name in _TEXTS else cell.strip() for name, cell in named if cell.strip()}

    def request(self, given: dict[str, str], line: int) -> dict[str, Any]:
        """A `DispatchRequest` as protobuf's JSON. Raises BadRow."""
        channel = _channel(given, line)
        content: dict[str, Any] = {}
        labels: dict[str, str] = {}
        options: dict[str, Any] = {}
        made: dict[str, Any] = {"message": {channel.value: content, "labels": labels}, "options": options}
        for name, cell in given.items():
            head, _, key = name.partition(".")
            try:
                if name in _OPTIONS:
                    options[name] = _OPTION[name](cell)
                elif name == "request_id":
                    made[name] = cell
                elif name == "labels":
                    labels.update(_pairs(cell))
                elif head == "labels":
                    labels[key] = cell
                elif name != "channel":
                    if head not in (*_FIELDS[channel], *(("headers",) if channel is Channel.EMAIL else ())):
                        raise ValueError(f"does not go with {channel.value}")
                    _put(content, channel, head, key, cell)
            except ValueError as wrong:
                raise BadRow(line, name, str(wrong)) from None
        return made

    def name_of(self, path: str) -> str:
        """The column of a field's path."""
        last = re.sub(r"\[.*", "", path).rpartition(".")[2]
        return "body" if last == "text" else last


def _column(name: str) -> str:
    """A column's name, whatever its case and the spaces around it. What follows a dot is the caller's own."""
    head, dot, key = name.strip().partition(".")
    head = head.lower()
    return _ALIASES.get(head, head) + dot + key


def _channel(given: dict[str, str], line: int) -> Channel:
    if "channel" not in given:
        if "@" in given.get("to", ""):
            return Channel.EMAIL
        return Channel.MMS if "media" in given else Channel.SMS
    try:
        return Channel(given["channel"].lower())
    except ValueError:
        raise BadRow(line, "channel", f"is not one of {', '.join(channel.value for channel in Channel)}") from None


def _put(content: dict[str, Any], channel: Channel, field: str, key: str, cell: str) -> None:
    if field == "headers":
        content.setdefault(field, {})[key] = cell
    elif field == "media":
        content[field] = [{"url": url} for url in cell.split()]
    elif channel is Channel.EMAIL and field in ("to", "cc", "bcc"):
        content[field] = [one.strip() for one in re.split("[,;]", cell) if one.strip()]
    else:
        content["text" if channel is Channel.EMAIL and field == "body" else field] = cell


def _pairs(cell: str) -> dict[str, str]:
    """Of `order=1; shop=eu`."""
    made: dict[str, str] = {}
    for pair in filter(None, map(str.strip, cell.split(";"))):
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise ValueError("is not KEY=VALUE, or several of them with ; between")
        if key in made:
            raise ValueError("has a key twice")
        made[key] = value
    return made


def _word(prefix: str, *words: str) -> Callable[[str], str]:
    def read(cell: str) -> str:
        spelled = cell.upper().replace("-", "_").removeprefix(f"{prefix}_")
        if spelled not in words:
            raise ValueError(f"is not one of {', '.join(words)}".lower().replace("_", "-"))
        return f"{prefix}_{spelled}"

    return read


def _whole(cell: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", cell):
        raise ValueError("is not a whole number")
    return int(cell)


def _time(cell: str) -> str:
    made: datetime = parse_time(cell)
    return made.isoformat().replace("+00:00", "Z")


_OPTION: Final[dict[str, Callable[[str], Any]]] = {
    "priority": _word("PRIORITY", "HIGH", "NORMAL", "LOW"),
    "delivery_guarantee": _word("DELIVERY_GUARANTEE", "AT_LEAST_ONCE", "AT_MOST_ONCE"),
    "provider_name": str,
    "max_attempts": _whole,
    "send_time": _time,
    "expire_time": _time,
}
