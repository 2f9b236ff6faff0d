"""A disk that keeps what is durable apart from what was only written, and can lose its power at any call.

What a power cut may do is what the literature on crash consistency has found disks and file systems to do (Pillai et
al., "All File Systems Are Not Created Equal", OSDI 2014): of the writes since the last sync of a file any may be there
and any may not, whole or in part, whichever came first. Entries of the folder last in the order in which they were
made. Bytes beside a write are left alone ("powersafe overwrite"), which SQLite counts on and disks keep to.

A sync that fails is worse than none: the pages count as clean from then on, so that they can be read, and no later sync
writes them (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

import apsw
from tests.support.faults.vfs import Call, Failure, Kind

SECTOR: Final = 512

INDEX: Final = "-shm"
"""The log's index is memory, whatever the disk may have of it."""


class Do(enum.Enum):
    """What was done."""

    MAKE = "make"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    LOSE = "lose"
    """A sync that failed."""
    DELETE = "delete"


class Step(NamedTuple):
    """What was done to the disk, in one call."""

    do: Do
    name: str
    offset: int = 0
    data: bytes = b""
    syncs_folder: bool = False


class Change(NamedTuple):
    """A write, or (without data) a truncation, that is not durable yet."""

    offset: int
    data: bytes | None


class Temper(NamedTuple):
    """How a disk takes a power cut: how many of the changes that it has not written yet it keeps, and how many it
    keeps in part.
    """

    kept: float
    torn: float


TEMPERS: Final = (
    Temper(0.0, 0.0),
    Temper(1.0, 0.0),
    Temper(0.5, 0.0),
    Temper(0.9, 0.05),
    Temper(0.1, 0.05),
    Temper(0.3, 0.4),
    Temper(0.0, 1.0),
)


@dataclass(slots=True, eq=False)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    syncs_folder: bool = False


@dataclass(slots=True)
class Platter:
    """Which files there are, what is durable of each, and what is not yet."""

    files: dict[str, _File] = field(default_factory=dict)
    durable: dict[str, _File] = field(default_factory=dict)
    pending: list[tuple[str, _File | None]] = field(default_factory=list)
    """Entries of the folder that are not durable: a file that was made, or None for one that was deleted."""

    @classmethod
    def holding(cls, contents: dict[str, bytes]) -> Platter:
        """One on which all of these are durable."""
        files = {name: _File(bytearray(data)) for name, data in contents.items() if not name.endswith(INDEX)}
        return cls(files, dict(files))

    def apply(self, step: Step, random: Random) -> None:
        """Do a step. What becomes of the changes that a failed sync loses is up to `random`."""
        if step.do is Do.MAKE:
            made = self.files[step.name] = _File(syncs_folder=step.syncs_folder)
            self.pending.append((step.name, made))
            return
        file = self.files[step.name]
        if step.do is Do.WRITE:
            file.pending.append(Change(step.offset, step.data))
        elif step.do is Do.TRUNCATE:
            file.pending.append(Change(step.offset, None))
        elif step.do is Do.SYNC:
            for change in file.pending:
                _apply(file.durable, change)
            file.pending.clear()
            if file.syncs_folder:
                file.syncs_folder = False
                self._sync_folder()
        elif step.do is Do.LOSE:
            file.durable = _after_cut(file, random)
            file.pending.clear()
        else:
            del self.files[step.name]
            self.pending.append((step.name, None))
            if step.syncs_folder:
                self._sync_folder()

    def _sync_folder(self) -> None:
        for name, file in self.pending:
            _enter(self.durable, name, file)
        self.pending.clear()

    def unsynced(self) -> dict[str, int]:
        """How many changes of each file are not durable yet, of those that have any."""
        return {name: len(file.pending) for name, file in self.files.items() if file.pending}

    def after_cut(self, random: Random) -> dict[str, bytes]:
        """The files as they may be found when the power is back."""
        entries = dict(self.durable)
        for name, file in self.pending[: random.randint(0, len(self.pending))]:
            _enter(entries, name, file)
        found = {name: bytes(_after_cut(file, random)) for name, file in entries.items()}
        for name in [name for name in found if name.endswith("-wal")]:
            if random.random() < 0.5:  # it means nothing, but it may be there
                found[name.removesuffix("-wal") + INDEX] = random.randbytes(32 * 1024)
        return found


