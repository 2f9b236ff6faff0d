"""Between SQLite and the system: a disk of our own, which hears of every call and may fail it.

It sits where SQLite itself calls the system, in the C structures of its "unix" VFS, and not in a VFS of apsw's. There
an error is an exception, which reaches whoever asked for the commit even where SQLite has passed over it, as it does
in a checkpoint; here it is a result code, as from a real disk. What is not failed reaches the real file.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import apsw


class Kind(enum.Enum):
    """What is asked of the system."""

    OPEN = "open"
    READ = "read"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    DELETE = "delete"
    MAP = "map"
    """A piece of the log's index is mapped into memory, and the file made longer for that."""


class Call(NamedTuple):
    """One call. `name` is the file's, without its folder; `data` is what is written."""

    kind: Kind
    name: str
    offset: int = 0
    """Where it is read or written; of a truncation, the new size."""
    data: bytes = b""
    syncs_folder: bool = False
    """Of an open: the first sync of the file, if it is new, makes the folder durable too. Of a deletion: it is made
    durable.
    """


class Failure(NamedTuple):
    """How a call fails: SQLite's result code, and how many bytes of a write had got through by then."""

    code: int
    written: int = 0


class Disk(Protocol):
    """What a store lies on."""

    def call(self, call: Call) -> Failure | None:
        """Hear of a call before it is done, on whichever thread it is made. Must not raise."""
        ...

    def made(self, call: Call) -> None:
        """Hear of an open that has made a file."""
        ...


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods`, version 3."""

    _fields_ = [
        ("iVersion", ctypes.c_int),
        *(
            (name, ctypes.c_void_p)
            for name in (
                *("xClose", "xRead", "xWrite", "xTruncate", "xSync", "xFileSize", "xLock", "xUnlock"),
                *("xCheckReservedLock", "xFileControl", "xSectorSize", "xDeviceCharacteristics"),
                *("xShmMap", "xShmLock", "xShmBarrier", "xShmUnmap", "xFetch", "xUnfetch"),
            )
        ),
    ]


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`, as far as it is needed."""

    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("szOsFile", ctypes.c_int),
        ("mxPathname", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("zName", ctypes.c_char_p),
        ("pAppData", ctypes.c_void_p),
        ("xOpen", ctypes.c_void_p),
        ("xDelete", ctypes.c_void_p),
    ]


_int, _int64, _pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
_OPEN: Final = ctypes.CFUNCTYPE(_int, _pointer, _pointer, _pointer, _int, _pointer)
_DELETE: Final = ctypes.CFUNCTYPE(_int, _pointer, _pointer, _int)
_TRANSFER: Final = ctypes.CFUNCTYPE(_int, _pointer, _pointer, _int, _int64)
_CLOSE: Final = ctypes.CFUNCTYPE(_int, _pointer)
_TRUNCATE: Final = ctypes.CFUNCTYPE(_int, _pointer, _int64)
_SYNC: Final = ctypes.CFUNCTYPE(_int, _pointer, _int)
_MAP: Final = ctypes.CFUNCTYPE(_int, _pointer, _int, _int, _int, _pointer)

_MAKES_FOLDER_DURABLE: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
"""Files that SQLite syncs together with their folder."""


_LEFT_OPEN: Final[list[object]] = []
"""What a test that failed has not closed may go on calling."""


class _Interposer:
    """The functions that take the place of the VFS's own, for files in one folder."""

    def __init__(self, folder: Path, disk: Disk, vfs: _Vfs) -> None:
        self._folder = str(folder.resolve())
        self._disk = disk
        self._names: dict[int, str] = {}  # by the address of the open file
        self._begun: set[str] = set()  # files that were there, with nothing in them
        self._kept: list[object] = []  # what SQLite holds pointers to
        self._methods: dict[int, _Methods] = {}  # ours, by the address of those they stand in for
        self._open = _OPEN(vfs.xOpen)
        self._delete = _DELETE(vfs.xDelete)
        self.open = _OPEN(self._on_open)
        self.delete = _DELETE(self._on_delete)

    def _name(self, path: int | None) -> str | None:
        if not path:
            return None  # a temporary file
        text = ctypes.string_at(path).decode()
        folder, _, name = text.rpartition("/")
        return name if folder == self._folder else None

    def _on_open(self, vfs: int, path: int | None, file: int, flags: int, flags_out: int | None) -> int:
        name = self._name(path)
        if name is None:
            return int(self._open(vfs, path, file, flags, flags_out))
        call = Call(Kind.OPEN, name, syncs_folder=bool(flags & _MAKES_FOLDER_DURABLE))
        if failure := self._disk.call(call):
            ctypes.c_void_p.from_address(file).value = None  # there is nothing to be closed
            return failure.code
        is_new = self._is_new(name)
        code = int(self._open(vfs, path, file, flags, flags_out))
        methods = ctypes.c_void_p.from_address(file)
        if code == apsw.SQLITE_OK and methods.value:
            if is_new:
                self._disk.made(call)
            self._names[file] = name
            methods.value = ctypes.addressof(self._ours(methods.value))
        return code

    def _is_new(self, name: str) -> bool:
        """Whether the file is made by being opened; or was before SQLite came, which nobody has heard of."""
        path = Path(self._folder, name)
        if not path.exists():
            return True
        if name in self._begun or path.stat().st_size or path.suffix != ".db":
            return False
        self._begun.add(name)
        return True

    def _on_delete(self, vfs: int, path: int, syncs_folder: int) -> int:
        name = self._name(path)
        # SQLite also deletes, to be sure, what is not there.
        if name is not None and Path(self._folder, name).exists():
            failure = self._disk.call(Call(Kind.DELETE, name, syncs_folder=bool(syncs_folder)))
            if failure:
                return failure.code
        return int(self._delete(vfs, path, syncs_folder))

    def _ours(self, address: int) -> _Methods:
        if address not in self._methods:
            theirs = _Methods.from_address(address)
            ours = _Methods.from_buffer_copy(theirs)
            for name, kind, make in (
                ("xClose", _CLOSE, self._close),
                ("xRead", _TRANSFER, self._read),
                ("xWrite", _TRANSFER, self._write),
                ("xTruncate", _TRUNCATE, self._truncate),
                ("xSync", _SYNC, self._sync),
                ("xShmMap", _MAP, self._map),
            ):
                original = getattr(theirs, name)
                if original:  # locks of some kinds come without an index of the log
                    function = kind(make(kind(original)))
                    self._kept.append(function)
                    setattr(ours, name, ctypes.cast(function, ctypes.c_void_p).value)
            self._methods[address] = ours
        return self._methods[address]

    @property
    def in_use(self) -> bool:
        """Whether a file is open that calls us."""
        return bool(self._names)

    def _close(self, original: Callable[..., int]) -> Callable[..., int]:
        def close(file: int) -> int:
            self._names.pop(file, None)
            return original(file)

        return close

    def _read(self, original: Callable[..., int]) -> Callable[..., int]:
        def read(file: int, buffer: int, size: int, offset: int) -> int:
            failure = self._disk.call(Call(Kind.READ, self._names[file], offset))
            return failure.code if failure else original(file, buffer, size, offset)

        return read

    def _write(self, original: Callable[..., int]) -> Callable[..., int]:
        def write(file: int, buffer: int, size: int, offset: int) -> int:
            data = ctypes.string_at(buffer, size)
            failure = self._disk.call(Call(Kind.WRITE, self._names[file], offset, data))
            if not failure:
                return original(file, buffer, size, offset)
            if failure.written:
                original(file, buffer, failure.written, offset)
            return failure.code

        return write

    def _truncate(self, original: Callable[..., int]) -> Callable[..., int]:
        def truncate(file: int, size: int) -> int:
            failure = self._disk.call(Call(Kind.TRUNCATE, self._names[file], size))
            return failure.code if failure else original(file, size)

        return truncate

    def _sync(self, original: Callable[..., int]) -> Callable[..., int]:
        def sync(file: int, flags: int) -> int:
            failure = self._disk.call(Call(Kind.SYNC, self._names[file]))
            return failure.code if failure else original(file, flags)

        return sync

    def _map(self, original: Callable[..., int]) -> Callable[..., int]:
        def map_(file: int, piece: int, size: int, extend: int, mapped: int) -> int:
            failure = self._disk.call(Call(Kind.MAP, self._names[file])) if extend else None
            return failure.code if failure else original(file, piece, size, extend, mapped)

        return map_


@contextmanager
def lies_on(disk: Disk, folder: Path) -> Iterator[None]:
    """Puts `disk` under every database of `folder` that is opened meanwhile, all of which must be closed at the end."""
    vfs = _default_vfs()
    before: dict[str, Any] = {"xOpen": vfs.xOpen, "xDelete": vfs.xDelete}
    ours = _Interposer(folder, disk, vfs)
    vfs.xOpen = ctypes.cast(ours.open, ctypes.c_void_p).value
    vfs.xDelete = ctypes.cast(ours.delete, ctypes.c_void_p).value
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(vfs, name, function)
        if ours.in_use:
            _LEFT_OPEN.append(ours)


def _default_vfs() -> _Vfs:
    connection = apsw.Connection(":memory:")
    try:
        address = ctypes.c_void_p()
        connection.file_control("main", apsw.SQLITE_FCNTL_VFS_POINTER, ctypes.addressof(address))
        assert address.value
        vfs = _Vfs.from_address(address.value)
        assert vfs.zName == b"unix"
        return vfs
    finally:
        connection.close()
