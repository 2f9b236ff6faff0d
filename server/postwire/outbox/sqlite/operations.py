"""What is asked of the writing thread, and the statements that it runs for many of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import apsw

from postwire.outbox.base import Accepted, NewMessage, NotAccepted
from postwire.outbox.operations import Future
from postwire.outbox.sqlite.queries import Bulk


@dataclass(slots=True, eq=False)
class New:
    """A message that is to be accepted."""

    message: NewMessage
    result: Accepted | NotAccepted | None = None


@dataclass(slots=True, eq=False)
class Accept:
    """Some that are handed over together. The result is a list for `several`, or that of the one."""

    news: list[New]
    several: bool
    future: Future
    result: object = None


@dataclass(slots=True, eq=False)
class Call:
    """Something rare."""

    function: Callable[[apsw.Connection], object]
    future: Future
    result: object = None


@dataclass(slots=True)
class Statements:
    """Each for any number of rows."""

    messages: Bulk = field(default_factory=lambda: Bulk("insert_messages"))
    contents: Bulk = field(default_factory=lambda: Bulk("insert_contents"))
    labels: Bulk = field(default_factory=lambda: Bulk("insert_labels"))
    attempts: Bulk = field(default_factory=lambda: Bulk("insert_attempts"))
    changes: Bulk = field(default_factory=lambda: Bulk("insert_changes"))
    close: Bulk = field(default_factory=lambda: Bulk("close_attempts"))
    drop: Bulk = field(default_factory=lambda: Bulk("drop_attempts"))
    update: Bulk = field(default_factory=lambda: Bulk("update_messages"))
    notes: Bulk = field(default_factory=lambda: Bulk("update_notes"))
    follow_ups: Bulk = field(default_factory=lambda: Bulk("update_follow_ups"))
    reassign: Bulk = field(default_factory=lambda: Bulk("reassign_messages"))
    sizes: Bulk = field(default_factory=lambda: Bulk("size_of_contents"))
    erase: Bulk = field(default_factory=lambda: Bulk("erase_contents"))
    events: Bulk = field(default_factory=lambda: Bulk("insert_events"))
    reported: Bulk = field(default_factory=lambda: Bulk("update_reported"))
    provider_ids: Bulk = field(default_factory=lambda: Bulk("insert_provider_ids"))
    recipients: Bulk = field(default_factory=lambda: Bulk("insert_recipients"))
    applied: Bulk = field(default_factory=lambda: Bulk("apply_receipts"))


class Fenced(Exception):
    """Some changes of a batch came too late, or are of one message; each has to be tried by itself."""