def _enter(entries: dict[str, _File], name: str, file: _File | None) -> None:
    if file is None:
        entries.pop(name, None)
    else:
        entries[name] = file


def _apply(content: bytearray, change: Change, filler: bytes = b"\0") -> None:
    offset, data = change
    if (gap := offset - len(content)) > 0:
        content += (filler * (gap // len(filler) + 1))[:gap]
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


def _after_cut(file: _File, random: Random) -> bytearray:
    content = bytearray(file.durable)
    pending = list(file.pending)
    if not pending:
        return content
    temper = random.choice(TEMPERS)
    if random.random() < 0.5:
        random.shuffle(pending)
    # What was never written to, but is part of the file: zeros, or what another file has left there.
    filler = random.choice((b"\0", random.randbytes(4096)))
    for change in pending:
        fate = random.random()
        if fate < temper.kept:
            _apply(content, change, filler)
        elif fate < temper.kept + temper.torn:
            for piece in _pieces(change, random):
                _apply(content, piece, filler)
    if random.random() < 0.25:  # the file has grown, and nothing else
        end = max(change.offset + len(change.data or b"") for change in pending)
        _apply(content, Change(max(end, len(content)), b""), filler)
    return content


def _pieces(change: Change, random: Random) -> Iterator[Change]:
    """Parts of a write: some of its sectors, or what is before or behind a point that may be within one."""
    offset, data = change
    if not data:
        return
    how = random.randrange(3)
    if how == 0:
        start = 0
        while start < len(data):
            end = min(len(data), start + SECTOR - (offset + start) % SECTOR)
            if random.random() < 0.5:
                yield Change(offset + start, data[start:end])
            start = end
        return
    point = random.randint(0, len(data))
    yield Change(offset, data[:point]) if how == 1 else Change(offset + point, data[point:])


class Recorder:
    """A disk that writes down what is done to it. See `vfs.Disk`."""

    def __init__(self, start: Platter | None = None, *, lies: bool = False) -> None:
        """`start`: what is on it already. One that `lies` says that it has synced, and has not."""
        self.steps: list[Step] = []
        self.is_gone = False
        """Once it is, every call fails, and nothing more is written down: so ends the process above it."""
        self._start = start or Platter()
        self._lies = lies

    def call(self, call: Call) -> Failure | None:
        """See `Disk`."""
        if self.is_gone:
            return Failure(apsw.SQLITE_IOERR)
        failure = self.fault(call)
        if step := _step(call, failure, lies=self._lies):
            self.steps.append(step)
        return failure

    def made(self, call: Call) -> None:
        """See `Disk`."""
        if not call.name.endswith(INDEX):
            self.steps.append(Step(Do.MAKE, call.name, syncs_folder=call.syncs_folder))

    def fault(self, call: Call) -> Failure | None:
        """How a call is to fail, if it is."""
        return None

    def platters(self, at: Sequence[int], random: Random) -> Iterator[tuple[int, Platter]]:
        """The disk as it was when so many steps were done, for each of `at`, which rise. Valid until the next."""
        platter = copy.deepcopy(self._start)
        done = 0
        for count in at:
            for step in self.steps[done:count]:
                platter.apply(step, random)
            done = count
            yield count, platter

    def platter(self, random: Random) -> Platter:
        """The disk as it is now."""
        ((_, platter),) = self.platters([len(self.steps)], random)
        return platter


def _step(call: Call, failure: Failure | None, *, lies: bool) -> Step | None:
    if call.name.endswith(INDEX):
        return None
    if call.kind is Kind.WRITE:
        data = call.data[: failure.written] if failure else call.data
        return Step(Do.WRITE, call.name, call.offset, data) if data else None
    if call.kind is Kind.SYNC:
        if failure:
            return Step(Do.LOSE, call.name)
        return None if lies else Step(Do.SYNC, call.name)
    if failure:
        return None
    if call.kind is Kind.TRUNCATE:
        return Step(Do.TRUNCATE, call.name, call.offset)
    if call.kind is Kind.DELETE:
        return Step(Do.DELETE, call.name, syncs_folder=call.syncs_folder)
    return None
