"""The breaker against its model: any order of calls, results, operators and clocks, and the same answers after each."""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.support.breaker_model import BreakerModel, Given, draw

from postwire.core.breaker import Breaker, BreakerSettings, BreakerSnapshot, BreakerState, Permit, Transition, Verdict

# All of them exact in binary, as is every time below: what is compared is the rules, not how a sum was rounded.
SETTINGS: Final[dict[str, list[Any]]] = {
    "window_calls": [4, 5, 8, 20],
    "window_time": [2.0, 10.0, 60.0],
    "failure_ratio": [0.25, 0.5, 1.0],
    "minimum_calls": [1, 2, 4],
    "open_for": [0.5, 5.0],
    "open_for_max": [5.0, 13.0, 300.0],
    "probe_calls": [1, 2, 3],
    "close_after": [1, 2, 4],
    "lease": [1.0, 20.0],
}
SLOW: Final[list[dict[str, Any]]] = [{}, {}, {"slow_call_ratio": 0.5, "slow_call_duration": 1.0}]
DURATIONS: Final = [0.0, 1.0, 1.125]
VERDICTS: Final = list(Verdict)

Call = tuple[Permit, Given]


class Pair:
    """A breaker and its model. What happens, happens to both, and both have to say the same of it."""

    def __init__(self, settings: BreakerSettings) -> None:
        draws = itertools.count()
        self.heard: list[tuple[str, str]] = []
        self.breaker = Breaker(settings, jitter=lambda: draw(next(draws)), listener=self.hear)
        self.model = BreakerModel(settings)
        self.now = 1000.0

    def hear(self, change: Transition) -> None:
        self.heard.append((change.source.value, change.target.value))

    def acquire(self) -> Call | None:
        admitted = self.breaker.admits(self.now)
        permit, given = self.breaker.acquire(self.now), self.model.acquire(self.now)
        assert (permit is not None) == (given is not None) == admitted
        return (permit, given) if permit and given else None

    def release(self, call: Call, verdict: Verdict, duration: float) -> None:
        permit, given = call
        self.breaker.release(permit, verdict, self.now, duration)
        self.model.release(given, verdict.value, self.now, duration)

    def force_open(self) -> None:
        self.breaker.force_open(self.now)
        self.model.force_open(self.now)

    def resume(self) -> None:
        self.breaker.resume(self.now)
        self.model.resume(self.now)

    def reset(self) -> None:
        if self.model.state == "forced_open":
            with pytest.raises(ValueError, match="forced open"):
                self.breaker.reset(self.now)
        else:
            self.breaker.reset(self.now)
            self.model.resume(self.now)

    def look(self) -> None:
        self.model.see(self.now)
        assert self.breaker.exceeds_failure_ratio(self.now) is self.model.exceeds_failure_ratio()
        self.agree(self.now)

    def agree(self, seen: float | None = None) -> None:
        """Compare all that can be asked, as of the last time that both have seen: no time passes by this."""
        breaker, model = self.breaker, self.model
        seen = model.time if seen is None else seen
        calls, failures, slow_calls = model.counts()
        ratio = failures / calls if calls else 0.0
        state = BreakerState(model.state)
        assert breaker.state is state
        next_probe_time = model.next_probe_time(seen)
        assert breaker.snapshot(seen) == BreakerSnapshot(state, calls, failures, slow_calls, ratio, next_probe_time)
        assert breaker.admits(self.now) is model.admits(self.now)
        assert breaker.next_probe_time(self.now) == model.next_probe_time(self.now)
        assert self.heard == model.heard
        self.heard.clear()
        model.heard.clear()


# Eighths of a second.
STEPS = st.integers(-16, 64) | st.integers(-8_000, 8_000) | st.sampled_from([0, 1, 8, 40, 160, 2400])


class BreakerMachine(RuleBasedStateMachine):
    calls: Bundle[Call | None] = Bundle("calls")

    @initialize(
        chosen=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in SETTINGS.items()}),
        slow=st.sampled_from(SLOW),
    )
    def begin(self, chosen: dict[str, Any], slow: dict[str, Any]) -> None:
        self.pair = Pair(BreakerSettings(**chosen, **slow))

    @rule(target=calls)
    def acquire(self) -> Call | None:
        return self.pair.acquire()

    @rule(call=calls, verdict=st.sampled_from(Verdict), duration=st.sampled_from(DURATIONS))
    def release(self, call: Call | None, verdict: Verdict, duration: float) -> None:
        """Perhaps not for the first time, and perhaps too late."""
        if call:
            self.pair.release(call, verdict, duration)

    @rule(number=st.integers(1, 12), verdict=st.sampled_from(Verdict), duration=st.sampled_from(DURATIONS))
    def call_at_once(self, number: int, verdict: Verdict, duration: float) -> None:
        for _ in range(number):
            if call := self.pair.acquire():
                self.pair.release(call, verdict, duration)

    @rule(step=STEPS)
    def let_time_pass(self, step: int) -> None:
        self.pair.now += step / 8

    @rule()
    def wait_as_reported(self) -> None:
        self.pair.now = self.pair.model.next_probe_time(self.pair.now) or self.pair.now

    @rule()
    def look(self) -> None:
        self.pair.look()

    @rule(operation=st.sampled_from(["force_open", "resume", "reset"]))
    def operate(self, operation: str) -> None:
        getattr(self.pair, operation)()

    @invariant()
    def they_agree(self) -> None:
        self.pair.agree()


