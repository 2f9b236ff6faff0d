"""What is read of a store costs as much at a million messages as at twenty thousand: counted in steps and pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import apsw
import pytest
from tests.support.clock import START

from postwire.core.listing import SCAN_LIMIT, MessageFilter
from postwire.core.message import DEFAULT_TENANT, Channel, MessageRecord, MessageState, Priority
from postwire.outbox.base import QueueKey
from postwire.outbox.cipher import StoreCipher
from postwire.outbox.sqlite import feed, reads
from postwire.outbox.sqlite.schema import connect, migrate

pytestmark = pytest.mark.long

SMALL: Final = 20_000
LARGE: Final = 1_000_000
APART: Final = 1_000_000
"""Between one message and the next, in µs: both stores end at the same moment, so that one is the end of the other."""

END: Final = START + LARGE * APART
FILL = """
WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)
INSERT INTO messages (
    key, message_id, tenant, request_id, payload_hash, channel, state, priority, delivery_guarantee, create_time,
    update_time, expire_time, next_attempt_time, attempt_number, provider_name, revision, queue
)
SELECT
    n, unhex(printf('%012x7000%016x', (:start + n * :apart) / 1000, n)), 'default', 'request-' || n, x'00',
    iif(n % 3 = 0, 'email', 'sms'), iif(n % 10 = 0, 'queued', 'sent'), 'normal', 'at_least_once', :start + n * :apart,
    :start + n * :apart, :start + (n + 10000000) * :apart, iif(n % 10 = 0, :start + n * :apart, NULL), 1, 'p',
    2, iif(n % 3 = 0, 'email', 'sms')
FROM numbers;
INSERT INTO labels (key, labels) SELECT key, '{"team": "auth"}' FROM messages WHERE key % 1000 = 0;
INSERT INTO contents (key, content) SELECT key, x'7b7d' FROM messages;
INSERT INTO attempts (message_id, number, boot, provider_name, start_time, outcome, duration)
SELECT message_id, 1, 1, 'p', create_time, iif(state = 'sent', 'success', 'error'), 20000 FROM messages ORDER BY key;
INSERT INTO changes (change, message_id) SELECT key, message_id FROM messages ORDER BY key;
"""


def filled(path: Path, count: int) -> Path:
    """A store with the last `count` of a million messages."""
    connection = connect(str(path), sync="normal")
    migrate(connection, str(path))
    connection.pragma("synchronous", "off")
    with connection:
        bounds = {"first": LARGE - count + 1, "last": LARGE, "start": START, "apart": APART}
        connection.execute(FILL, bounds)
    ((found,),) = connection.execute("SELECT count(*) FROM attempts").fetchall()
    assert found == count
    connection.close()
    return path


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, apsw.Connection]]:
    """Both of them, for reading, as a server reads."""
    folder = tmp_path_factory.mktemp("scale")
    paths = {"small": filled(folder / "small.db", SMALL), "large": filled(folder / "large.db", LARGE)}
    connections = {name: connect(str(path), sync="full", read_only=True) for name, path in paths.items()}
    yield connections
    for name, connection in connections.items():
        connection.close()
        paths[name].unlink()


@contextmanager
def metered(connection: apsw.Connection) -> Iterator[Counter[str]]:
    """Counts what is done meanwhile: steps of SQLite's machine, pages looked at, and rows of scans and sorts."""
    counts: Counter[str] = Counter()

    def add(event: dict[str, Any]) -> None:
        for name, value in event["stmt_status"].items():
            counts[name.removeprefix("SQLITE_STMTSTATUS_")] += value

    def pages() -> int:
        hits = (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS)
        return sum(connection.status(one)[0] for one in hits)

    before = pages()
    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, add)
    try:
        yield counts
    finally:
        connection.trace_v2(0, None)
        counts["PAGES"] = pages() - before


def message_id(number: int) -> str:
    return str(UUID(f"{(START + number * APART) // 1000:012x}7000{number:016x}"))


def page(
    chosen: MessageFilter, size: int = 50, after: str | None = None, tenant: str = DEFAULT_TENANT
) -> Callable[[apsw.Connection], Any]:
    return lambda connection: reads.page(connection, tenant, chosen, size, after)


def of(**fields: Any) -> MessageFilter:
    """A filter; its choices may be plain sets."""
    for name, value in fields.items():
        fields[name] = frozenset(value) if isinstance(value, set) else value
    return MessageFilter(**fields)


LAST_HOUR = END - 3_600 * APART
MIDDLE = LARGE - SMALL // 2

LISTS: dict[str, Callable[[apsw.Connection], Any]] = {
    "the first page": page(of()),
    "the largest page": page(of(), 1_000),
    "a page further on": page(of(), 50, message_id(MIDDLE)),
    "of a channel": page(of(channels={Channel.EMAIL})),
    "of a state": page(of(states={MessageState.QUEUED})),
    "of a state that nothing has": page(of(states={MessageState.FAILED})),
    "of a provider that nobody knows": page(of(provider_names={"nobody"})),
    "with a label that few have": page(of(labels={"team": "auth"})),
    "with a label that none has": page(of(labels={"team": "none"}), 1_000),
    "of the last hour": page(of(create_time_from=LAST_HOUR), 1_000),
    "of the last hour, and rare": page(of(create_time_from=LAST_HOUR, labels={"team": "none"})),
    "of before all": page(of(create_time_to=START)),
    "of a time long ago": page(of(create_time_from=START, create_time_to=START + 60 * APART)),
    "of a tenant that has nothing, among others that have all": page(of(), tenant="acme"),
    "of everything at once": page(
        of(channels={Channel.SMS}, states={MessageState.QUEUED}, provider_names={"p"}, labels={"team": "auth"})
    ),
}

