"""Whose a store is: one process owns the file, and only while the file at its path is the one that it has opened."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from postwire.outbox.base import OutboxError

PRIVATE: Final = 0o600
"""The mode of the store and of what SQLite keeps beside it, which takes the store's."""

_OTHERS: Final = 0o077


class FileLock:
    """Holds `PATH.lock` while this process owns the store. The system lets go of it however the process ends."""

    def __init__(self, store: Path) -> None:
        file = store.resolve()  # it may have several names, and has one lock
        self._path = file.with_name(file.name + ".lock")
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
        try:
            self._fd = self._open(store)
        except BaseException:
            self._lock.release()
            raise
        try:
            self._hold(store)
        except BaseException:
            self.release()
            raise

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
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise _in_use(store) from None
        else:
            self.warnings.append(
                f"store.path: {store} is on a file system whose locks get in each other's way: only its .lock file "
                "keeps a second process out"
            )
        self.check()
        file = store.resolve()
        for one in (file, file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")):
            self._make_private(one)

    def _make_private(self, file: Path) -> None:
        try:
            mode = file.lstat().st_mode
            if stat.S_ISREG(mode) and mode & _OTHERS:
                file.chmod(stat.S_IMODE(mode) & ~_OTHERS)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.warnings.append(f"store.path: others may read {file}, and that cannot be changed: {error.strerror}")


def _in_use(store: Path) -> OutboxError:
    return OutboxError(f"store.path: {store} is in use by another postwire process")