def test_a_breaker_is_what_its_model_says() -> None:
    run_state_machine_as_test(BreakerMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


@pytest.mark.long
def test_a_breaker_is_what_its_model_says_at_length() -> None:
    run_state_machine_as_test(
        BreakerMachine, settings=settings(max_examples=1_000, stateful_step_count=80, deadline=None)
    )


class Driver:
    """Events at random, many and fast. It counts what it has met, so that nobody has to believe that it met it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.met: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        """With other settings, and nothing under way."""
        choose = self.random.choice
        self.pair = Pair(BreakerSettings(**{name: choose(values) for name, values in SETTINGS.items()}, **choose(SLOW)))
        self.calls: list[Call] = []
        self.health = choose([(9, 1, 1), (1, 9, 1), (1, 1, 1), (4, 2, 8)])

    def event(self) -> None:
        """One event, and the comparison after it."""
        pair, kind = self.pair, self.random.random()
        if kind < 0.35:
            self.acquire()
        elif kind < 0.75:
            self.release()
        elif kind < 0.95:
            self.time()
        elif kind < 0.98:
            pair.look()
        else:
            operation = self.random.choice(["force_open", "resume", "resume", "reset"])
            self.met[operation] += 1
            getattr(pair, operation)()
        for source, target in pair.heard:
            self.met[f"{source} > {target}"] += 1
        pair.agree()

    def acquire(self) -> None:
        call = self.pair.acquire()
        if call is None:
            self.met["refused"] += 1
            return
        self.met["probe" if call[1].probe else "call"] += 1
        if len(self.calls) < 30:
            self.calls.append(call)
        else:  # another is forgotten, and never reports
            self.calls[self.random.randrange(30)] = call

    def release(self) -> None:
        if not self.calls:
            return
        # The youngest as often as all others: or else most would be stale.
        index = self.random.choice([self.random.randrange(len(self.calls)), -1])
        again = self.random.random() < 0.3  # it stays, to be given back once more
        call = self.calls[index] if again else self.calls.pop(index)
        given, model = call[1], self.pair.model
        late = any(end <= self.pair.now for end in model.leases())
        verdict = self.random.choices(VERDICTS, self.health)[0]
        which = "repeated" if given.end else "stale" if given.era != model.era else "late" if late else model.state
        self.met[f"{which}: {verdict.value}"] += 1
        self.pair.release(call, verdict, self.random.choice(DURATIONS))

    def time(self) -> None:
        pair, kind = self.pair, self.random.random()
        if kind < 0.25:
            pair.now = pair.model.next_probe_time(pair.now) or pair.now
        elif kind < 0.35:
            pair.now += self.random.choice([-1, 1, 1]) * self.random.randrange(8_000) / 8
        else:
            pair.now += self.random.randrange(-4, 24) / 8

    def run(self, events: int) -> None:
        for number in range(events):
            if number % 250 == 249:
                self.begin()
            self.event()


EVERYTHING: Final = {
    *("call", "probe", "refused", "force_open", "resume", "reset"),
    *("closed > open", "open > half_open", "half_open > open", "half_open > closed", "open > closed"),
    *("closed > forced_open", "open > forced_open", "half_open > forced_open", "forced_open > closed"),
    *(
        f"{which}: {verdict.value}"
        for which in ("closed", "half_open", "stale", "repeated", "late")
        for verdict in Verdict
    ),
}


def test_a_breaker_is_what_its_model_says_for_20_000_events() -> None:
    driver = Driver(seed=1)
    driver.run(20_000)
    assert set(driver.met) == EVERYTHING


@pytest.mark.long
def test_a_breaker_is_what_its_model_says_for_a_million_events(capsys: pytest.CaptureFixture[str]) -> None:
    drivers = [Driver(seed) for seed in range(100, 104)]
    for driver in drivers:
        driver.run(250_000)
    met = sum((driver.met for driver in drivers), Counter[str]())
    assert set(met) == EVERYTHING
    assert min(met.values()) > 100
    with capsys.disabled():
        sys.stdout.write("\n1,000,000 events of the breaker (seeds 100 to 103), among them:\n")
        sys.stdout.writelines(f"  {count:>8,}  {what}\n" for what, count in sorted(met.items()))
