"""Logs: one JSON object a line on stderr, or a line of text on a terminal.

A line of ours is an event and its fields: `log.info("serving", listen="127.0.0.1:50051")`. It does not go through
`logging`, whose records cost several times as much as the line: every attempt writes one. Lines of libraries come from
there, and go out with the first line of their template alone, never with the values put into it; errors go out with
their type and place, never with their text: either may hold somebody's data.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Any, Final, Protocol

from postwire.core.throttle import Throttle
from postwire.telemetry import names

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


class Shape:
    """An event whose lines come many a second, and all have the fields `keys`, of which each is a text or a number.

    Such a line is made without a JSON encoder, in a fifth of the time.
    """

    __slots__ = ("_template", "event", "keys")

    def __init__(self, event: str, *keys: str) -> None:
        self.event = event
        self.keys = keys
        self._template = f'"event":"{event}"' + "".join(f',"{key}":%s' for key in keys)

    def json(self, values: Sequence[str | float]) -> str:
        """The rest of a JSON object, from the event on."""
        encode = encode_basestring_ascii
        return self._template % tuple([encode(one) if isinstance(one, str) else repr(one) for one in values])


class EventLog:
    """Writes events."""

    __slots__ = ()

    def debug(self, event: str, **fields: object) -> None:
        """For those who look for a fault."""
        _out.write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """The usual course of things."""
        _out.write(logging.INFO, event, fields)

    def info_of(self, shape: Shape, *values: str | float) -> None:
        """As `info`: the event of a shape, whose fields have these values."""
        _out.write_shape(logging.INFO, shape, values)

    def warning(self, event: str, **fields: object) -> None:
        """Something that somebody should look at."""
        _out.write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something that somebody must look at."""
        _out.write(logging.ERROR, event, fields)

    def answer(self, event: str, **fields: object) -> None:
        """What follows from something that an operator has asked for: at every level."""
        _out.put(logging.INFO, event, fields)

    def fault(self, error: BaseException, **fields: object) -> None:
        """A fault in the program itself: the type of `error` and where it came from."""
        frames = _frames(error)
        place = frames[-1] if frames else ""
        suppressed = _faults.admit((type(error).__name__, place), time.monotonic())
        if suppressed is not None:
            more = {"suppressed": suppressed} if suppressed else {}
            self.error(names.EVENT_INTERNAL_ERROR, error=type(error).__name__, frames=frames, **more, **fields)


class Sink(Protocol):
    """Takes lines, on any thread, and waits for nobody who reads them."""

    @property
    def dropped(self) -> int:
        """How many lines it could not take."""
        ...

    def put(self, line: str, *, urgent: bool) -> None:
        """Take a line, with its end. An urgent one is to be seen at once."""
        ...

    def close(self) -> None:
        """Write what waits, if that can be done soon."""
        ...


class _Output:
    """Where lines go, and in which form. Any thread may write."""

    def __init__(self, sink: Sink | None, *, is_terminal: bool) -> None:
        self.sink = sink
        self.is_terminal = is_terminal
        self.level = logging.INFO
        self.form: Format = json_line

    def write(self, level: int, event: str, fields: Fields) -> None:
        """Write an event, if its level is enabled."""
        if level >= self.level:
            self.put(level, event, fields)

    def write_shape(self, level: int, shape: Shape, values: Sequence[str | float]) -> None:
        """Write an event that has a shape, if its level is enabled."""
        if level < self.level or self.sink is None:
            return
        if self.form is json_line:
            line = f"{_head(time.time(), level)},{shape.json(values)}}}\n"
            self.sink.put(line, urgent=level >= logging.ERROR)
        else:
            self.put(level, shape.event, dict(zip(shape.keys, values, strict=True)))

    def put(self, level: int, event: str, fields: Fields) -> None:
        """Write an event."""
        if self.sink is not None:
            self.sink.put(self.form(time.time(), level, event, fields), urgent=level >= logging.ERROR)


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


def setup(*, log_format: str, log_level: str, sink: Sink, is_terminal: bool) -> None:
    """Send every line of this process to `sink`. `log_format` is `auto`, `json` or `text`.

    That goes for what Python itself would write to stderr as well: warnings, and errors that nobody can handle.
    """
    global _out
    _out = _Output(sink, is_terminal=is_terminal)
    configure(log_format=log_format, log_level=log_level)
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(logging.WARNING)
    warnings.showwarning = _show_warning
    threading.excepthook = sys.unraisablehook = _log_unhandled


def configure(*, log_format: str, log_level: str) -> None:
    """Change the form and the level of the lines that follow."""
    _out.level = _LEVELS[log_level]
    if log_format == "json" or (log_format == "auto" and not _out.is_terminal):
        _out.form = json_line
    else:
        _out.form = coloured_line if _out.is_terminal else text_line


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """See `warnings.showwarning`. The warning's text may hold values."""
    place = f"{filename.rpartition('/')[2]}:{lineno}"
    _out.write(logging.WARNING, names.EVENT_LIBRARY, {"message": category.__name__, "frames": [place]})


def _log_unhandled(unhandled: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
    """See `threading.excepthook` and `sys.unraisablehook`."""
    if unhandled.exc_value is not None and not isinstance(unhandled.exc_value, SystemExit):
        EventLog().fault(unhandled.exc_value)


def dropped() -> int:
    """How many lines could not be written, because nobody read them for so long."""
    return _out.sink.dropped if _out.sink else 0


def dropped_line(lines: int) -> str:
    """A line that counts the lines that are missing before it. Whatever the level, since any may be among them."""
    return _out.form(time.time(), logging.WARNING, names.EVENT_LOG_DROPPED, {"lines": lines})


def close() -> None:
    """Write what waits."""
    if _out.sink:
        _out.sink.close()


_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode


def json_line(at: float, level: int, event: str, fields: Fields) -> str:
    """One JSON object."""
    head = f'{_head(at, level)},"event":"{event}"'
    return f"{head},{_encode(fields)[1:]}\n" if fields else f"{head}}}\n"


def _head(at: float, level: int) -> str:
    """The beginning of a JSON object, up to the level."""
    seconds = int(at)
    return f'{{"time":"{_utc(seconds)}.{int((at - seconds) * 1000):03d}Z","level":"{_LEVEL_NAMES[level]}"'


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
_out = _Output(None, is_terminal=False)
