"""Steering providers: taking them out of service and putting them back, and watching them."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Concatenate, Final, ParamSpec, Protocol

from postwire.clock import Clock
from postwire.core import audit
from postwire.core.audit import AuditedMethod, AuditEvent
from postwire.core.breaker import BreakerSnapshot, BreakerState
from postwire.core.errors import ProviderDrained, ProviderNotMock
from postwire.core.message import Note, NoteAction
from postwire.core.obstacles import Obstacle
from postwire.core.principal import Principal
from postwire.core.shares import Limits
from postwire.delivery.peers import Peers
from postwire.delivery.watch import HEARTBEAT_INTERVAL
from postwire.outbox.base import AdminState, AuditLog, ProviderState
from postwire.providers import capabilities
from postwire.providers.base import Provider
from postwire.providers.registry import ProviderEntry, Registry
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

P = ParamSpec("P")

WATCH_INTERVAL: Final = 0.25
"""Seconds between two looks of those who watch: changes in between arrive as one."""


_log = EventLog()


def _to_the_end(
    act: Callable[Concatenate[Control, P], Coroutine[Any, Any, ProviderStatus]],
) -> Callable[Concatenate[Control, P], Coroutine[Any, Any, ProviderStatus]]:
    """`act`, which is done to its end though its caller hangs up: what is kept of it is kept halfway."""

    async def shielded(self: Control, /, *args: P.args, **kwargs: P.kwargs) -> ProviderStatus:
        task = asyncio.create_task(act(self, *args, **kwargs))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
        return await asyncio.shield(task)

    functools.update_wrapper(shielded, act)
    return shielded


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """How a provider stands. `next_probe_time` is in µs since the epoch; `touched` counts what was done to it.

    `limits` are those that are declared. `note` is what an operator did last, and `unserved_route_keys` are those
    of its routes on which all are drained.
    `unavailable` says why it cannot be used at all: `UNAVAILABLE`, `MISCONFIGURED`, or None.
    """

    provider: Provider
    breaker: BreakerSnapshot
    in_flight: int
    limits: Limits
    touched: int
    note: Note | None
    unserved_route_keys: tuple[str, ...]
    unavailable: Obstacle | None
    next_probe_time: int | None = field(compare=False)  # the breaker's own, on another clock


class SteeringStore(AdminState, AuditLog, Protocol):
    """What of the outbox steering takes."""


class Control:
    """What operators do with providers."""

    def __init__(self, *, registry: Registry, outbox: SteeringStore, clock: Clock, peers: Peers | None = None) -> None:
        """`peers` where other nodes may share the store: what is done here holds at these, and the other way round."""
        self._peers = peers
        self._resets: Counter[str] = Counter()
        self._changing = 0
        self._has_changed = False
        self._registry = registry
        self._outbox = outbox
        self._clock = clock
        self._touched: Counter[str] = Counter()
        self._notes: dict[str, Note] = {}
        self._ending = False
        self._updating = asyncio.Lock()
        self.under_way: Final[set[asyncio.Task[ProviderStatus]]] = set()
        """What is being done, so that nobody collects it."""
        self._watching: set[asyncio.Event] = set()
        self.on_updated: Callable[[], None] = lambda: None
        """Called where settings of a mock have changed."""

    async def restore(self) -> None:
        """Drain the providers that were drained when the server last stopped, with what was noted of them."""
        states = await self._outbox.provider_states()
        self._notes = {name: state.note for name, state in states.items() if state.note}
        self._resets = Counter({name: state.resets for name, state in states.items()})
        self._has_changed = True
        for entry in self._registry:
            if (state := states.get(entry.provider.name)) and state.is_drained:
                entry.gate.breaker.force_open(self._clock.monotonic())
        _log_unserved(key for entry in self._registry for key in self._unserved(entry))

    def take_over(self, states: Mapping[str, ProviderState]) -> bool:
        """Do to providers what operators have done at other nodes, as the store has it; returns whether that is done.

        It is not where something is being changed here, nor where something has just been: what was read may be older.
        """
        if self._changing or self._has_changed:
            self._has_changed = False
            return False
        for entry in self._registry:
            state = states.get(entry.provider.name)
            if state and self._take_over(entry, state):
                self._notes.pop(entry.provider.name, None)
                self._keep_note(entry.provider.name, state.note)
        return True

    def _take_over(self, entry: ProviderEntry, state: ProviderState) -> bool:
        """Whether anything was done to a provider by it."""
        name, now, was_drained = entry.provider.name, self._clock.monotonic(), _is_drained(entry)
        was_reset = state.resets > self._resets[name]
        self._resets[name] = max(state.resets, self._resets[name])
        if state.is_drained and not was_drained:
            entry.gate.breaker.force_open(now)
            _log_unserved(self._unserved(entry))
        elif was_drained and not state.is_drained:
            self._put_back(entry)
        elif was_reset and not was_drained:
            entry.gate.breaker.reset(now)
            self._admit_again(entry)
        return state.note != self._notes.get(name)

    @contextmanager
    def _own_change(self) -> Iterator[None]:
        """While something is changed here, what heartbeats bring is not taken over."""
        self._changing += 1
        try:
            yield
        finally:
            self._changing -= 1
            self._has_changed = True

    def list(self) -> Sequence[ProviderStatus]:
        """Every provider, in the order of declaration."""
        return [self._status(entry) for entry in self._registry]

    def get(self, name: str) -> ProviderStatus:
        """One provider.

        Raises:
            ProviderNotFound: there is none of that name.
        """
        return self._status(self._registry.entry(name))

    @_to_the_end
    async def drain(self, name: str, reason: str = "", *, by: Principal) -> ProviderStatus:
        """Take a provider out of service; done once that is durable, and holds at every node.

        Again is fine, and without a reason leaves the note as it is, and no trace.

        Raises:
            ProviderNotFound: there is none of that name.
            StoreUnavailable: it could not be kept; nothing has changed.
        """
        entry = self._registry.entry(name)
        was_drained = _is_drained(entry)
        note = self._note(NoteAction.DRAIN, reason) if reason or not was_drained else None
        with self._own_change():
            await self._outbox.set_drained(name, True, note, self._event(AuditedMethod.DRAIN_PROVIDER, by, name, note))
            entry.gate.breaker.force_open(self._clock.monotonic())
            self._keep_note(name, note)
        if not was_drained:
            _log_unserved(self._unserved(entry))
        if self._peers:
            await self._peers.until_taken_over()
        return self._status(entry)

    @_to_the_end
    async def resume(self, name: str, reason: str = "", *, by: Principal) -> ProviderStatus:
        """Put a drained provider into service again; done once that is durable. It holds at other nodes from their next
        heartbeat on. Again, and raises, as `drain` does."""
        entry = self._registry.entry(name)
        note = self._note(NoteAction.RESUME, reason) if reason or _is_drained(entry) else None
        event = self._event(AuditedMethod.RESUME_PROVIDER, by, name, note)
        with self._own_change():
            await self._outbox.set_drained(name, False, note, event)
            if _is_drained(entry):
                self._put_back(entry)
            self._keep_note(name, note)
        return self._status(entry)

    def _put_back(self, entry: ProviderEntry) -> None:
        entry.gate.breaker.resume(self._clock.monotonic())
        self._admit_again(entry)

    def _admit_again(self, entry: ProviderEntry) -> None:
        entry.gate.end_cool_down()
        entry.gate.note_configured()

    @_to_the_end
    async def reset(self, name: str, reason: str = "", *, by: Principal) -> ProviderStatus:
        """Close a provider's breaker, end its cool-down, and have it be asked again if it has refused our account.

        That lasts until the server stops, and what is kept of it does not: so it is kept first.

        Raises:
            ProviderNotFound: there is none of that name.
            ProviderDrained: it is to be resumed instead.
            StoreUnavailable: it could not be kept; nothing has changed.
        """
        entry = self._registry.entry(name)
        if _is_drained(entry):
            raise ProviderDrained
        note = self._note(NoteAction.RESET, reason)
        with self._own_change():
            await self._outbox.add_reset(name, note, self._event(AuditedMethod.RESET_BREAKER, by, name, note))
            self._resets[name] += 1
            if not _is_drained(entry):  # by somebody who came meanwhile
                entry.gate.breaker.reset(self._clock.monotonic())
                self._admit_again(entry)
                self._keep_note(name, note)
        return self._status(entry)

    @_to_the_end
    async def update_mock(self, name: str, changes: Mapping[str, Any], *, by: Principal) -> ProviderStatus:
        """Change settings of a mock, by their names, until the server stops; what is kept of it is kept first.

        Raises:
            ProviderNotFound: there is none of that name.
            ProviderNotMock: it is none.
            ValueError: a setting's name, a colon and what is wrong with it; nothing has changed.
            StoreUnavailable: it could not be kept; nothing has changed.
        """
        entry = self._registry.entry(name)
        if (prepare := capabilities.of(entry.provider).prepare_update) is None:
            raise ProviderNotMock(entry.provider.kind)
        async with self._updating:  # else two that do not go together could both be found good
            update = prepare(changes)
            event = audit.event(AuditedMethod.UPDATE_MOCK_PROVIDER, by, name, now=self._clock.wall())
            await self._outbox.add_event(event)
            update()
            self.on_updated()
        self.touch(name)
        return self._status(entry)

    def touch(self, name: str) -> None:
        """Something about the provider itself was changed: those who watch are to see it."""
        self._touched[name] += 1

    async def watch(self) -> AsyncGenerator[Sequence[ProviderStatus], None]:
        """Every provider, then those that have changed, until the server ends; none as a sign of life, now and then."""
        shown: dict[str, ProviderStatus] = {}
        look = asyncio.Event()
        heartbeat_at = self._clock.monotonic()
        self._watching.add(look)
        try:
            while not self._ending:
                look.clear()
                changed = [one for one in self.list() if shown.get(one.provider.name) != one]
                if changed or self._clock.monotonic() >= heartbeat_at:
                    yield changed
                    heartbeat_at = self._clock.monotonic() + HEARTBEAT_INTERVAL
                    shown |= {one.provider.name: one for one in changed}
                alarm = self._clock.call_later(WATCH_INTERVAL, look.set)
                try:
                    await look.wait()
                finally:
                    alarm.cancel()
        finally:
            self._watching.discard(look)

    def end_watches(self) -> None:
        """End all watches."""
        self._ending = True
        for look in self._watching:
            look.set()

    def _status(self, entry: ProviderEntry) -> ProviderStatus:
        now = self._clock.monotonic()
        snapshot = entry.gate.breaker.snapshot(now)
        probe = snapshot.next_probe_time
        return ProviderStatus(
            provider=entry.provider,
            breaker=snapshot,
            next_probe_time=None if probe is None else self._clock.wall() + int((probe - now) * 1e6),
            in_flight=entry.gate.in_flight,
            limits=entry.gate.whole_limits,
            touched=self._touched[entry.provider.name],
            note=self._notes.get(entry.provider.name),
            unserved_route_keys=self._unserved(entry),
            unavailable=entry.gate.availability.state,
        )

    def _note(self, action: NoteAction, reason: str) -> Note:
        return Note(action, reason, self._clock.wall())

    def _event(self, method: AuditedMethod, by: Principal, name: str, note: Note | None) -> AuditEvent | None:
        """What is kept of who did what `note` says; None where nothing is done."""
        return audit.event(method, by, name, note.reason, now=note.time) if note else None

    def _keep_note(self, name: str, note: Note | None) -> None:
        if note:
            self._notes[name] = note

    def _unserved(self, entry: ProviderEntry) -> tuple[str, ...]:
        """The keys of the provider's routes on which every provider is drained."""
        if not _is_drained(entry):
            return ()
        routes = [route for route in self._registry.all_routes() if entry.provider.name in route.names]
        return tuple(
            route.key for route in routes if all(_is_drained(self._registry.entry(name)) for name in route.names)
        )


def _is_drained(entry: ProviderEntry) -> bool:
    return entry.gate.breaker.state is BreakerState.FORCED_OPEN


def _log_unserved(route_keys: Iterable[str]) -> None:
    detail = "every provider of this route is drained: its messages wait"
    for key in dict.fromkeys(route_keys):
        _log.warning(names.EVENT_ROUTE_UNSERVED, **{names.LOG_ROUTE_KEY: key}, detail=detail)
