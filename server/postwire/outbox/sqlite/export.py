"""Reading all of a store that nobody serves, for a copy of it that is another kind of store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

import apsw

from postwire.core.follow_up import UNDER_WAY
from postwire.core.guards import GuardClock
from postwire.core.message import MessageRecord, MessageState
from postwire.core.waiting import is_scheduled
from postwire.outbox import texts
from postwire.outbox.base import OutboxError, QueuedMessage
from postwire.outbox.copied import TABLES, CopiedMessage, Row
from postwire.outbox.rekeying import REKEY, Progress
from postwire.outbox.sqlite import boots, reads, rows
from postwire.outbox.sqlite.alignment import AHEAD, kept_ahead
from postwire.outbox.sqlite.maintenance import COPIED, open_file
from postwire.outbox.sqlite.ownership import kept_out
from postwire.outbox.sqlite.queries import PAYLOAD_HASH, QUERIES
from postwire.outbox.sqlite.schema import plain

STEP: Final = 500
"""How many messages are read at once."""

STEP_BYTES: Final = 16 * 1024 * 1024
"""How large their contents are in all, but for a single one that is larger."""

_OF_THE_FILE: Final = frozenset({boots.BOOT_ID, boots.STORE, AHEAD, COPIED})
_HOOK: Final = "notify."  # a checkpoint is a position among changes, and those are not copied
_WITH_IDS: Final = frozenset({"message_id"})
_FLAGS: Final = frozenset({"permanent", "applied", "to_report"})


class Export:
    """See the module. Made by `open`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._ahead = kept_ahead(connection)
        self._unapplied: dict[bytes, int] = dict(self._all("unapplied_receipts"))
        self.messages: Final = reads.one_int(connection, "count_messages")
        """How many there are."""

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Read the store at a path, and keep every server out of it meanwhile.

        Raises:
            OutboxError: it is served, is not there, cannot be read, or was written by another release.
        """
        if not path.is_file():
            raise OutboxError(f"{path}: there is no such file")
        with kept_out(path):
            try:
                connection = open_file(path)
                try:
                    yield cls(connection)
                finally:
                    connection.close()
            except apsw.Error as error:
                raise OutboxError(f"{path}: cannot be read: {plain(error)}") from None

    @property
    def source(self) -> str:
        """What tells this state of the store from any other that it has had or will have."""
        name, boot = (reads.read_metadata(self._connection, one) or "" for one in (boots.STORE, boots.BOOT_ID))
        return f"{name}.{boot}"

    def read_messages(self, after: int) -> Iterator[Sequence[CopiedMessage]]:
        """The messages behind a key, some at a time, in the order of acceptance."""
        while found := self._step(after):
            yield found
            after = found[-1].key

    def read_table(self, name: str) -> Iterator[Row]:
        """The rows of one of `TABLES`."""
        if name == "provider_states":
            states = sorted(reads.provider_states(self._connection).items())
            for change, (provider_name, one) in enumerate(states, 1):
                yield provider_name, one.is_drained, one.resets, texts.note_text(one.note) if one.note else None, change
            return
        columns = TABLES[name]
        for row in self._connection.execute(f"SELECT {', '.join(columns)} FROM {name}"):
            yield tuple(map(_value, columns, row))

    def facts(self) -> dict[str, str]:
        """What the service has noted of the store as a whole, as far as it means something in another."""
        found: dict[str, str] = dict(self._all("facts"))
        if text := found.get(REKEY):
            rekey = Progress.parse(text).rekey
            found[REKEY] = text if rekey.end_time is not None else Progress(rekey).text  # from the beginning
        return {name: value for name, value in found.items() if name not in _OF_THE_FILE and not name.startswith(_HOOK)}

    def guard_clock(self, now: int) -> GuardClock | None:
        """The clock that guards count by, as it goes on where the due clock shows `now`."""
        found = self._all("guard_clock")
        return GuardClock(*found[0]).resumed(now, self._ahead, None) if found else None

    def _step(self, after: int) -> list[CopiedMessage]:
        found = self._all("copied_messages", (after, STEP))
        if not found:
            return []
        within = {"after": after, "end": found[-1][0]}
        sizes: dict[int, int] = dict(self._all("content_sizes", within))
        total = 0
        for count, row in enumerate(found):
            total += sizes.get(row[0], 0)
            if count and total > STEP_BYTES:
                found = found[:count]
                break
        within["end"] = found[-1][0]
        contents = dict(self._all("copied_contents", within))
        whom = {key: (hashes, sender) for key, hashes, sender in self._all("copied_recipients", within)}
        attempts = reads.attempts(self._connection, found)
        return [
            CopiedMessage(
                row[0],
                self._aligned(rows.queued_from(row, attempts.get(row[1], ()))),
                row[PAYLOAD_HASH],
                contents.get(row[0], b""),
                *whom.get(row[0], (None, "")),
                unapplied=self._unapplied.get(row[1], 0),
            )
            for row in found
        ]

    def _all(self, query: str, bindings: Any = ()) -> list[Any]:
        return self._connection.execute(QUERIES[query], bindings).fetchall()

    def _aligned(self, queued: QueuedMessage) -> QueuedMessage:
        """A message whose times of the due clock are those of the wall clock."""
        return replace(queued, record=_shifted(queued.record, self._ahead)) if self._ahead else queued


def _shifted(record: MessageRecord, by: int) -> MessageRecord:
    due, follow_up = record.next_attempt_time, record.follow_up_time
    if record.state is MessageState.QUEUED and due is not None and not is_scheduled(record):
        due += by
    is_over = record.settled and follow_up is None
    if follow_up is not None and follow_up != UNDER_WAY:
        follow_up += by
    deadline = record.deadline if record.deadline is None or is_over else record.deadline + by
    return replace(record, next_attempt_time=due, follow_up_time=follow_up, deadline=deadline)


def _value(column: str, value: Any) -> Any:
    if column in _WITH_IDS:
        return rows.id_text(value) if value else None
    if column in _FLAGS:
        return bool(value)
    if isinstance(value, str):  # what a vendor has sent may hold what no text of a database does
        return value.replace("\0", "\ufffd")
    return value
