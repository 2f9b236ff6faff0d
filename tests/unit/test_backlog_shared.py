"""How many messages may be unsettled where nodes share a store: what each counts, and what is counted for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postwire.core.backlog import Backlog
from postwire.core.message import DEFAULT_TENANT
from postwire.core.queue_keys import QueueKey

SMS, EMAIL = QueueKey(DEFAULT_TENANT, "sms"), QueueKey(DEFAULT_TENANT, "email")
SECOND = 1_000_000


def test_all_that_is_not_settled_is_what_was_counted_and_what_has_come_here_since() -> None:
    backlog = Backlog(max_unsettled=10)
    for _ in range(4):
        backlog.add(SMS)
    backlog.note(5 * SECOND)
    for _ in range(2):
        backlog.add(SMS)
    backlog.correct(7, 5 * SECOND)
    assert backlog.total == 9, "4 of this node and 3 of others were counted, and 2 have come since"
    assert backlog.why_full(SMS, None, 0) is None
    backlog.add(SMS)
    assert backlog.why_full(SMS, None, 0) is not None
    backlog.note(8 * SECOND)
    backlog.correct(1, 8 * SECOND)
    assert backlog.total == 1, "and others have settled nearly all"


def test_what_is_settled_here_and_was_taken_elsewhere_is_counted_away() -> None:
    backlog = Backlog(max_unsettled=10)
    backlog.note(0)
    backlog.correct(9, SECOND)
    for _ in range(5):
        backlog.remove(SMS)
    assert backlog.total == 4
    assert backlog.queues == {SMS: -5}, "until all is counted anew"
    backlog.reload({}, {SMS: 4, EMAIL: 2}, {})
    assert backlog.queues == {EMAIL: 2}, "what was settled while it was counted is counted away, and no more than that"
    assert backlog.total == 2


def test_a_count_that_is_older_than_all_that_is_remembered_changes_nothing() -> None:
    backlog = Backlog(max_unsettled=10)
    backlog.note(5 * SECOND)
    backlog.add(SMS)
    backlog.correct(8, 4 * SECOND)
    assert backlog.total == 1


def test_what_is_counted_anew_goes_by_queue_and_by_tenant_and_what_is_for_later() -> None:
    backlog = Backlog(max_unsettled=1_000, has_tenants=True)
    backlog.add(SMS)
    backlog.add(SMS, 90 * SECOND)
    other = QueueKey("other", "sms")
    before = dict(backlog.queues)
    backlog.add(EMAIL)
    backlog.reload(before, {SMS: 5, other: 3}, {("other", 70): 2})
    assert backlog.queues == {SMS: 5, other: 3, EMAIL: 1}, "what came while it was counted is there, too"
    assert backlog.tenants == {DEFAULT_TENANT: 6, "other": 3}
    assert backlog.total == 9
    assert backlog.scheduled(60 * SECOND) == 2
    assert backlog.scheduled(70 * SECOND) == 0


@given(st.lists(st.tuples(st.sampled_from((SMS, EMAIL)), st.integers(0, 1), st.integers(0, 1)), max_size=40))
def test_two_nodes_are_right_together_whoever_settles_what_the_other_has_taken(
    steps: list[tuple[QueueKey, int, int]],
) -> None:
    nodes = [Backlog(max_unsettled=1_000), Backlog(max_unsettled=1_000)]
    store: dict[QueueKey, int] = {}
    for queue, taker, settler in steps:
        nodes[taker].add(queue)
        store[queue] = store.get(queue, 0) + 1
        if store[queue] > 2:
            nodes[settler].remove(queue)
            store[queue] -= 1
    assert sum(node.total for node in nodes) == sum(store.values())
    for node in nodes:
        node.reload(dict(node.queues), store, {})
        assert node.queues == store
        assert node.total == sum(store.values())
