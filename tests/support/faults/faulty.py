"""A disk on which some calls fail."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final

import apsw
from tests.support.faults.power import Platter, Recorder
from tests.support.faults.vfs import Call, Failure, Kind


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong. Of a write, `written` says how much gets through all the same."""

    kind: Kind
    code: int
    written: float = 0.0


FAULTS: Final = {
    "disk full": Fault(Kind.WRITE, apsw.SQLITE_FULL, written=0.5),
    "failing write": Fault(Kind.WRITE, apsw.SQLITE_IOERR_WRITE),
    "failing read": Fault(Kind.READ, apsw.SQLITE_IOERR_READ),
    "failing fsync": Fault(Kind.SYNC, apsw.SQLITE_IOERR_FSYNC),
    "failing truncate": Fault(Kind.TRUNCATE, apsw.SQLITE_IOERR_TRUNCATE),
    "failing open": Fault(Kind.OPEN, apsw.SQLITE_CANTOPEN),
    "failing delete": Fault(Kind.DELETE, apsw.SQLITE_IOERR_DELETE),
    "no room for the index": Fault(Kind.MAP, apsw.SQLITE_IOERR_SHMSIZE),
}


class Faulty(Recorder):
    """One on which `times` calls of a kind fail, from the one with the number `first` on (0: the first)."""

    def __init__(
        self, fault: Fault | None = None, first: int = 0, times: int = 1, start: Platter | None = None
    ) -> None:
        super().__init__(start)
        self.calls: Counter[Kind] = Counter()
        self.failed = 0
        """How many have failed."""
        self._fault = fault
        self._failing = range(first, first + times)
        self._lock = threading.Lock()  # the reading thread calls, and the writing one

    def fault(self, call: Call) -> Failure | None:
        """See `Recorder`."""
        with self._lock:
            number = self.calls[call.kind]
            self.calls[call.kind] += 1
            if self._fault is None or call.kind is not self._fault.kind or number not in self._failing:
                return None
            self.failed += 1
            return Failure(self._fault.code, int(self._fault.written * len(call.data)))
