"""Steering providers: out of service and back, over restarts, and what those who watch see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.support import build
from tests.support.clock import START, ManualClock
from tests.support.gates import fail
from tests.support.harness import Harness
from tests.support.providers import FakeProvider, gate_of, registry_of, route

from postwire.core.breaker import BreakerSettings, BreakerState
from postwire.core.errors import ProviderDrained, ProviderNotFound, StoreUnavailable
from postwire.core.gate import Gate
from postwire.core.message import Channel, MessageState, NoteAction
from postwire.core.principal import LOCAL
from postwire.delivery import Control
from postwire.delivery.provider_control import WATCH_INTERVAL
from postwire.delivery.watch import HEARTBEAT_INTERVAL
from postwire.outbox.sqlite import SqliteOutbox

CLOSED, OPEN = BreakerState.CLOSED, BreakerState.OPEN
HALF_OPEN, FORCED_OPEN = BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN


class Steered:
    """A harness with the providers `a` and `b`, whose breakers open with one failure, and its control."""

    def __init__(self, outbox: SqliteOutbox) -> None:
        self.clock = ManualClock()
        self.providers = {name: FakeProvider(name) for name in ("a", "b")}
        settings = BreakerSettings(minimum_calls=1, open_for=5.0)
        self.gates: dict[str, Gate] = {name: gate_of(name, breaker=settings) for name in self.providers}
        registry = registry_of(*self.providers.values(), gates=self.gates)
        self.harness = Harness(outbox, registry=registry, clock=self.clock)
        self.control = Control(registry=registry, outbox=outbox, clock=self.clock)

    def state(self, name: str) -> BreakerState:
        return self.control.get(name).breaker.state


@pytest.fixture
async def steered(outbox: SqliteOutbox) -> Steered:
    return Steered(outbox)


async def test_a_drained_provider_gets_nothing_more_until_it_is_resumed(steered: Steered) -> None:
    status = await steered.control.drain("a", by=LOCAL)
    assert (status.provider.name, status.breaker.state, status.next_probe_time) == ("a", FORCED_OPEN, None)
    assert (await steered.harness.send()).attempts[0].provider_name == "b"
    steered.clock.advance(3600.0)
    assert (await steered.harness.send()).attempts[0].provider_name == "b"
    assert (await steered.control.resume("a", by=LOCAL)).breaker.state is CLOSED
    assert (await steered.harness.send()).attempts[0].provider_name == "a"


async def test_draining_lets_what_is_under_way_finish_and_its_end_changes_nothing(outbox: SqliteOutbox) -> None:
    provider = FakeProvider("a", held=True)
    harness = Harness(outbox, registry=registry_of(provider))
    control = Control(registry=harness.registry, outbox=outbox, clock=harness.clock)
    call = harness.start()
    await provider.calls()
    assert (await control.drain("a", by=LOCAL)).in_flight == 1
    provider.release()
    assert (await call).state is MessageState.SENT
    status = control.get("a")
    assert (status.breaker.state, status.in_flight) == (FORCED_OPEN, 0)


async def test_draining_and_resuming_again_changes_nothing(steered: Steered, outbox: SqliteOutbox) -> None:
    for _ in range(2):
        await steered.control.drain("a", by=LOCAL)
        assert (await outbox.provider_states())["a"].is_drained
    for _ in range(2):
        await steered.control.resume("a", by=LOCAL)
        assert not (await outbox.provider_states())["a"].is_drained
        assert steered.state("a") is CLOSED


async def test_resuming_one_that_is_not_drained_leaves_its_breaker_alone(steered: Steered) -> None:
    fail(steered.gates["a"], 1, steered.clock.monotonic())
    status = await steered.control.resume("a", by=LOCAL)
    assert (status.breaker.state, status.breaker.failures) == (OPEN, 1)


async def test_a_breaker_is_reset_with_an_empty_window(steered: Steered) -> None:
    fail(steered.gates["a"], 1, steered.clock.monotonic())
    status = steered.control.get("a")
    assert (status.breaker.state, status.next_probe_time) == (OPEN, START + 5_000_000)
    status = await steered.control.reset("a", by=LOCAL)
    assert (status.breaker.state, status.breaker.calls, status.next_probe_time) == (CLOSED, 0, None)


async def test_each_reset_is_counted_for_others_to_see(steered: Steered, outbox: SqliteOutbox) -> None:
    for count in (1, 2):
        await steered.control.reset("a", by=LOCAL)
        state = (await outbox.provider_states())["a"]
        assert (state.resets, state.note) == (count, steered.control.get("a").note)
    await steered.control.drain("a", by=LOCAL)
    with pytest.raises(ProviderDrained):
        await steered.control.reset("a", by=LOCAL)
    await steered.control.resume("a", by=LOCAL)
    states = await outbox.provider_states()
    assert {name: state.resets for name, state in states.items()} == {"a": 2}


async def test_a_drained_provider_is_not_reset(steered: Steered) -> None:
    await steered.control.drain("a", by=LOCAL)
    with pytest.raises(ProviderDrained):
        await steered.control.reset("a", by=LOCAL)
    assert steered.state("a") is FORCED_OPEN


async def test_a_provider_that_does_not_exist_is_not_found(steered: Steered) -> None:
    with pytest.raises(ProviderNotFound):
        steered.control.get("nobody")
    for act in (steered.control.drain, steered.control.resume, steered.control.reset):
        with pytest.raises(ProviderNotFound):
            await act("nobody", by=LOCAL)


async def test_every_provider_is_listed_in_the_order_of_declaration(steered: Steered) -> None:
    assert [(one.provider.name, one.breaker.state) for one in steered.control.list()] == [("a", CLOSED), ("b", CLOSED)]


async def test_drained_ones_are_so_again_after_a_restart_and_unknown_ones_do_no_harm(outbox: SqliteOutbox) -> None:
    before = Steered(outbox)
    await before.control.drain("b", by=LOCAL)
    await outbox.set_drained("gone", True)
    after = Steered(outbox)
    assert after.state("b") is CLOSED
    await after.control.restore()
    assert (after.state("a"), after.state("b")) == (CLOSED, FORCED_OPEN)
    await after.control.resume("b", by=LOCAL)
    last = Steered(outbox)
    await last.control.restore()
    assert last.state("b") is CLOSED


# Notes.


def note_of(steered: Steered, name: str) -> tuple[NoteAction, str, int] | None:
    note = steered.control.get(name).note
    return (note.action, note.reason, note.time) if note else None


async def test_what_is_done_to_a_provider_leaves_a_note_that_a_restart_keeps(
    steered: Steered, outbox: SqliteOutbox
) -> None:
    assert note_of(steered, "a") is None
    now = steered.clock.wall
    for name, act, action in (
        ("a", steered.control.drain, NoteAction.DRAIN),
        ("a", steered.control.resume, NoteAction.RESUME),
        ("a", steered.control.reset, NoteAction.RESET),
        ("b", steered.control.drain, NoteAction.DRAIN),
    ):
        for reason in ("", "incident 4711"):
            await act(name, reason, by=LOCAL)
            assert note_of(steered, name) == (action, reason, now())
            steered.clock.advance(1.0)
    after = Steered(outbox)
    await after.control.restore()
    for name in ("a", "b"):
        assert note_of(after, name) == note_of(steered, name)


async def test_what_changes_nothing_and_says_nothing_leaves_the_note_as_it_is(steered: Steered) -> None:
    await steered.control.resume("a", by=LOCAL)
    assert note_of(steered, "a") is None
    await steered.control.drain("a", "incident 4711", by=LOCAL)
    before = note_of(steered, "a")
    steered.clock.advance(1.0)
    await steered.control.drain("a", by=LOCAL)
    assert note_of(steered, "a") == before


async def test_a_reason_is_in_no_representation(steered: Steered) -> None:
    assert "4711" not in repr(await steered.control.drain("a", "incident 4711", by=LOCAL))


# Routes that nobody serves any more.


class Lines:
    """Stands for the log, and keeps the keys of the routes in it."""

    def __init__(self) -> None:
        self.route_keys: list[object] = []

    def warning(self, event: str, **fields: object) -> None:
        assert (event, set(fields)) == ("route_unserved", {"route_key", "detail"})
        self.route_keys.append(fields["route_key"])


async def test_a_drained_provider_names_the_routes_on_which_all_are_drained(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    monkeypatch.setattr("postwire.delivery.provider_control._log", lines)
    routes = {Channel.SMS: [route("a", "b", key="sms")], Channel.EMAIL: [route("b", key="email")]}
    registry = registry_of(FakeProvider("a"), FakeProvider("b"), routes=routes)
    control = Control(registry=registry, outbox=outbox, clock=ManualClock())

    def unserved() -> dict[str, tuple[str, ...]]:
        return {one.provider.name: one.unserved_route_keys for one in control.list()}

    assert (await control.drain("a", by=LOCAL)).unserved_route_keys == ()
    assert lines.route_keys == []
    assert (await control.drain("b", by=LOCAL)).unserved_route_keys == ("sms", "email")
    assert unserved() == {"a": ("sms",), "b": ("sms", "email")}
    await control.drain("b", by=LOCAL)
    assert lines.route_keys == ["sms", "email"], "and again is no news"
    await control.resume("a", by=LOCAL)
    assert unserved() == {"a": (), "b": ("email",)}
    # A boot says so as well.
    again = Control(
        registry=registry_of(FakeProvider("a"), FakeProvider("b"), routes=routes), outbox=outbox, clock=ManualClock()
    )
    await again.restore()
    assert lines.route_keys == ["sms", "email", "email"]


@pytest.mark.parametrize("drained", [False, True])
async def test_what_cannot_be_kept_is_not_done(steered: Steered, outbox: SqliteOutbox, drained: bool) -> None:
    if drained:
        await steered.control.drain("a", by=LOCAL)
    await outbox.close()
    with pytest.raises(StoreUnavailable):
        await (steered.control.resume if drained else steered.control.drain)("a", by=LOCAL)
    assert steered.state("a") is (FORCED_OPEN if drained else CLOSED)


# Watching.


async def test_who_watches_sees_everything_and_then_what_changes(steered: Steered) -> None:
    watch = steered.control.watch()
    assert [one.provider.name for one in await anext(watch)] == ["a", "b"]
    upcoming = asyncio.ensure_future(anext(watch))
    await looked(steered)
    assert not upcoming.done(), "nothing has changed"
    await steered.control.drain("b", by=LOCAL)
    await looked(steered)
    assert [(one.provider.name, one.breaker.state) for one in await upcoming] == [("b", FORCED_OPEN)]
    await watch.aclose()


async def looked(steered: Steered) -> None:
    """Let those who watch have a look."""
    await steered.harness.calm()
    steered.clock.advance(WATCH_INTERVAL)
    await steered.harness.calm()


def touched(steered: Steered) -> None:
    steered.control.touch("a")


def failed(steered: Steered) -> None:
    fail(steered.gates["a"], 1, steered.clock.monotonic())


def entered(steered: Steered) -> None:
    steered.gates["a"].enter(steered.clock.monotonic())


@pytest.mark.parametrize("change", [touched, failed, entered])
async def test_every_change_of_a_provider_is_seen(steered: Steered, change: Callable[[Steered], None]) -> None:
    watch = steered.control.watch()
    await anext(watch)
    upcoming = asyncio.ensure_future(anext(watch))
    await steered.harness.calm()
    change(steered)
    await looked(steered)
    assert [one.provider.name for one in await upcoming] == ["a"]
    await watch.aclose()


async def test_time_alone_is_no_change(steered: Steered) -> None:
    """Though the time of the next probe is told by another clock, which may be slewed meanwhile."""
    fail(steered.gates["a"], 1, steered.clock.monotonic())
    watch = steered.control.watch()
    await anext(watch)
    upcoming = asyncio.ensure_future(anext(watch))
    steered.clock.step_wall(0.001)
    for _ in range(3):
        await looked(steered)
    assert not upcoming.done()
    steered.control.end_watches()
    with pytest.raises(StopAsyncIteration):
        await upcoming


async def test_silence_is_broken_by_a_sign_of_life_again_and_again(steered: Steered) -> None:
    watch = steered.control.watch()
    await anext(watch)
    for _ in range(2):
        upcoming = asyncio.ensure_future(anext(watch))
        for _ in range(int(HEARTBEAT_INTERVAL / WATCH_INTERVAL) - 1):
            await looked(steered)
        assert not upcoming.done()
        await looked(steered)
        assert await upcoming == []
    await watch.aclose()


async def test_a_change_is_a_sign_of_life_as_well(steered: Steered) -> None:
    watch = steered.control.watch()
    await anext(watch)
    for _ in range(int(HEARTBEAT_INTERVAL / WATCH_INTERVAL)):
        upcoming = asyncio.ensure_future(anext(watch))
        steered.control.touch("a")
        await looked(steered)
        assert [one.provider.name for one in await upcoming] == ["a"]
    upcoming = asyncio.ensure_future(anext(watch))
    await looked(steered)
    assert not upcoming.done()
    steered.control.end_watches()
    with pytest.raises(StopAsyncIteration):
        await upcoming


async def test_changes_in_between_arrive_as_one(steered: Steered) -> None:
    watch = steered.control.watch()
    await anext(watch)
    for _ in range(3):
        steered.control.touch("a")
    await steered.harness.send()
    upcoming = asyncio.ensure_future(anext(watch))
    await looked(steered)
    (status,) = await upcoming
    assert (status.touched, status.breaker.calls) == (3, 1)
    await watch.aclose()


async def test_at_the_end_of_the_server_all_who_watch_are_let_go(steered: Steered) -> None:
    watches = [steered.control.watch() for _ in range(3)]
    for watch in watches:
        await anext(watch)
    upcoming = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await steered.harness.calm()
    steered.control.end_watches()
    for one in upcoming:
        with pytest.raises(StopAsyncIteration):
            await one
    late = steered.control.watch()
    with pytest.raises(StopAsyncIteration):
        await anext(late)


async def test_who_stops_watching_leaves_nothing_behind(steered: Steered) -> None:
    watch = steered.control.watch()
    await anext(watch)
    upcoming = asyncio.ensure_future(anext(watch))
    await steered.harness.calm()
    upcoming.cancel()
    await asyncio.wait([upcoming])
    await watch.aclose()
    assert steered.control._watching == set()
    assert all(alarm.callback is None for _, _, alarm in steered.clock._alarms)


async def test_a_provider_shows_what_is_under_way_at_it(steered: Steered) -> None:
    held = steered.providers["a"] = FakeProvider("a", held=True)
    steered.harness.registry.entry("a").provider = held
    call = steered.harness.start(build.command())
    await held.calls()
    assert steered.control.get("a").in_flight == 1
    held.release()
    await call
    assert steered.control.get("a").in_flight == 0
    assert steered.control.get("a").breaker.calls == 1
