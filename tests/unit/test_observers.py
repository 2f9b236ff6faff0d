"""Several observers as one: each is told of everything, and none can harm another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support import build

from postwire.core.breaker import BreakerState, Transition
from postwire.core.message import Channel
from postwire.core.obstacles import Obstacle
from postwire.core.receipts import MessageReceipt, ReceiptState
from postwire.core.routing import PassedOver
from postwire.telemetry.base import Observer, Observers, SilentObserver

HOOKS = sorted(name for name in vars(Observer) if not name.startswith("_"))


class Noting:
    """Notes which hooks are called."""

    def __init__(self) -> None:
        self.reported: list[str] = []

    def __getattr__(self, hook: str) -> Callable[..., None]:
        return lambda *_: self.reported.append(hook)


class Failing:
    """Fails at whatever it is told."""

    def __getattr__(self, hook: str) -> Callable[..., None]:
        return fail


def fail(*_: object) -> None:
    raise ValueError


def report_everything(observer: Observers) -> None:
    record = build.ended(build.accepted())
    observer.traceparent()
    started = observer.delivery_started("")
    observer.attempt_ended(record)
    observer.result_refused(record)
    observer.state_reached(record)
    observer.passed_over(record, [PassedOver("email", Obstacle.OPEN)])
    observer.breaker_changed("sms-mms", Transition(BreakerState.CLOSED, BreakerState.OPEN))
    observer.routing_invalid(Channel.SMS)
    observer.receipt_applied(record, MessageReceipt("sms-mms", 1, ReceiptState.DELIVERED, "", 0))
    observer.receipt_refused("sms-mms", "signature")
    observer.delivery_ended(started, record)


def test_an_observer_that_fails_harms_no_other() -> None:
    faults: list[Exception] = []
    failing: Any = Failing()
    noting: Any = Noting()
    report_everything(Observers(failing, noting, failing, on_fault=faults.append))
    assert sorted(noting.reported) == HOOKS
    assert [type(fault) for fault in faults] == [ValueError] * len(HOOKS) * 2


def test_one_that_comes_later_is_told_from_then_on() -> None:
    early: Any = Noting()
    late: Any = Noting()
    observers = Observers(early, on_fault=fail)
    observers.routing_invalid(Channel.SMS)
    observers.add(late)
    observers.routing_invalid(Channel.SMS)
    assert (len(early.reported), len(late.reported)) == (2, 1)


def test_nobody_is_told_that_nobody_was_passed_over() -> None:
    noting: Any = Noting()
    Observers(noting, on_fault=fail).passed_over(build.accepted(), ())
    assert noting.reported == []


def test_each_observer_is_handed_back_what_it_has_begun() -> None:
    class Handing(SilentObserver):
        def __init__(self) -> None:
            self.ended: list[object] = []

        def delivery_started(self, accept_trace: str) -> object:
            return self

        def delivery_ended(self, started: object, record: object) -> None:
            self.ended.append(started)

    one, other = Handing(), Handing()
    report_everything(Observers(one, SilentObserver(), other, on_fault=fail))
    assert (one.ended, other.ended) == ([one], [other])


def test_an_observer_that_cannot_tell_the_trace_harms_no_other() -> None:
    class Tracing(SilentObserver):
        def traceparent(self) -> str:
            return "ab" * 16

    faults: list[Exception] = []
    failing: Any = Failing()
    observers = Observers(failing, SilentObserver(), Tracing(), on_fault=faults.append)
    assert observers.traceparent() == "ab" * 16
    assert [type(fault) for fault in faults] == [ValueError]
