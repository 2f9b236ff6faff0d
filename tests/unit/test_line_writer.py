"""The thread that writes the log, over real descriptors: pipes that nobody reads, full disks, closed pipes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.support.waiting import PATIENCE

from postwire.telemetry.line_writer import LineWriter

PIPE_BYTES = 64 * 1024
LINE = "x" * 1023 + "\n"


class Pipe:
    """A pipe, and what was read from it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def read(self, size: int) -> str:
        """Read so many bytes, as soon as they are there."""
        text = b""
        while len(text) < size:
            piece = os.read(self.reading, size - len(text))
            assert piece, "it is closed"
            text += piece
        return text.decode()

    def rest(self) -> str:
        """Close the end that is written to, and read what is left."""
        os.close(self.writing)
        text = b""
        while piece := os.read(self.reading, PIPE_BYTES):
            text += piece
        return text.decode()

    def fill(self) -> None:
        """Leave no room in it."""
        os.set_blocking(self.writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writing, b"-" * 4096)
        os.set_blocking(self.writing, True)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for descriptor in (pipe.reading, pipe.writing):
        with suppress(OSError):  # the test has
            os.close(descriptor)


Start = Callable[..., LineWriter]


@pytest.fixture
def start(pipe: Pipe) -> Start:
    """Makes a writer to the pipe, or to another descriptor."""

    def started(descriptor: int | None = None, **settings: Any) -> LineWriter:
        target = pipe.writing if descriptor is None else descriptor
        return LineWriter(target, lambda lines: f"{lines} dropped\n", **settings)

    return started


def test_lines_are_written_whole_and_in_order(pipe: Pipe, start: Start) -> None:
    writer = start()
    for number in range(1000):
        writer.put(f"{number}\n")
    writer.close(PATIENCE)
    assert pipe.rest().splitlines() == [str(number) for number in range(1000)]
    assert writer.dropped == 0


def test_a_line_is_written_before_long_though_no_other_follows(pipe: Pipe, start: Start) -> None:
    writer = start()
    for line in ("one\n", "two\n"):
        writer.put(line)
        assert pipe.read(len(line)) == line
    writer.close(PATIENCE)


def test_lines_of_several_threads_are_not_mixed(pipe: Pipe, start: Start) -> None:
    writer = start()

    def put(name: str) -> None:
        for _ in range(100):
            writer.put(name * 99 + "\n")

    threads = [threading.Thread(target=put, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close(PATIENCE)
    written = pipe.rest().splitlines()
    assert sorted(written) == sorted(name * 99 for name in "abc" for _ in range(100))


def test_nobody_waits_for_a_reader_and_the_newest_are_dropped(pipe: Pipe, start: Start) -> None:
    pipe.fill()
    # With room for a last line, though what was read a moment ago may still count.
    writer = start(capacity=10 * len(LINE) + len("5 dropped\nnext\n"))
    for _ in range(15):
        writer.put(LINE)
    assert writer.dropped == 5
    filling = pipe.read(PIPE_BYTES)
    assert set(filling) == {"-"}
    assert pipe.read(10 * len(LINE)) == LINE * 10
    assert pipe.read(len("5 dropped\n")) == "5 dropped\n"
    writer.put("next\n")
    writer.close(PATIENCE)
    assert pipe.rest() == "next\n"
    assert writer.dropped == 5


def test_each_gap_is_told_once_and_together_they_are_all_that_is_missing(pipe: Pipe, start: Start) -> None:
    writer = start(capacity=4 * len(LINE))
    reported = 0
    for _ in range(3):
        pipe.fill()
        for _ in range(7):
            writer.put(LINE)
        while not (line := pipe.read(1)).isdigit():
            pass  # what filled the pipe, and the lines
        while not line.endswith("\n"):
            line += pipe.read(1)
        reported += int(line.removesuffix(" dropped\n"))
        assert reported == writer.dropped
    writer.close(PATIENCE)
    assert pipe.rest() == ""


def test_a_reader_that_is_slow_gets_everything(pipe: Pipe, start: Start) -> None:
    writer = start()
    for _ in range(4 * PIPE_BYTES // len(LINE)):
        writer.put(LINE)
    assert pipe.read(4 * PIPE_BYTES) == LINE * (4 * PIPE_BYTES // len(LINE))
    writer.close(PATIENCE)
    assert writer.dropped == 0


def test_a_descriptor_that_somebody_has_made_non_blocking_loses_nothing(pipe: Pipe, start: Start) -> None:
    os.set_blocking(pipe.writing, False)
    writer = start()
    for _ in range(4 * PIPE_BYTES // len(LINE)):
        writer.put(LINE)
    assert pipe.read(4 * PIPE_BYTES) == LINE * (4 * PIPE_BYTES // len(LINE))
    writer.close(PATIENCE)
    assert writer.dropped == 0


def test_an_end_that_nobody_reads_is_not_waited_for_and_leads_to_nowhere(pipe: Pipe, start: Start) -> None:
    pipe.fill()
    writer = start()
    writer.put("last words\n")
    writer.close(0.01)
    os.write(pipe.writing, b"y" * PIPE_BYTES)  # of whoever comes after us, and it does not hang


def test_an_end_that_nobody_reads_is_left_though_nothing_waits(pipe: Pipe, start: Start) -> None:
    pipe.fill()
    start().close(0.01)
    os.write(pipe.writing, b"y" * PIPE_BYTES)


def test_a_full_disk_costs_nothing_and_is_written_to_once_it_has_room(pipe: Pipe, start: Start) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = start(descriptor, capacity=4 * len(LINE), retry_time=0.001)
    for _ in range(6):
        writer.put(LINE)
    assert writer.dropped == 2
    os.dup2(pipe.writing, descriptor)
    assert pipe.read(4 * len(LINE)) == LINE * 4
    assert pipe.read(len("2 dropped\n")) == "2 dropped\n"
    writer.close(PATIENCE)
    os.close(descriptor)


@pytest.mark.parametrize("broken", ["/dev/full", "a closed pipe"])
def test_an_end_at_which_writing_fails_is_not_waited_for(pipe: Pipe, start: Start, broken: str) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY) if broken == "/dev/full" else os.dup(pipe.writing)
    os.close(pipe.reading)
    writer = start(descriptor, retry_time=PATIENCE)
    writer.put("last words\n", urgent=True)
    writer.close(PATIENCE)
    with pytest.raises(OSError, match=r"No space|Broken pipe"):  # it leads where it did: there was no hurry
        os.write(descriptor, b"x")
    os.close(descriptor)


def test_what_its_encoding_lacks_is_written_in_ascii(pipe: Pipe, start: Start) -> None:
    writer = start(encoding="latin-1")
    writer.put("ü\u2013\ud800\n")
    writer.close(PATIENCE)
    os.close(pipe.writing)
    assert os.read(pipe.reading, 100) == b"\xfc\\u2013\\ud800\n"
