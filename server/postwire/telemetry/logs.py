"""Logs: one JSON object a line on stderr, or a line of text on a terminal.

A line of ours is an event and its fields: `log.info("serving", listen="127.0.0.1:50051")`. It does not go through
`logging`, whose records cost several times as much as the line: every attempt writes one. Lines of libraries come from
there, and go out with the first line of their template alone, never with the values put into it; errors go out with
their type and place, never with their text: either may hold somebody's data.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TextIO

from postwire.core.throttle import Throttle
from postwire.telemetry import names

FLUSH_INTERVAL: Final = 0.02
"""Seconds that a line may wait for others, so that they are written at once. Errors do not wait."""

REPEATS_BURST: Final = 20
REPEATS_INTERVAL: Final = 1.0
"""Seconds. How many lines of one library and level, or of one fault in one place, are written at once, and how often
one is in the long run."""

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LEVEL_NAMES: Final = {number: name for name, number in _LEVELS.items()}
_MAX_FRAMES: Final = 12

_QUIET: Final = {("grpc._cython.cygrpc", "ExecuteBatchError raised in core by servicer method [%s]")}
"""What libraries take for an error and is none, by logger and template: a caller that went away in mid-answer."""

_DIM, _YELLOW, _RED, _PLAIN = "\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[0m"

Fields = Mapping[str, object]
Format = Callable[[float, int, str, Fields], str]
"""Makes a line of the time (s since the epoch), the level, the event and its fields."""


class EventLog:
    """Writes events."""

    __slots__ = ()

    def debug(self, event: str, **fields: object) -> None:
        """For those who look for a fault."""
        _out.write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """The usual course of things."""
        _out.write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something that somebody should look at."""
        _out.write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something that somebody must look at."""
        _out.write(logging.ERROR, event, fields)

    def fault(self, error: BaseException, **fields: object) -> None:
        """A fault in the program itself: the type of `error` and where it came from."""
        frames = _frames(error)
        place = frames[-1] if frames else ""
        suppressed = _faults.admit((type(error).__name__, place), time.monotonic())
        if suppressed is not None:
            more = {"suppressed": suppressed} if suppressed else {}
            self.error(names.EVENT_INTERNAL_ERROR, error=type(error).__name__, frames=frames, **more, **fields)


class _Output:
    """Where lines go. Any thread may write; lines of the event loop's thread are gathered."""

    def __init__(self, stream: TextIO | None, level: int, form: Format) -> None:
        self._stream = stream
        self._level = level
        self._format = form
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0

    def gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, write lines of this thread in batches, by the clock of `loop`."""
        self._loop = loop
        self._loop_thread = threading.get_ident()

    def write(self, level: int, event: str, fields: Fields) -> None:
        """Write an event, if its level is told."""
        if level < self._level or self._stream is None:
            return
        line = self._format(time.time(), level, event, fields)
        if self._loop is None or level >= logging.ERROR or threading.get_ident() != self._loop_thread:
            self.flush(line)
            return
        with self._lock:
            self._waiting.append(line)
            first = len(self._waiting) == 1
        if first:
            self._loop.call_later(FLUSH_INTERVAL, self.flush)

    def flush(self, last: str = "") -> None:
        """Write what waits, then `last`."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            text = "".join((*waiting, last))
            # A pipe that nobody reads any more, or a full disk, is no reason to stop sending messages.
            with suppress(OSError, ValueError):
                if text and self._stream is not None:
                    self._stream.write(text)
                    self._stream.flush()


class _LibraryHandler(logging.Handler):
    """Brings the lines of libraries here, at a limited rate: callers can provoke some of them at will."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle: Throttle[tuple[str, int]] = Throttle(burst=REPEATS_BURST, interval=REPEATS_INTERVAL)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        if (record.name, record.msg) in _QUIET:
            return
        suppressed = self._throttle.admit((record.name, record.levelno), time.monotonic())
        if suppressed is None:
            return
        template = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        # The first line: asyncio puts what went wrong, values and all, into those that follow.
        fields: dict[str, object] = {"logger": record.name, "message": template.partition("\n")[0]}
        error = record.exc_info[1] if record.exc_info else None
        if suppressed:
            fields["suppressed"] = suppressed
        if error:
            fields |= {"error": type(error).__name__, "frames": _frames(error)}
        level = max((number for number in _LEVEL_NAMES if number <= record.levelno), default=logging.DEBUG)
        _out.write(level, names.EVENT_LIBRARY, fields)


def setup(*, log_format: str, log_level: str, stream: TextIO | None = None) -> None:
    """Send every line of this process to `stream` (stderr). `log_format` is `auto`, `json` or `text`."""
    global _out
    stream = stream or sys.stderr
    if log_format == "json" or (log_format == "auto" and not stream.isatty()):
        form: Format = json_line
    else:
        form = coloured_line if stream.isatty() else text_line
    _out = _Output(stream, _LEVELS[log_level], form)
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(logging.WARNING)


def gather() -> None:
    """Write lines of the running event loop in batches from now on. `flush` at its end."""
    _out.gather(asyncio.get_running_loop())


def flush() -> None:
    """Write what waits."""
    _out.flush()


_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode


def json_line(at: float, level: int, event: str, fields: Fields) -> str:
    """One JSON object."""
    seconds = int(at)
    moment = f"{_utc(seconds)}.{int((at - seconds) * 1000):03d}Z"
    head = f'{{"time":"{moment}","level":"{_LEVEL_NAMES[level]}","event":"{event}"'
    return f"{head},{_encode(fields)[1:]}\n" if fields else f"{head}}}\n"


def text_line(at: float, level: int, event: str, fields: Fields) -> str:
    """A line for people: time, level, event, fields."""
    return f"{_clock(at)} {_LEVEL_NAMES[level]:7} {event} {_details(fields)}".rstrip() + "\n"


def coloured_line(at: float, level: int, event: str, fields: Fields) -> str:
    """The same for a terminal, where the level is the event's colour."""
    tint = _RED if level >= logging.ERROR else _YELLOW if level >= logging.WARNING else _PLAIN
    return f"{_DIM}{_clock(at)}{_PLAIN} {tint}{event}{_PLAIN} {_DIM}{_details(fields)}{_PLAIN}\n"


_last_second: tuple[int, str] = (-1, "")


def _utc(seconds: int) -> str:
    """Date and time of a second; lines come many a second, so the last is kept."""
    global _last_second
    known, text = _last_second
    if known != seconds:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _last_second = (seconds, text)
    return text


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _details(fields: Fields) -> str:
    return " ".join(f"{key}={_shown(value)}" for key, value in fields.items())


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(_shown(one) for one in value)
    text = str(value)
    return json.dumps(text) if not text or " " in text or not text.isprintable() else text


def _frames(error: BaseException) -> list[str]:
    """Where an error came from, innermost last: file, line and function; neither source text nor values."""
    frames = traceback.extract_tb(error.__traceback__, limit=-_MAX_FRAMES)
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


_faults: Throttle[tuple[str, str]] = Throttle(burst=REPEATS_BURST, interval=REPEATS_INTERVAL)
_out = _Output(None, logging.CRITICAL, json_line)
