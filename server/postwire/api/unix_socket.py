"""A unix socket that one server owns: who comes second is refused, and what is not one's own is left alone."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_PATH_BYTES: Final = 107
"""Of `sun_path`, without the NUL at its end: see unix(7). It is 103 on macOS and the BSDs, where binding fails."""

TOO_LONG: Final = f"the path is too long: {MAX_PATH_BYTES} bytes, with room for another name"


def is_too_long(path: Path) -> bool:
    """Whether the path, or the name beside it that is bound at first, has more bytes than a socket's may have."""
    return max(len(os.fsencode(one)) for one in (path, path.with_name(".postwire-0123"))) > MAX_PATH_BYTES


class UnixSocket:
    """Holds `PATH.lock` while this process listens at the path.

    gRPC itself unlinks whatever socket is at a path before it binds, and again when it ends: a second server would take
    all calls, and the path with it. So it binds another name in the same directory, which is then renamed.
    """

    def __init__(self, path: Path) -> None:
        """Take the path, without listening at it yet.

        Raises:
            OSError: somebody listens there, something else is there, or it cannot be written.
        """
        self._path = path
        self._own: tuple[int, int] | None = None
        self.temporary: Final = path.with_name(f".postwire-{secrets.token_hex(2)}")
        """Where to bind."""
        if is_too_long(path):
            raise OSError(errno.ENAMETOOLONG, TOO_LONG)
        lock = Path(f"{path}.lock")
        try:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OSError(error.errno, f"{lock}: {error.strerror}") from None
        try:
            self._lock_path()
        except BaseException:
            os.close(self._lock)
            raise

    def publish(self) -> None:
        """Have callers find what was bound at the path. What is left there of a server that was killed goes."""
        bound = self.temporary.stat()
        self.temporary.rename(self._path)
        self._own = (bound.st_dev, bound.st_ino)

    def release(self) -> None:
        """Remove the socket, if it still is one's own, and let others have the path.

        The lock's file stays: removing it would let two processes each hold a lock of that name.
        """
        with suppress(OSError):
            found = self._path.lstat()
            if (found.st_dev, found.st_ino) == self._own:
                self._path.unlink()
        os.close(self._lock)

    def _lock_path(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use() from None
        # Not enough by itself: two that ask at the same moment would both hear nothing. But there are servers that take
        # no lock, and lock files that somebody has deleted.
        if _is_answered(self._path):
            raise _in_use()


def _in_use() -> OSError:
    return OSError(errno.EADDRINUSE, "it is in use by another process")


def _is_answered(path: Path) -> bool:
    """Whether somebody listens at the path. Raises OSError where there is something that is no socket, or not ours."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "there is something else, which is no socket")
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except BlockingIOError:  # more want to connect than are let in
            return True
        except (ConnectionRefusedError, FileNotFoundError):  # left behind
            return False
    return True
