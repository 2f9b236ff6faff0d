"""Logs: one JSON object a line on stderr, or a line of text on a terminal.

A line of ours is an event and its fields: `log.info("serving", listen="127.0.0.1:50051")`. Lines of libraries go out
with their template alone, never with the values put into it, and errors with their type and place, never with their
text: either may hold somebody's data.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from postwire.telemetry import names

_FIELDS: Final = "postwire_fields"
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_MAX_FRAMES: Final = 12

_DIM, _YELLOW, _RED, _PLAIN = "\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


class EventLog:
    """Writes events. `name` tells which part of the service speaks."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"postwire.{name}")

    def debug(self, event: str, **fields: object) -> None:
        """For those who look for a fault."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """The usual course of things."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something that somebody should look at."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something that somebody must look at."""
        self._log(logging.ERROR, event, fields)

    def fault(self, error: BaseException, **fields: object) -> None:
        """A fault in the program itself: the type of `error` and where it came from."""
        self.error(names.EVENT_INTERNAL_ERROR, error=type(error).__name__, frames=_frames(error), **fields)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={_FIELDS: fields})


def setup(*, log_format: str, log_level: str, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (stderr). `log_format` is `auto`, `json` or `text`."""
    stream = stream or sys.stderr
    as_text = log_format == "text" or (log_format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter(colour=stream.isatty()) if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("postwire").setLevel(_LEVELS[log_level])
    # A line that cannot be written (a closed pipe) must not print a traceback of its own, values and all.
    logging.raiseExceptions = False


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        event, fields = _event(record)
        line = {"time": _time(record), "level": record.levelname.lower(), "event": event, **fields}
        return json.dumps(line, default=str, separators=(",", ":"))


class TextFormatter(logging.Formatter):
    """A line for people: time, event, fields."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        event, fields = _event(record)
        details = " ".join(f"{key}={_shown(value)}" for key, value in fields.items())
        clock = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        if not self._colour:
            return f"{clock} {record.levelname.lower():7} {event} {details}".rstrip()
        tint = _RED if record.levelno >= logging.ERROR else _YELLOW if record.levelno >= logging.WARNING else ""
        return f"{_DIM}{clock}{_PLAIN} {tint}{event}{_PLAIN if tint else ''} {_DIM}{details}{_PLAIN}"


def _event(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    fields: dict[str, Any] | None = getattr(record, _FIELDS, None)
    if fields is not None:
        return record.msg, fields
    fields = {"logger": record.name, "message": str(record.msg)}
    if record.exc_info and record.exc_info[1]:
        fields |= {"error": type(record.exc_info[1]).__name__, "frames": _frames(record.exc_info[1])}
    return names.EVENT_LIBRARY, fields


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(str(one) for one in value)
    text = str(value)
    return json.dumps(text) if " " in text or not text else text


def _frames(error: BaseException) -> list[str]:
    """Where an error came from, innermost last: file, line and function; neither source text nor values."""
    frames = traceback.extract_tb(error.__traceback__, limit=-_MAX_FRAMES)
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
