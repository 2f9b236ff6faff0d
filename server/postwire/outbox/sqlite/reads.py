"""What is read from a store: each function is one question, asked on a connection that nobody else uses meanwhile."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, product
from operator import itemgetter
from typing import Any, Final

import apsw

from postwire.core import listing
from postwire.core.audit import AuditEvent, AuditFilter, AuditPage, AuditPosition
from postwire.core.canonical import is_payload
from postwire.core.errors import RequestIdReused
from postwire.core.listing import MessageFilter, Page
from postwire.core.message import MAX_TIME, MessageRecord, MessageState, Priority
from postwire.core.waiting import deadline
from postwire.outbox import texts
from postwire.outbox.base import (
    NO_TENANTS,
    Counts,
    ErasureCounts,
    Head,
    OutboxStats,
    ProviderState,
    QueuedMessage,
    QueueKey,
    StoredMessage,
    StoreLoad,
    TakenMessage,
)
from postwire.outbox.cipher import Damaged, StoreCipher
from postwire.outbox.sqlite import rows
from postwire.outbox.sqlite.queries import PAYLOAD_HASH, QUERIES, RECORD, WORK

MAX_CONTENTS: Final = 8 * 1024 * 1024
"""How many bytes of contents are read at once, but for a single one that is larger."""

SMALL_CONTENTS: Final = 256 * 1024
"""How many bytes are read with the messages that are offered, some of which may not be taken."""

ERASED_BYTES: Final = 4 * 1024 * 1024
"""How many bytes of contents are erased in one commit, but for a single one that is larger: others wait for that, and
each byte is written over."""

REVISION: Final = RECORD.index("revision")
_DUE: Final = RECORD.index("next_attempt_time")
_SIZE: Final = len(WORK)
"""Where a row of `due` has the length of the content."""

_WAITING, _SCHEDULED = 0, 1
"""What `due` distinguishes."""

Row = Sequence[Any]


def get(connection: apsw.Connection, message_id: bytes, tenant: str) -> MessageRecord | None:
    """See `Outbox.get`."""
    with one_moment(connection):
        found = _all(connection, "message_by_id", message_id, tenant)
        return with_attempts(connection, found[0]) if found else None


def find(
    connection: apsw.Connection, tenant: str, request_id: str, payload_hash: bytes | None, lookup_key: bytes
) -> MessageRecord | None:
    """See `Outbox.find_by_request_id`."""
    with one_moment(connection):
        found = _all(connection, "message_by_request_id", tenant, request_id)
        if found and payload_hash is not None and not is_payload(found[0][PAYLOAD_HASH], payload_hash, lookup_key):
            raise RequestIdReused
        return with_attempts(connection, found[0]) if found else None


def page(connection: apsw.Connection, tenant: str, chosen: MessageFilter, size: int, after: str | None) -> Page:
    """See `Outbox.list`."""
    if chosen.request_ids:
        return _page_of_requests(connection, tenant, chosen, size, after)
    start = rows.id_bytes(after) if after else rows.AFTER_ALL_IDS
    with one_moment(connection):
        scan = {"tenant": tenant, "after": start, "scan": listing.SCAN_LIMIT}
        ends: list[tuple[Any, ...]] = connection.execute(QUERIES["list_end"], scan).fetchall()
        end: bytes | None = ends[0][0] if ends else None
        oldest = rows.first_id_at(chosen.create_time_from)
        is_last = end is None or end < oldest
        narrowed = {"tenant": tenant, "after": start, "end": oldest if is_last else end, "size": size}
        bindings = rows.filter_bindings(chosen) | narrowed
        found = connection.execute(QUERIES["list_messages"], bindings).fetchall()
        records = records_of(connection, found)
    if len(records) == size:
        return Page(records, records[-1].message_id)
    return Page(records, None if end is None or is_last else rows.id_text(end))


def _page_of_requests(
    connection: apsw.Connection, tenant: str, chosen: MessageFilter, size: int, after: str | None
) -> Page:
    """A page of those that have one of the request ids: they are found by an index, and are never many."""
    with one_moment(connection):
        found = _all(connection, "messages_by_request_ids", tenant, json.dumps(sorted(chosen.request_ids)))
        records = records_of(connection, found)
    admitted = [one for one in records if chosen.admits(one) and (after is None or one.message_id < after)]
    admitted.sort(key=lambda one: one.message_id, reverse=True)
    return Page(tuple(admitted[:size]), admitted[size - 1].message_id if len(admitted) > size else None)


def due(
    connection: apsw.Connection, queue: QueueKey, now: int, limits: Mapping[Priority, int], ahead: int
) -> tuple[list[QueuedMessage], dict[str, bytes]]:
    """What `Outbox.take` offers: at most so many of each priority, and fewer where their contents are large.

    With it those contents, by message id, that are not worth another turn of the reading thread.
    """
    with one_moment(connection):
        found: list[Row] = []
        for priority in Priority:
            if room := limits.get(priority, 0):
                waiting = _all(connection, "due", queue.name, queue.tenant, priority.value, _WAITING, now, room)
                clock = _SCHEDULED, now + ahead
                scheduled = _all(connection, "due", queue.name, queue.tenant, priority.value, *clock, room)
                if waiting and scheduled:
                    late = [(row[_DUE], row) for row in waiting] + [(row[_DUE] - ahead, row) for row in scheduled]
                    late.sort(key=itemgetter(0))
                    found += [row for _, row in late[:room]]
                else:
                    found += waiting or scheduled
        sizes = list(accumulate(row[_SIZE] for row in found))
        found = found[: max(1, bisect_right(sizes, MAX_CONTENTS))]
        attempts_by_id = attempts(connection, found)
        small = found[: bisect_right(sizes, SMALL_CONTENTS)]
        bodies = [_all(connection, "content_by_key", row[0])[0][0] for row in small]
    offered = [rows.queued_from(row, attempts_by_id.get(row[1], ())) for row in found]
    ids = [one.record.message_id for one in offered[: len(bodies)]]
    return offered, dict(zip(ids, bodies, strict=True))


def contents(connection: apsw.Connection, message_ids: Sequence[bytes]) -> dict[str, bytes]:
    """The contents of messages, as they are kept, by their ids."""
    found = _all(connection, "contents_of", json.dumps([one.hex() for one in message_ids]))
    return {rows.id_text(message_id): body for message_id, body in found}


def taken(cipher: StoreCipher, records: Sequence[MessageRecord], contents: Mapping[str, bytes]) -> list[TakenMessage]:
    """What `Outbox.take` gives of these records; `contents` are as they are kept, by message id."""
    found: list[TakenMessage] = []
    for record in records:
        body = contents.get(record.message_id) if record.state is MessageState.SENDING else None
        content = None if body is None else decrypted(cipher, body, record)
        found.append(TakenMessage(record, content, damaged=content is None and body is not None))
    return found


def heads(
    connection: apsw.Connection, keys: Collection[QueueKey] | None, now: int, most: int, ahead: int
) -> dict[QueueKey, Head]:
    """See `Outbox.heads`."""
    found: dict[QueueKey, Head] = {}
    with one_moment(connection):
        if keys is None or len(keys) > 1:  # of many keys, few may have anything: those are found in one go
            keys = [one for one in queues(connection) if keys is None or one in keys]
        for queue in keys:
            counts: Counter[Priority] = Counter()
            times: list[int] = []
            for priority, (clock, behind) in product(Priority, ((_WAITING, 0), (_SCHEDULED, ahead))):
                at = (queue.name, queue.tenant, priority.value, clock, now + behind)
                if count := _all(connection, "due_count", *at, most)[0][0]:
                    counts[priority] += count
                if (time := _all(connection, "next_due", *at)[0][0]) is not None:
                    times.append(time - behind)
            if counts or times:
                found[queue] = Head(counts, min(times, default=None))
    return found


def queues(connection: apsw.Connection) -> list[QueueKey]:
    """The queues that anything waits in, of all tenants."""
    found: list[QueueKey] = []
    name = tenant = ""
    with one_moment(connection):
        while row := _all(connection, "next_queue_of_name", name, tenant) or _all(connection, "next_queue", name):
            ((name, tenant),) = row
            found.append(QueueKey(tenant, name))
    return found


def expired(connection: apsw.Connection, now: int, limit: int, ahead: int) -> list[MessageRecord]:
    """See `Outbox.expired`."""
    with one_moment(connection):
        found = _all(connection, "expired", now + ahead, limit) + _all(connection, "past_deadline", now, limit)
        records = sorted(records_of(connection, found), key=lambda record: deadline(record, ahead))
    return records[:limit]


def next_expiry(connection: apsw.Connection, ahead: int) -> int | None:
    """See `Outbox.next_expiry`."""
    with one_moment(connection):
        expiry: int | None = _all(connection, "next_expiry")[0][0]
        due: int | None = _all(connection, "next_deadline")[0][0]
    return min((time for time in (due, None if expiry is None else expiry - ahead) if time is not None), default=None)


def orphans(connection: apsw.Connection, limit: int, cipher: StoreCipher) -> list[StoredMessage]:
    """See `Outbox.orphans`."""
    with one_moment(connection):
        found = _all(connection, "orphans", limit) or _all(connection, "open_follow_ups", limit)
        return _stored(connection, found, cipher)


def scan_queued(
    connection: apsw.Connection, after: int, limit: int, queues: Collection[str] | None, cipher: StoreCipher
) -> tuple[list[StoredMessage], int]:
    """See `Outbox.scan_queued`."""
    chosen = None if queues is None else json.dumps(list(queues))
    bindings = {"after": after, "queues": chosen, "limit": limit}
    with one_moment(connection):
        found: list[tuple[Any, ...]] = connection.execute(QUERIES["scan_queued"], bindings).fetchall()
        stored = _stored(connection, found, cipher)
    return stored, found[len(stored) - 1][0] if stored else after


def records(connection: apsw.Connection, message_ids: Sequence[bytes], tenant: str) -> tuple[MessageRecord, ...]:
    """See `Outbox.records`."""
    with one_moment(connection):
        return records_of(connection, messages_by_ids(connection, message_ids, tenant))


def step(
    connection: apsw.Connection,
    query: str,
    after: int,
    before: int,
    limit: int,
    of_tenants: Mapping[str, int] = NO_TENANTS,
) -> tuple[int, int] | None:
    """How far the next `limit` messages behind the key `after` reach, and how many of them were settled before a time,
    or of `of_tenants` before other times.

    `query` counts them: `step` all of them, `erasure_step` those that still have their content. They reach less far
    where contents are large. None where none of them can have been settled by then, nor any that comes later: they were
    accepted after that time.
    """
    bindings = {"after": after, "before": before, "limit": limit, "of_tenants": json.dumps(dict(of_tenants))}
    ((end, count, oldest),) = connection.execute(QUERIES[query], bindings).fetchall()
    if not isinstance(end, int) or not isinstance(count, int) or not isinstance(oldest, int):
        return None
    if oldest >= max((before, *of_tenants.values())):
        return None
    if count:
        sizes: list[Any] = connection.execute(QUERIES["content_sizes"], {"after": after, "end": end}).fetchall()
        fitting = _fitting([size for _, size in sizes])
        if fitting < len(sizes):
            end = sizes[fitting][0] - 1
    return end, count


def _fitting(sizes: Iterable[int]) -> int:
    """How many contents of those sizes may be erased in one commit: the first at the least."""
    return max(1, bisect_right([*accumulate(sizes)], ERASED_BYTES))


def erasable(
    connection: apsw.Connection, message_ids: Sequence[str], tenant: str
) -> tuple[list[tuple[int, bytes, int]], ErasureCounts]:
    """The key, the id and the revision of those messages that something can be erased of, as far as they may be erased
    in one commit; and how many are what, beyond that as well."""
    bindings = {"ids": json.dumps([rows.id_bytes(one).hex() for one in message_ids]), "tenant": tenant}
    with one_moment(connection):
        found: list[Any] = connection.execute(QUERIES["erasable"], bindings).fetchall()
        unsettled: list[Any] = connection.execute(QUERIES["unsettled_of"], bindings).fetchall()
    chosen = found[: _fitting(size for *_, size in found)]
    return [(key, message_id, revision) for key, message_id, revision, _ in chosen], ErasureCounts(
        len(found), unsettled[0][0]
    )


def events(connection: apsw.Connection, chosen: AuditFilter, size: int, after: AuditPosition | None) -> AuditPage:
    """See `Outbox.events`."""
    oldest = 0 if chosen.time_from is None else chosen.time_from
    start = after or AuditPosition(MAX_TIME if chosen.time_to is None else chosen.time_to, 0)
    scan: dict[str, Any] = {"from": oldest, "time": start.time, "event": start.number}
    with one_moment(connection):
        bindings = scan | {"scan": listing.SCAN_LIMIT}
        ends: list[tuple[Any, ...]] = connection.execute(QUERIES["events_end"], bindings).fetchall()
        end = AuditPosition(*ends[0]) if ends else None
        narrowed = {
            "end_time": end.time if end else oldest,
            "end_event": end.number if end else 0,
            "tenant": chosen.tenant or None,
            "method": chosen.method or None,
            "size": size,
        }
        found: list[tuple[Any, ...]] = connection.execute(QUERIES["list_events"], scan | narrowed).fetchall()
    listed = tuple(AuditEvent(time, *words) for time, _, *words in found)
    return AuditPage(listed, AuditPosition(*found[-1][:2]) if len(found) == size else end)


def earliest(connection: apsw.Connection, query: str) -> int | None:
    """The earliest of the times that `query` looks at (µs); None where there are none."""
    found: int | None = _all(connection, query)[0][0]
    return found


def provider_states(connection: apsw.Connection) -> dict[str, ProviderState]:
    """See `Outbox.provider_states`."""
    with one_moment(connection):
        drained = {name for (name,) in _all(connection, "drained")}
        resets = dict(_all(connection, "resets"))
        notes = {name: texts.note_from(text) for name, text in _all(connection, "provider_notes")}
    return {
        name: ProviderState(name in drained, resets.get(name, 0), notes.get(name))
        for name in drained | resets.keys() | notes.keys()
    }


def read_metadata(connection: apsw.Connection, name: str) -> str | None:
    """See `Outbox.read_metadata`."""
    found = _all(connection, "fact", name)
    return found[0][0] if found else None


def stats(connection: apsw.Connection) -> OutboxStats:
    """See `Outbox.stats`."""
    return OutboxStats(*_all(connection, "stats")[0])


def load(connection: apsw.Connection, now: int, ahead: int) -> StoreLoad:
    """See `Outbox.load`."""
    due, times = 0, []
    with one_moment(connection):
        for queue in queues(connection):
            for priority, (clock, behind) in product(Priority, ((_WAITING, 0), (_SCHEDULED, ahead))):
                at = (queue.name, queue.tenant, priority.value, clock, now + behind)
                ((count, oldest),) = _all(connection, "all_due", *at)
                if count:
                    due += count
                    times.append(oldest - behind)
        size = connection.pragma("page_count") * connection.pragma("page_size")
    return StoreLoad(due, min(times, default=None), size)


def unsettled_counts(connection: apsw.Connection, now: int) -> Counts:
    """See `Outbox.unsettled_counts`."""
    scheduled: Counter[tuple[str, int]] = Counter()
    with one_moment(connection):
        by_queue = Counter(QueueKey(*found) for found in _all(connection, "sending_queues"))
        for tenant, queue in queues(connection):
            by_queue[QueueKey(tenant, queue)] += _all(connection, "queued_count", queue, tenant)[0][0]
            for priority in Priority:
                for second, count in _all(connection, "scheduled_counts", queue, tenant, priority.value, now):
                    scheduled[tenant, second] += count
    return Counts(by_queue, scheduled)


def content(connection: apsw.Connection, message_id: str, tenant: str, cipher: StoreCipher) -> bytes | None:
    """See `Outbox.content`."""
    found = _all(connection, "content_of", rows.id_bytes(message_id), tenant)
    return cipher.decrypt_content(found[0][0], tenant=tenant, message_id=message_id) or None if found else None


def decrypted(cipher: StoreCipher, body: bytes, record: MessageRecord) -> bytes | None:
    """The content of a message, of which `body` is kept; None where it is damaged."""
    try:
        return cipher.decrypt_content(body, tenant=record.tenant, message_id=record.message_id)
    except Damaged:
        return None


def one_int(connection: apsw.Connection, query: str, *bindings: Any) -> int:
    """The only value of the only row that a query gives."""
    ((value,),) = _all(connection, query, *bindings)
    assert isinstance(value, int)
    return value


def with_attempts(connection: apsw.Connection, found: Row) -> MessageRecord:
    """The record of one row."""
    return rows.record_from(found, _all(connection, "attempts_of", found[1]))


def _all(connection: apsw.Connection, query: str, *bindings: Any) -> list[tuple[Any, ...]]:
    return connection.execute(QUERIES[query], bindings).fetchall()


def messages_by_ids(connection: apsw.Connection, message_ids: Sequence[bytes], tenant: str) -> list[tuple[Any, ...]]:
    """The rows of those of these messages that are a tenant's, in any order."""
    return _all(connection, "messages_by_ids", json.dumps([one.hex() for one in message_ids]), tenant)


