"""The request ids that the client makes."""

from __future__ import annotations

import itertools
import time
import uuid

import pytest

from postwire_client.request_ids import new_request_id


def test_they_rise_with_time_and_none_is_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for milliseconds in (1, 2, 0xFFFF, 0x10000, 1_800_000_000_000):
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000 + 999_999)
        made.append([new_request_id() for _ in range(500)])
    assert all(max(earlier) < min(later) for earlier, later in itertools.pairwise(made))
    assert len({one for ids in made for one in ids}) == 2500


def test_they_are_uuids_of_version_7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    for _ in range(500):
        made = uuid.UUID(new_request_id())
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert before <= made.int >> 80 <= time.time_ns() // 1_000_000
