"""The bookkeeping of `dispatch_many`, against a plain model: nothing lost, nothing twice, nothing too much."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.examples import examples
from tests.support.scripted import rejection

from postwire.v1.dispatch_service_pb2 import DispatchRejection, DispatchRequest, DispatchStreamResult
from postwire.v1.message_pb2 import Message
from postwire_client.bulk import LINGER, MAX_FRAME_BYTES, MAX_UNANSWERED_BYTES, Bulk
from postwire_client.errors import PostwireError, TryAgain
from postwire_client.reopening import FIRST_PAUSE, LONGEST_PAUSE, MAX_TRIES, Reopening, no_answer

NOW = 1234.5
GONE = TryAgain(grpc.StatusCode.UNAVAILABLE, "gone")
GUARDED = rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", delay_ms=3_600_000)
GUARDED.field_violations.add(field="message.sms.to", description="is at the limit of guards.max_per_prefix")
INVALID = rejection(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MESSAGE")


def full(delay: float) -> DispatchRejection:
    return rejection(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", delay_ms=int(delay * 1000))


def request(number: int, size: int = 0) -> DispatchRequest:
    made = DispatchRequest(request_id=str(number))
    made.message.sms.body = "x" * size
    return made


def accepted(sequence: int) -> DispatchStreamResult:
    return DispatchStreamResult(sequence=sequence, message=Message(message_id="m"))


def rejected(sequence: int, why: DispatchRejection) -> DispatchStreamResult:
    return DispatchStreamResult(sequence=sequence, rejection=why)


def bulk_of(*, retry: bool = True, **fields: Any) -> Bulk:
    chosen = {"frame_size": 3, "window": 10, "timeout": 60.0, **fields}
    return Bulk(**chosen, reopening=Reopening(retry=retry, spread=lambda: 1.0))


def ids(frame: Any) -> list[str]:
    return [one.request_id for one in frame.requests] if frame else []


class Sending(RuleBasedStateMachine):
    """The model: a list of what waits, and what each stream has had. Everything else follows from these."""

    def __init__(self) -> None:
        super().__init__()
        self.frame_size, self.window = 3, 7
        self.bulk = bulk_of(frame_size=self.frame_size, window=self.window)
        self.now = NOW
        self.taken = 0
        self.waiting: list[int] = []
        self.on_stream: list[int] = []
        self.unanswered: dict[int, int] = {}
        self.answered_indexes: list[int] = []
        self.not_before = 0.0
        self.tries = 0
        self.has_ended = False
        self.is_open = False

    @precondition(lambda self: self.bulk.room > 0)
    @rule(count=st.integers(1, 7))
    def take(self, count: int) -> None:
        for _ in range(min(count, self.bulk.room)):
            self.bulk.put(request(self.taken), self.now)
            self.waiting.append(self.taken)
            self.taken += 1

    @precondition(lambda self: not self.has_ended)
    @rule(sure=st.integers(0, 9))
    def end(self, sure: int) -> None:
        if sure == 0:
            self.bulk.no_more()
            self.has_ended = True

    @rule(seconds=st.sampled_from([0.001, LINGER, 0.1, 1.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: not self.is_open)
    @rule()
    def open(self) -> None:
        wake_at = self.bulk.wake_at
        if wake_at is not None and wake_at <= self.now:
            self.bulk.opened()
            self.on_stream, self.is_open = [], True
            self.send()
            assert self.on_stream, "there was something to send"

    @precondition(lambda self: self.is_open)
    @rule()
    def send(self) -> None:
        wake_at = self.bulk.wake_at
        sent = [int(one) for one in ids(self.bulk.next_frame(self.now))]
        assert bool(sent) == (wake_at is not None and wake_at <= self.now)
        if sent:
            assert len(sent) <= self.frame_size
            assert self.now >= self.not_before
            assert sent == sorted(self.waiting)[: len(sent)], "the first that were taken go first"
            for one in sent:
                self.waiting.remove(one)
                self.unanswered[len(self.on_stream)] = one
                self.on_stream.append(one)

    @precondition(lambda self: self.unanswered)
    @rule(
        data=st.data(),
        how=st.sampled_from(["accepted", "invalid", "guarded", "full"]),
        delay=st.sampled_from([0.0, 0.5, 30.0]),
    )
    def answer(self, data: st.DataObject, how: str, delay: float) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.unanswered)))
        index = self.unanswered.pop(sequence)
        wire = {
            "accepted": accepted(sequence),
            "invalid": rejected(sequence, INVALID),
            "guarded": rejected(sequence, GUARDED),
            "full": rejected(sequence, full(delay)),
        }[how]
        result = self.bulk.answered(wire, self.now)
        is_pausing = self.now < self.not_before
        if how == "full" and (is_pausing or self.tries < MAX_TRIES):
            assert result is None
            self.waiting.append(index)
            if not is_pausing:
                self.pause(delay)
        else:
            assert result
            assert (result.index, result.request.request_id) == (index, str(index))
            assert (bool(result.message), bool(result.error)) == (how == "accepted", how != "accepted")
            self.answered_indexes.append(index)
            if how != "full":
                self.tries = 0
        assert self.bulk.answered(wire, self.now) is None, "once is enough"

    @precondition(lambda self: self.is_open)
    @rule(delay=st.sampled_from([None, 0.5, 30.0]))
    def stream_breaks(self, delay: float | None) -> None:
        error = TryAgain(grpc.StatusCode.UNAVAILABLE, "gone", retry_delay=delay)
        if self.tries >= MAX_TRIES and not self.bulk.is_done:
            with pytest.raises(TryAgain) as caught:
                self.bulk.ended(error, self.now)
            assert caught.value is error
            return  # and as if it had not broken
        self.bulk.ended(error, self.now)
        self.is_open = False
        if not self.bulk.is_done:
            self.waiting += self.unanswered.values()
            self.unanswered = {}
            self.pause(delay)

    def pause(self, delay: float | None) -> None:
        self.not_before = self.now + max(delay or 0.0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.tries))
        self.tries += 1

    @invariant()
    def nothing_is_lost_or_there_twice(self) -> None:
        assert sorted([*self.waiting, *self.unanswered.values(), *self.answered_indexes]) == list(range(self.taken))

    @invariant()
    def no_more_is_taken_than_the_window(self) -> None:
        open_ones = self.taken - len(self.answered_indexes)
        assert 0 <= open_ones <= self.window
        assert self.bulk.room == (0 if self.has_ended else self.window - open_ones)

    @invariant()
    def it_is_done_when_everything_is_reported(self) -> None:
        assert self.bulk.is_done == (self.has_ended and len(self.answered_indexes) == self.taken)

    @invariant()
    def it_waits_for_nothing_but_time_while_anything_waits(self) -> None:
        wake_at = self.bulk.wake_at
        assert (wake_at is not None) == bool(self.waiting)
        if wake_at is not None:
            assert wake_at <= max(self.now + LINGER, self.not_before)

    def teardown(self) -> None:
        """With a server that takes everything, it comes to its end."""
        self.bulk.no_more()
        self.has_ended = True
        for _ in range(2 * self.window):
            self.now = max(self.now, self.bulk.wake_at or 0.0)
            if not self.is_open:
                self.open()
            while self.unanswered:
                sequence, index = self.unanswered.popitem()
                assert self.bulk.answered(accepted(sequence), self.now)
                self.answered_indexes.append(index)
            if self.is_open:
                self.send()
        assert self.bulk.is_done
        self.bulk.ended(GONE, self.now)  # which is nothing to it any more
        self.bulk.finish()
        assert sorted(self.answered_indexes) == list(range(self.taken))


Sending.TestCase.settings = examples(100, stateful_step_count=60)
TestSending = Sending.TestCase


# Frames.


def test_a_frame_goes_when_it_is_full_or_its_first_has_waited_long_enough() -> None:
    bulk = bulk_of()
    bulk.opened()
    assert bulk.wake_at is None
    assert bulk.put(request(0), NOW), "the first changes when something is to be done"
    assert not bulk.put(request(1), NOW + LINGER / 2)
    assert bulk.wake_at == NOW + LINGER
    assert bulk.next_frame(NOW + LINGER / 2) is None
    assert ids(bulk.next_frame(NOW + LINGER)) == ["0", "1"]
    for number in (2, 3):
        bulk.put(request(number), NOW)
    assert bulk.put(request(4), NOW)
    assert ids(bulk.next_frame(NOW)) == ["2", "3", "4"], "at once"


def test_what_a_full_frame_leaves_behind_waits_for_others_anew() -> None:
    bulk = bulk_of()
    bulk.opened()
    for number in range(5):
        bulk.put(request(number), NOW)
    assert ids(bulk.next_frame(NOW + 1)) == ["0", "1", "2"]
    assert bulk.wake_at == NOW + 1 + LINGER


def test_a_frame_that_was_large_does_not_hurry_those_after_it() -> None:
    bulk = bulk_of()
    bulk.opened()
    bulk.put(request(0, MAX_FRAME_BYTES), NOW)
    assert ids(bulk.next_frame(NOW)) == ["0"], "at once"
    bulk.put(request(1), NOW)
    assert bulk.next_frame(NOW) is None


def test_after_the_last_request_nothing_waits_for_others() -> None:
    bulk = bulk_of()
    bulk.put(request(0), NOW)
    bulk.no_more()
    bulk.opened()
    assert bulk.room == 0
    assert ids(bulk.next_frame(NOW)) == ["0"]


def test_a_window_that_is_smaller_than_a_frame_is_the_frame() -> None:
    bulk = bulk_of(frame_size=100, window=2)
    bulk.put(request(0), NOW)
    bulk.put(request(1), NOW)
    bulk.opened()
    assert ids(bulk.next_frame(NOW)) == ["0", "1"], "there is no room for more to wait for"


def test_a_frame_is_limited_in_bytes_and_one_message_always_has_its_place() -> None:
    bulk = bulk_of(frame_size=100)
    for number, share in enumerate([0.4, 0.4, 0.4, 3.0, 0.1]):
        bulk.put(request(number, int(MAX_FRAME_BYTES * share)), NOW)
    bulk.opened()
    frames = []
    while (at := bulk.wake_at) is not None:
        frames.append(ids(bulk.next_frame(at)))
    assert frames == [["0", "1"], ["2"], ["3"], ["4"]]


def test_what_is_kept_in_memory_is_limited_and_freed_by_answers() -> None:
    bulk = bulk_of()
    for number in range(2):
        bulk.put(request(number, MAX_UNANSWERED_BYTES // 2), NOW)
    assert bulk.room == 0
    bulk.opened()
    bulk.next_frame(NOW)
    bulk.answered(accepted(0), NOW)
    assert bulk.room == 9


# Silence.


def test_something_has_to_be_heard_while_an_answer_is_owed_and_somebody_listens() -> None:
    bulk = bulk_of(timeout=60.0)
    bulk.put(request(0), NOW)
    bulk.put(request(1), NOW)
    bulk.opened()
    bulk.next_frame(NOW + 1)
    assert bulk.deadline is None, "nobody listens"
    bulk.listening(NOW + 2)
    assert bulk.deadline == NOW + 62
    bulk.answered(accepted(0), NOW + 3)
    assert bulk.deadline is None, "the caller has an answer, and takes its time"
    bulk.listening(NOW + 4)
    assert bulk.deadline == NOW + 64
    bulk.answered(accepted(1), NOW + 5)
    bulk.listening(NOW + 6)
    assert bulk.deadline is None, "nothing is owed"
    bulk.put(request(2), NOW + 500)
    bulk.next_frame(NOW + 501)
    assert bulk.deadline == NOW + 561
    bulk.put(request(3), NOW + 502)
    bulk.next_frame(NOW + 503)
    assert bulk.deadline == NOW + 561, "sending more puts nothing off"
    bulk.ended(GONE, NOW + 504)
    assert bulk.deadline is None


def test_the_end_of_the_stream_is_owed_as_well() -> None:
    bulk = bulk_of()
    bulk.no_more()
    bulk.listening(NOW)
    assert bulk.deadline == NOW + 60


# Going on.


def test_pauses_grow_are_never_shorter_than_asked_for_and_begin_anew_with_an_answer() -> None:
    bulk = bulk_of(window=100)
    for number in range(2):
        bulk.put(request(number), NOW)
    pauses = []
    for delay in (None, None, 7.5, None):
        bulk.opened()
        bulk.ended(TryAgain(grpc.StatusCode.UNAVAILABLE, "gone", retry_delay=delay), NOW)
        assert bulk.wake_at is not None
        pauses.append(bulk.wake_at - NOW)
    assert pauses == pytest.approx([FIRST_PAUSE, 2 * FIRST_PAUSE, 7.5, 8 * FIRST_PAUSE])
    bulk.opened()
    assert bulk.next_frame(NOW + 100)
    bulk.answered(accepted(0), NOW + 100)
    bulk.ended(GONE, NOW + 100)
    assert bulk.wake_at == pytest.approx(NOW + 100 + FIRST_PAUSE)


@pytest.mark.parametrize("failures", [0, MAX_TRIES - 1])
def test_refusals_of_one_pause_count_as_one(failures: int) -> None:
    bulk = bulk_of(window=100)
    for number in range(60):
        bulk.put(request(number), NOW)
    for _ in range(failures):
        bulk.opened()
        bulk.ended(GONE, NOW)
    bulk.opened()
    while bulk.next_frame(NOW + 100):
        pass
    for sequence in range(60):
        assert bulk.answered(rejected(sequence, full(0.0)), NOW + 100) is None
    assert bulk.wake_at == pytest.approx(NOW + 100 + min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures))


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (GONE, True),
        (None, True),
        (TryAgain(grpc.StatusCode.CANCELLED, "stopping"), True),
        (PostwireError(grpc.StatusCode.INTERNAL, "RST_STREAM"), True),
        (PostwireError(grpc.StatusCode.UNKNOWN, "Stream removed"), True),
        (PostwireError(grpc.StatusCode.INTERNAL, "no provider", "INVALID_ROUTING"), False),
        (PostwireError(grpc.StatusCode.UNIMPLEMENTED, "what is that?"), False),
        (PostwireError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max"), False),
        (no_answer(), False),
    ],
    ids=str,
)
@pytest.mark.parametrize("retry", [True, False])
def test_which_ends_of_a_stream_are_no_end_of_it_all(error: PostwireError | None, goes_on: bool, retry: bool) -> None:
    bulk = bulk_of(retry=retry)
    bulk.put(request(0), NOW)
    bulk.opened()
    if goes_on and retry:
        for _ in range(MAX_TRIES):
            bulk.ended(error, NOW)
    with pytest.raises(PostwireError) as caught:
        bulk.ended(error, NOW)
    assert caught.value is error or error is None


def test_silence_after_an_answer_is_an_interruption_and_silence_from_the_start_is_not() -> None:
    bulk = bulk_of()
    for number in range(2):
        bulk.put(request(number), NOW)
    bulk.opened()
    bulk.next_frame(NOW + 1)
    bulk.answered(accepted(0), NOW + 1)
    bulk.ended(no_answer(), NOW + 61)
    bulk.opened()
    bulk.next_frame(NOW + 70)
    with pytest.raises(TryAgain):
        bulk.ended(no_answer(), NOW + 130)


def test_a_reason_that_is_newer_than_this_client_is_no_fault() -> None:
    bulk = bulk_of()
    bulk.put(request(0), NOW)
    bulk.opened()
    bulk.next_frame(NOW + 1)
    new: Any = 999
    why = DispatchRejection(code=14, reason=new, message="new", retry_delay=Duration(seconds=1))
    assert bulk.answered(rejected(0, why), NOW) is None, "it says that it may go well later"
    assert bulk.wake_at == NOW + 1
