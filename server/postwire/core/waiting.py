"""When what waits is due, and when its time runs out: times of two clocks, compared on one.

The due clock goes on evenly, and how long somebody waits is counted by it. What a caller has said in the time of day,
`send_time` and `expire_time`, is compared with the wall clock, which may be set. `ahead` (µs) is by how much the wall
clock is ahead of the due clock. Everything here is on the due clock, in µs since the epoch.
"""

from __future__ import annotations

from dataclasses import replace

from postwire.core.message import MessageRecord


def is_scheduled(record: MessageRecord) -> bool:
    """Whether it waits for the `send_time` that its caller gave."""
    return record.send_time is not None and record.next_attempt_time == record.send_time


def due_time(record: MessageRecord, ahead: int = 0) -> int | None:
    """When a message that is queued may be taken; None where it is not queued."""
    if record.next_attempt_time is None or not is_scheduled(record):
        return record.next_attempt_time
    return record.next_attempt_time - ahead


def deadline(record: MessageRecord, ahead: int = 0) -> int:
    """When the time of a message runs out."""
    return record.expire_time - ahead if record.deadline is None else record.deadline


def by_wall_clock(record: MessageRecord, ahead: int = 0) -> MessageRecord:
    """The record with all its times by the wall clock, as callers are to see it."""
    if record.settled or (not ahead and record.deadline in (None, record.expire_time)):
        return record  # nearly always
    expire_time = record.expire_time if record.deadline is None else record.deadline + ahead
    due = due_time(record, ahead)
    return replace(record, expire_time=expire_time, next_attempt_time=None if due is None else due + ahead)
