"""Log lines: their shape, and what never gets into one."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import warnings
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.log_lines import lines, logging_as_it_was, start  # noqa: F401  # a fixture

from postwire.telemetry import logs
from postwire.telemetry.logs import EventLog, Shape

SECRET = "Zq9canary7"


@pytest.fixture
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still in lines."""
    monkeypatch.setattr("postwire.telemetry.logs.time.time", lambda: 1_700_000_000.123)


def fail(text: str = SECRET) -> None:
    raise ValueError(text)


def caught(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def test_a_line_is_one_json_object_with_time_level_event_and_fields() -> None:
    stream = start()
    EventLog().info("serving", listen="127.0.0.1:50051", channels=["sms", "mms"], seed=2**64 - 1, seeded=True)
    (line,) = lines(stream)
    time = line.pop("time")
    assert time.endswith("Z")
    assert len(time) == len("2026-01-01T00:00:00.000Z")
    assert line == {
        "level": "info",
        "event": "serving",
        "listen": "127.0.0.1:50051",
        "channels": ["sms", "mms"],
        "seed": 2**64 - 1,
        "seeded": True,
    }
    assert list(json.loads(stream.getvalue()))[:3] == ["time", "level", "event"]


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb", "\u2028", "\x1b[31m", '"', "\u00fc"])
def test_no_value_breaks_a_line_of_json(value: str) -> None:
    stream = start()
    EventLog().info("serving", detail=value)
    assert stream.getvalue().count("\n") == 1
    assert len(stream.getvalue().splitlines()) == 1, "other separators count as well for many a reader"
    assert lines(stream)[0]["detail"] == value


VALUES = st.one_of(
    st.text(),
    st.sampled_from(['"', "\\", "\ud800", "\x7f", "%s", "\U0001f600"]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it is the same for every example
@given(values=st.lists(VALUES, max_size=8), log_format=st.sampled_from(["json", "text"]))
def test_a_line_that_has_a_shape_is_the_line_that_its_fields_make(
    one_moment: None, values: list[str | float], log_format: str
) -> None:
    fields = {f"field_{number}": value for number, value in enumerate(values)}
    stream = start(log_format)
    EventLog().info("attempt", **fields)
    EventLog().info_of(Shape("attempt", *fields), *values)
    one, other = stream.getvalue().splitlines(keepends=True)
    assert other == one


@pytest.mark.parametrize(("log_level", "count"), [("info", 1), ("warning", 0)])
def test_a_line_that_has_a_shape_is_told_at_its_level(log_level: str, count: int) -> None:
    stream = start(log_level=log_level)
    EventLog().info_of(Shape("attempt", "channel"), "sms")
    assert len(lines(stream)) == count


@pytest.mark.parametrize("log_level", ["debug", "info", "warning", "error"])
def test_the_level_is_the_least_that_is_told(log_level: str) -> None:
    stream = start(log_level=log_level)
    log = EventLog()
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(level)
    order = ["debug", "info", "warning", "error"]
    assert [line["event"] for line in lines(stream)] == order[order.index(log_level) :]
    assert all(line["event"] == line["level"] for line in lines(stream))


def test_setting_up_again_does_not_tell_everything_twice() -> None:
    start()
    stream = start()
    EventLog().info("serving")
    assert len(lines(stream)) == 1


@pytest.mark.parametrize(
    ("log_format", "is_terminal", "as_json"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("json", True, True),
        ("text", False, False),
    ],
)
def test_people_get_text_and_programs_json(log_format: str, is_terminal: bool, as_json: bool) -> None:
    written = start(log_format, is_terminal=is_terminal)
    EventLog().info("serving")
    assert written.getvalue().startswith("{") is as_json


def test_a_line_of_text() -> None:
    stream = start("text")
    EventLog().warning("warning", channel="sms", names=["a", "b"], detail="two words", empty="", count=3)
    clock, _, rest = stream.getvalue().partition(" ")
    assert len(clock) == len("12:00:00.000")
    assert rest == 'warning warning channel=sms names=a,b detail="two words" empty="" count=3\n'


def test_colours_are_for_terminals_alone() -> None:
    plain = start("text")
    EventLog().error("bad")
    assert "\x1b" not in plain.getvalue()
    terminal = start("text", is_terminal=True)
    EventLog().error("bad")
    assert "\x1b[31mbad\x1b[0m" in terminal.getvalue()


@pytest.mark.parametrize("value", ["a\nINFO forged", "a\nforged", "a\rforged", "a\x1b[2J", "a\u2028b"])
def test_no_value_breaks_a_line_of_text(value: str) -> None:
    stream = start("text")
    EventLog().warning("warning", error_code=value)
    text = stream.getvalue().removesuffix("\n")
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_librarys_line_is_its_template_alone(log_format: str) -> None:
    stream = start(log_format)
    logging.getLogger("aiosmtplib").warning("refused %s for %r", SECRET, {"to": SECRET})
    logging.getLogger("aiosmtplib").warning("refused %(to)s", {"to": SECRET})
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("refused %") == 2
    assert stream.getvalue().count("aiosmtplib") == 2


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_librarys_error_is_told_by_its_type_and_place(log_format: str) -> None:
    stream = start(log_format)
    try:
        fail()
    except ValueError:
        logging.getLogger("lib").exception("it failed")
    assert SECRET not in stream.getvalue()
    assert "ValueError" in stream.getvalue()
    assert "test_logs.py:" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_an_error_that_a_library_logs_as_its_message_is_told_by_its_type(log_format: str) -> None:
    stream = start(log_format)
    logging.getLogger("lib").error(caught(fail))
    assert SECRET not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


async def test_the_event_loops_own_lines_hold_no_errors_text() -> None:
    """asyncio puts the repr of a task, and with it that of its error, into the template itself."""
    stream = start()

    async def failing() -> None:
        fail()

    task = asyncio.create_task(failing())
    await asyncio.wait([task])
    loop = asyncio.get_running_loop()
    # What the loop is told when a task is dropped whose error nobody has fetched.
    loop.default_exception_handler(
        {"message": "Task exception was never retrieved", "exception": task.exception(), "task": task}
    )
    (line,) = lines(stream)
    assert SECRET not in json.dumps(line)
    assert line["logger"] == "asyncio"
    assert line["message"].startswith("Task exception was never retrieved")
    assert line["error"] == "ValueError"


def test_libraries_are_heard_from_warnings_up() -> None:
    stream = start(log_level="debug")
    logging.getLogger("lib").info("chatter")
    logging.getLogger("lib").warning("trouble")
    assert [line["message"] for line in lines(stream)] == ["trouble"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_fault_of_ours_is_told_by_its_type_and_place(log_format: str) -> None:
    stream = start(log_format)
    EventLog().fault(caught(fail), provider_name="sms-mms")
    text = stream.getvalue()
    assert SECRET not in text
    assert all(part in text for part in ("internal_error", "ValueError", "provider_name", "sms-mms"))
    assert "test_logs.py:" in text
    assert " fail" in text, "the function's name; and of its source line nothing"
    assert "raise ValueError" not in text


def test_a_fault_without_a_traceback_is_told_as_well() -> None:
    stream = start()
    EventLog().fault(ValueError(SECRET))
    assert lines(stream)[0]["frames"] == []


def test_a_chained_error_tells_no_text_either() -> None:
    stream = start()

    def chained() -> None:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError(SECRET) from error

    EventLog().fault(caught(chained))
    assert SECRET not in stream.getvalue()


def test_a_deep_traceback_is_cut_at_its_innermost_frames() -> None:
    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        fail()

    stream = start()
    EventLog().fault(caught(lambda: deep(100)))
    frames = lines(stream)[0]["frames"]
    assert len(frames) <= 20
    assert frames[-1].endswith(" fail")


# What Python itself would write to stderr.


def test_a_warning_is_told_by_its_kind_and_place() -> None:
    stream = start()
    warnings.showwarning(SECRET, RuntimeWarning, "/somewhere/lib.py", 12)
    (line,) = lines(stream)
    assert SECRET not in json.dumps(line)
    assert (line["event"], line["message"], line["frames"]) == ("library", "RuntimeWarning", ["lib.py:12"])


def test_an_error_that_ends_a_thread_is_told_by_its_type_and_place() -> None:
    stream = start()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    (line,) = lines(stream)
    assert SECRET not in json.dumps(line)
    assert (line["event"], line["error"]) == ("internal_error", "ValueError")
    assert line["frames"][-1].endswith(" fail")


def test_an_error_that_nobody_can_handle_is_told_by_its_type_and_place() -> None:
    class Failing:
        def __del__(self) -> None:
            fail()

    stream = start()
    Failing()
    gc.collect()
    (line,) = lines(stream)
    assert SECRET not in json.dumps(line)
    assert (line["event"], line["error"]) == ("internal_error", "ValueError")


# Lines that are lost.


def test_errors_are_urgent() -> None:
    stream = start(log_level="debug")
    for level in ("debug", "info", "warning", "error"):
        getattr(EventLog(), level)(level)
    assert stream.urgent == [False, False, False, True]


@pytest.mark.parametrize("log_level", ["debug", "error"])
def test_lines_that_are_missing_are_told_at_every_level(log_level: str) -> None:
    start(log_level=log_level)
    line = json.loads(logs.dropped_line(7))
    assert (line["event"], line["level"], line["lines"]) == ("log_dropped", "warning", 7)


def test_nothing_is_lost_where_nothing_is_logged() -> None:
    assert logs.dropped() == 0
    logs.close()


def test_a_caller_that_went_away_in_mid_answer_is_no_line() -> None:
    """gRPC logs it as an error of the method that was answering."""
    stream = start("json")
    try:
        fail()
    except ValueError:
        logging.getLogger("grpc._cython.cygrpc").exception(
            "ExecuteBatchError raised in core by servicer method [%s]", "/a.B/C"
        )
        logging.getLogger("grpc._cython.cygrpc").exception("Unexpected [%s] raised by servicer method [%s]", "e", "m")
    (line,) = lines(stream)
    assert line["message"].startswith("Unexpected")


def test_a_library_that_says_the_same_again_and_again_is_cut_short() -> None:
    """Some lines anybody can provoke, by a header or by bytes that are no message."""
    stream = start()
    for _ in range(1_000):
        logging.getLogger("lib").warning("could not parse it")
    logging.getLogger("another").warning("something else")
    written = lines(stream)
    assert len(written) < 50
    assert written[-1]["message"] == "something else"