def records_of(connection: apsw.Connection, found: Sequence[Row]) -> tuple[MessageRecord, ...]:
    """The records of rows, in their order."""
    attempts_by_id = attempts(connection, found)
    return tuple(rows.record_from(row, attempts_by_id.get(row[1], ())) for row in found)


def _stored(connection: apsw.Connection, found: Sequence[Row], cipher: StoreCipher) -> list[StoredMessage]:
    attempts_by_id = attempts(connection, found)
    stored: list[StoredMessage] = []
    size = 0
    for row in found:
        ((body,),) = _all(connection, "content_by_key", row[0])
        size += len(body)
        if stored and size > MAX_CONTENTS:
            break
        queued = rows.queued_from(row, attempts_by_id.get(row[1], ()))
        content = decrypted(cipher, body, queued.record) or b""
        stored.append(StoredMessage(queued.record, queued.options, content, queued.accept_trace))
    return stored


def attempts(connection: apsw.Connection, found: Iterable[Row]) -> dict[bytes, list[Row]]:
    """The rows of the attempts of the messages of these rows, by their ids."""
    by_id: dict[bytes, list[Row]] = {}
    for message_id, *attempt in _all(connection, "attempts_of_all", rows.ids_text(list(found))):
        by_id.setdefault(message_id, []).append(attempt)
    return by_id


@contextmanager
def one_moment(connection: apsw.Connection) -> Iterator[None]:
    """Around reads that belong together: all of them see the same state of the store."""
    connection.execute(QUERIES["savepoint"])
    try:
        yield
    finally:
        connection.execute(QUERIES["release"])