SMS, EMAIL = (QueueKey(DEFAULT_TENANT, name) for name in ("sms", "email"))
EACH = dict.fromkeys(Priority, 64)

CLEAR = StoreCipher()

OTHERS: dict[str, Callable[[apsw.Connection], Any]] = {
    "a message": lambda connection: reads.get(connection, UUID(message_id(MIDDLE)).bytes, DEFAULT_TENANT),
    "a message that is not there": lambda connection: reads.get(connection, b"x" * 16, DEFAULT_TENANT),
    "a request id": lambda connection: reads.find(connection, DEFAULT_TENANT, f"request-{MIDDLE}", b"\0", b""),
    "a content": lambda connection: reads.content(connection, message_id(MIDDLE), DEFAULT_TENANT, CLEAR),
    "what is due": lambda connection: reads.due(connection, SMS, END, EACH, 0),
    "what nobody waits for": lambda connection: reads.due(connection, QueueKey("nobody", "sms"), END, EACH, 0),
    "when something is due": lambda connection: reads.heads(connection, [EMAIL], 0, 128, 0),
    "the queues": lambda connection: reads.queues(connection),
    "what has expired": lambda connection: reads.expired(connection, START, 256, 0),
    "when something expires": lambda connection: reads.next_expiry(connection, 0),
    "what a crash left": lambda connection: reads.orphans(connection, 256, CLEAR),
    "what waits": lambda connection: reads.scan_queued(connection, MIDDLE, 256, None, CLEAR),
    "what waits in some queues": lambda connection: reads.scan_queued(connection, MIDDLE, 256, ["sms", "email"], CLEAR),
    "the last change": lambda connection: feed.last_change(connection),
    "changes": lambda connection: feed.changes(connection, (LARGE - 700,), 500, DEFAULT_TENANT),
    "where a reader goes on": lambda connection: feed.skip_dropped(connection, (5,)),
    "some records": lambda connection: reads.records(
        connection, [UUID(message_id(number)).bytes for number in range(MIDDLE, MIDDLE + 100)], DEFAULT_TENANT
    ),
    "a step of retention": lambda connection: reads.step(connection, "step", MIDDLE, END, 200),
    "a step of erasure": lambda connection: reads.step(connection, "erasure_step", MIDDLE, END, 500),
    "changes beyond a million": lambda connection: feed.changes_beyond(connection, 1_000_000),
}


def cost(connection: apsw.Connection, question: Callable[[apsw.Connection], Any]) -> tuple[Any, Counter[str]]:
    question(connection)  # so that all that is compiled once, is
    with metered(connection) as counts:
        answer = question(connection)
    return answer, counts


@pytest.mark.parametrize("name", [*LISTS, *OTHERS])
def test_a_question_costs_no_more_at_a_million_messages(stores: dict[str, apsw.Connection], name: str) -> None:
    question = (LISTS | OTHERS)[name]
    _, small = cost(stores["small"], question)
    answer, large = cost(stores["large"], question)
    assert large["VM_STEP"] <= 1.05 * small["VM_STEP"] + 100
    assert large["PAGES"] <= 2 * small["PAGES"], "trees are a level or two deeper"
    assert large["FULLSCAN_STEP"] <= small["FULLSCAN_STEP"] + 10
    assert large["AUTOINDEX"] == 0
    if name in LISTS:
        assert len(answer.records) <= 1_000
        rows = SCAN_LIMIT + 3 * 1_000
        assert large["VM_STEP"] <= 60 * rows, "a page looks at a bounded number of messages, whatever the filter"
        assert large["SORT"] <= 2, "of attempts of one page, at the most"


def test_a_rare_message_is_found_by_pages_that_each_look_at_a_bounded_number(
    stores: dict[str, apsw.Connection],
) -> None:
    connection = stores["large"]
    chosen = of(create_time_to=START + 2 * APART)  # the very oldest, which is the last that is come by
    after: str | None = None
    steps: list[int] = []
    records: list[MessageRecord] = []
    while True:
        with metered(connection) as counts:
            found = reads.page(connection, DEFAULT_TENANT, chosen, 50, after)
        steps.append(counts["VM_STEP"])
        records += found.records
        if (after := found.next_after) is None:
            break
    assert [record.message_id for record in records] == [message_id(1)]
    assert LARGE // SCAN_LIMIT <= len(steps) <= LARGE // SCAN_LIMIT + 1
    assert max(steps) <= 1.2 * steps[0]


def test_a_time_that_bounds_the_list_below_ends_it_there(stores: dict[str, apsw.Connection]) -> None:
    """Nobody has to page through a million messages to hear that the last hour has no more."""
    found = reads.page(
        stores["large"], DEFAULT_TENANT, of(create_time_from=LAST_HOUR, labels={"team": "none"}), 50, None
    )
    assert (found.records, found.next_after) == ((), None)
