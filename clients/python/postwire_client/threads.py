"""The streams of the client that blocks: threads, and reads that end in time."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, Self, TypeVar

import grpc

from postwire.v1.dispatch_service_pb2 import DispatchRequest, DispatchStreamRequest
from postwire_client.bulk import Bulk, DispatchResult
from postwire_client.errors import ClientClosed, PostwireError
from postwire_client.lifetime import Lifetime
from postwire_client.reopening import no_answer
from postwire_client.watching import Watch

Reported = TypeVar("Reported")

_now = time.monotonic


@contextmanager
def errors(lifetime: Lifetime) -> Iterator[None]:
    """Around a call, or its beginning: what it raises is a PostwireError."""
    lifetime.check()
    try:
        yield
    except grpc.RpcError as error:
        raise lifetime.error(error) from error
    except ValueError:
        # gRPC raises it for a call that begins at a channel which another thread has just closed.
        if lifetime.is_over:
            raise ClientClosed from None
        raise


def watch(lifetime: Lifetime, method: Callable[[Any], Any], watch: Watch[Reported]) -> Generator[Reported, None, None]:
    """What a watch yields, over as many streams as it takes."""
    while True:
        error: PostwireError | None = None
        with _Stream(lifetime) as stream:
            with errors(lifetime):
                stream.call = method(watch.opened())
            while True:
                stream.expect(_now() + watch.silence)
                try:
                    response = stream.read()
                except PostwireError as caught:
                    error = caught
                    break
                stream.expect(None)
                if response is None:
                    break
                reported = watch.heard(response)
                if reported is not None:
                    yield reported
        pause = watch.ended(error)
        if pause is None:
            return
        is_over = threading.Event()
        with lifetime.notifying(is_over.set):
            is_over.wait(pause)


class Sending:
    """`dispatch_many`, on three threads: one takes the requests, one of gRPC's frames, and the caller's the answers.

    `changed` guards what they share, and notifies that it has changed.
    """

    def __init__(
        self, lifetime: Lifetime, method: Callable[[Any], Any], requests: Iterable[DispatchRequest], bulk: Bulk
    ) -> None:
        self._lifetime = lifetime
        self._method = method
        self._requests = requests
        self._bulk = bulk
        self._changed = threading.Condition()
        self._is_over = False

    def results(self) -> Generator[DispatchResult, None, None]:
        """What became of each request, over as many streams as it takes."""
        taking = contextvars.copy_context().run
        threading.Thread(target=taking, args=(self._take,), name="postwire-requests", daemon=True).start()
        try:
            with self._lifetime.notifying(self._notify):
                while self._until_frame():
                    error = yield from self._over_one_stream()
                    with self._changed:
                        self._bulk.ended(error, _now())
            self._bulk.finish()
        finally:
            self._is_over = True
            self._notify()

    def _over_one_stream(self) -> Generator[DispatchResult, None, PostwireError | None]:
        """Returns with what it ended, if not in good order."""
        with self._changed:
            self._bulk.opened()
        with _Stream(self._lifetime) as stream:
            with errors(self._lifetime):
                stream.call = self._method(self._frames(stream))
            while True:
                with self._changed:
                    self._bulk.listening(_now())
                    stream.expect(self._bulk.deadline)
                try:
                    response = stream.read()
                except PostwireError as error:
                    return error
                if response is None:
                    return None
                for result in response.results:
                    with self._changed:
                        reported = self._bulk.answered(result, _now())
                        stream.expect(self._bulk.deadline)
                        self._changed.notify_all()
                    if reported is not None:
                        yield reported

    def _frames(self, stream: _Stream) -> Iterator[DispatchStreamRequest]:
        while True:
            with self._changed:
                if stream.is_over or self._bulk.is_done:
                    return
                frame = self._bulk.next_frame(_now())
                if frame is None:
                    self._wait(self._bulk.wake_at)
                    continue
                stream.expect(self._bulk.deadline)
            yield frame

    def _until_frame(self) -> bool:
        """Wait until there is something to send; False: there will be nothing any more. Raises ClientClosed."""
        with self._changed:
            while not self._bulk.is_done:
                self._lifetime.check()
                wake_at = self._bulk.wake_at
                if wake_at is not None and wake_at <= _now():
                    return True
                self._wait(wake_at)
            return False

    def _take(self) -> None:
        failure: BaseException | None = None
        try:
            requests = iter(self._requests)
            while self._until_room() and (request := next(requests, None)) is not None:
                with self._changed:
                    if self._bulk.put(request, _now()):
                        self._changed.notify_all()
        except BaseException as error:  # the caller's own, which is to have it again
            failure = error
        with self._changed:
            self._bulk.no_more(failure)
            self._changed.notify_all()

    def _until_room(self) -> bool:
        """Wait until another request may be taken; False: nobody wants one any more."""
        with self._changed:
            while not self._is_over and self._bulk.room <= 0:
                self._wait(None)
            return not self._is_over

    def _wait(self, until: float | None) -> None:
        self._changed.wait(None if until is None else max(0.0, until - _now()))

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _Stream:
    """One call that answers with a stream. At the end of its context it is cancelled, if it still is under way."""

    call: Any = None

    def __init__(self, lifetime: Lifetime) -> None:
        lifetime.check()
        self.is_over = False
        self._lifetime = lifetime
        self._watchdog = _Watchdog(lambda: self.call.cancel())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over = True
        self._watchdog.close()
        if self.call is not None:
            self.call.cancel()

    def expect(self, deadline: float | None) -> None:
        """The next answer has to be there by then; None: some time. From any thread, and during a `read`."""
        self._watchdog.expect(deadline)

    def read(self) -> Any:
        """The next answer; None at the end. Raises PostwireError."""
        try:
            return next(self.call, None)
        except grpc.RpcError as error:
            raise (no_answer() if self._watchdog.has_bitten else self._lifetime.error(error)) from error


class _Watchdog:
    """Bites once its deadline has passed. On a thread of its own, because a read that blocks cannot be timed."""

    def __init__(self, bite: Callable[[], object]) -> None:
        self.has_bitten = False
        self._bite = bite
        self._changed = threading.Condition()
        self._deadline = self._wakes_at = inf
        self._thread: threading.Thread | None = None
        self._is_over = False

    def expect(self, deadline: float | None) -> None:
        """Bite at this time (None: never) instead of what was said before."""
        with self._changed:
            self._deadline = inf if deadline is None else deadline
            if self._thread is None and deadline is not None:
                self._thread = threading.Thread(target=self._watch, name="postwire-watchdog", daemon=True)
                self._thread.start()
            elif self._deadline < self._wakes_at:  # a later one is seen at the next waking
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._is_over and (left := self._deadline - _now()) > 0:
                self._wakes_at = self._deadline
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
            if self._is_over:
                return
            self.has_bitten = True
        self._bite()
