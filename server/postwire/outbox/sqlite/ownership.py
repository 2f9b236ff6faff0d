"""Whose a store is: one process owns the file, and only while the file at its path is the one that it has opened."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from postwire.outbox.base import OutboxError
from postwire.outbox.sqlite.files import StoreFiles

PRIVATE: Final = 0o600
"""The mode of the store and of what SQLite keeps beside it, which takes the store's."""

_OTHERS: Final = 0o077
_IDS_SIZE: Final = 256  # bytes
_BETWEEN: Final = ","


class FileLock:
    """Holds `PATH.lock` while this process owns the store. The system releases it however the process ends."""

    def __init__(self, store: Path) -> None:
        self._path = StoreFiles.of(store).lock  # it may have several names, and has one lock
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        except OSError as error:
            raise OutboxError(f"store.path: cannot write beside {store}: {error.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise _in_use(store) from None

    def stands_alone(self) -> bool:
        """Whether a lock of this kind leaves those of fcntl(2) alone, which SQLite takes.

        It does on local file systems of Linux. NFS and some others emulate flock(2) by fcntl(2), and on the BSDs and
        macOS the two see each other: there, holding the store itself would keep SQLite out of it.
        """
        other = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(other)  # which gives back the lock of fcntl(2), and not that of flock(2)
        return True

    @property
    def boot_ids(self) -> list[str]:
        """The ids of boots that are kept in it: the store holds one of them. None where it is new."""
        text = os.pread(self._fd, _IDS_SIZE, 0).decode("ascii", "replace").strip()
        return text.split(_BETWEEN) if text else []

    def keep_boot_ids(self, boot_ids: Sequence[str]) -> None:
        """Keep these ids, four at the most, and no others.

        Raises:
            OutboxError: it cannot be written.
        """
        text = _BETWEEN.join(dict.fromkeys(boot_ids)).encode().ljust(_IDS_SIZE - 1) + b"\n"
        try:
            os.pwrite(self._fd, text, 0)  # of one size, and within a sector: all of it is written, or nothing
            os.fsync(self._fd)
        except OSError as error:
            raise OutboxError(f"store.path: cannot write {self._path}: {error.strerror}") from None

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes each hold a lock of that name."""
        os.close(self._fd)


class Ownership:
    """Holds a store: the lock beside it, and the file itself, whatever becomes of the lock's file or the store's name.

    Opened before SQLite opens the file, and released after SQLite has closed it: closing any descriptor of a file gives
    back all of the process's fcntl(2) locks on it, and with them SQLite's own.
    """

    def __init__(self, store: Path) -> None:
        """Take the store at this path, making an empty file if there is none. Nobody else can read it from then on.

        Raises:
            OutboxError: it is in use, has a second name, or cannot be opened.
        """
        self._store = store.absolute()
        self.warnings: list[str] = []
        """What the operator should know of, a line each."""
        self._lock = FileLock(store)
        self.boot_ids: Sequence[str] = self._lock.boot_ids
        """The ids of boots that the store may hold; with none, nothing is known of it."""
        try:
            _refuse_half_restored(store)
            self._fd = self._open(store)
        except BaseException:
            self._lock.release()
            raise
        try:
            self._hold(store)
        except BaseException:
            self.release()
            raise

    def keep_boot_ids(self, boot_ids: Sequence[str]) -> None:
        """Keep which ids of boots the store may hold from now on: see `FileLock.keep_boot_ids`."""
        self._lock.keep_boot_ids(boot_ids)

    def is_in_place(self) -> bool:
        """Whether the file at the path is the one that is held. Where that cannot be found out, it is."""
        try:
            found = self._store.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        held = os.fstat(self._fd)
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)

    def check(self) -> None:
        """Make sure that the file at the path is the one that is held.

        Raises:
            OutboxError: it is not.
        """
        if not self.is_in_place():
            raise OutboxError(f"store.path: {self._store} was moved or replaced while it was being opened")

    def release(self) -> None:
        """Let go. SQLite has closed the file."""
        os.close(self._fd)
        self._lock.release()

    def _open(self, store: Path) -> int:
        try:
            # Looked at before it is opened: to close it again would cost another owner in this process its locks.
            found = store.stat() if store.exists() else None
            if found and not stat.S_ISREG(found.st_mode):
                raise OutboxError(f"store.path: cannot open {store}: it is no regular file")
            if found and found.st_nlink > 1:
                raise OutboxError(
                    f"store.path: {store} has a second name (a hard link), and SQLite keeps a log for each: "
                    "remove the other one, or give it a copy"
                )
            return os.open(store, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        except OSError as error:
            raise OutboxError(f"store.path: cannot open {store}: {error.strerror}") from None

    def _hold(self, store: Path) -> None:
        if self._lock.stands_alone():
            _lock_file(self._fd, store)
        else:
            self.warnings.append(
                f"store.path: {store} is on a file system whose locks get in each other's way: only its .lock file "
                "keeps a second process out"
            )
        self.check()
        files = StoreFiles.of(store)
        for one in (files.store, files.log, files.index):
            self._make_private(one)

    def _make_private(self, file: Path) -> None:
        try:
            make_private(file)
        except OSError as error:
            self.warnings.append(f"store.path: others may read {file}, and that cannot be changed: {error.strerror}")


def make_private(file: Path) -> None:
    """Have nobody else be able to read a file, if there is one.

    Raises:
        OSError: its mode cannot be changed.
    """
    try:
        mode = file.lstat().st_mode
        if stat.S_ISREG(mode) and mode & _OTHERS:
            file.chmod(stat.S_IMODE(mode) & ~_OTHERS)
    except FileNotFoundError:
        pass


@contextmanager
def kept_out(store: Path) -> Iterator[Sequence[str]]:
    """Keep every server out of a path while its files are exchanged, whether there is a store or not.

    Gives the ids of boots that a store there may hold.

    Raises:
        OutboxError: it is in use.
    """
    lock = FileLock(store)
    try:
        descriptor = os.open(store, os.O_RDWR | os.O_CLOEXEC) if store.exists() else None
        try:
            if descriptor is not None and lock.stands_alone():
                _lock_file(descriptor, store)
            yield lock.boot_ids
        finally:
            if descriptor is not None:
                os.close(descriptor)
    finally:
        lock.release()


def _lock_file(descriptor: int, store: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise _in_use(store) from None


def _refuse_half_restored(store: Path) -> None:
    if (ready := StoreFiles.of(store).restoring).exists():
        raise OutboxError(
            f"store.path: a restore of {store} was interrupted: `postwire store restore {ready} --store {store}` "
            "finishes it"
        )


def _in_use(store: Path) -> OutboxError:
    return OutboxError(f"store.path: {store} is in use by another postwire process")
