"""Holds what a server has on record against what its providers were asked, whatever ended it how often in between."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from tests.support.call_log import Call

T = TypeVar("T", Call, "Tried")

NOT_SENT: Final = ("error", "rate_limited")
"""Outcomes that another attempt may follow whatever the guarantee is: the message was surely not sent."""

SETTLED: Final = ("sent", "failed", "uncertain", "delivered", "undelivered")
"""Where a message of these tests can end."""

REPORTED: Final = ("delivered", "undelivered")
"""Where it ends by what a provider has reported."""


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt on record."""

    number: int
    boot: int
    provider: str
    outcome: str | None
    error_code: str

    @property
    def is_orphan(self) -> bool:
        return self.error_code == "orphaned"


@dataclass(frozen=True, slots=True)
class Kept:
    """A message on record, with its attempts."""

    message_id: str
    request_id: str
    state: str
    at_most_once: bool
    max_attempts: int
    reported: tuple[str, ...]
    attempts: tuple[Tried, ...]


@dataclass
class Findings:
    """What was counted on the way. `cut` are calls that had no end, `unheard` those whose end was not recorded."""

    calls: int = 0
    orphans: int = 0
    unasked: int = 0
    cut: int = 0
    unheard: int = 0
    twice: int = 0


KEPT: Final = """
SELECT lower(hex(message_id)), request_id, state, delivery_guarantee = 'at_most_once', max_attempts,
    (SELECT group_concat(state) FROM receipts WHERE receipts.message_id = messages.message_id)
FROM messages
"""
TRIED: Final = """
SELECT lower(hex(message_id)), number, boot, provider_name, outcome, error_code FROM attempts
ORDER BY message_id, number
"""


def kept_in(
    messages: Iterable[tuple[str, str, str, int, int | None, str | None]], attempts: Iterable[tuple[str, ...]]
) -> list[Kept]:
    """What `KEPT` and `TRIED` have found."""
    tried: defaultdict[str, list[Tried]] = defaultdict(list)
    for key, *columns in attempts:
        tried[key].append(Tried(*columns))  # type: ignore[arg-type]  # as the query has them
    return [
        Kept(
            _uuid(key),
            request_id,
            state,
            bool(at_most_once),
            max_attempts or 5,
            tuple((reported or "").split(",")),
            tuple(tried[key]),
        )
        for key, request_id, state, at_most_once, max_attempts, reported in messages
    ]


def _uuid(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def check_messages(messages: Iterable[Kept], calls: Iterable[Call], *, killed: frozenset[int]) -> Findings:
    """Every call is explained by an attempt on record, and every unknown end by a kill or by what a provider has said.

    `killed` are the numbers of the boots that were killed.
    """
    findings = Findings()
    asked: defaultdict[str, list[Call]] = defaultdict(list)
    for call in calls:
        asked[call.key].append(call)
        findings.calls += 1
    for message in messages:
        _check_state(message)
        _check_attempts(message, killed)
        _check_calls(message, asked.pop(message.message_id, []), findings)
    assert not asked, f"providers were asked for what nobody has on record: {list(asked)[:5]}"
    return findings


def _check_state(message: Kept) -> None:
    """It is settled, and its state says what its attempts say."""
    assert message.state in SETTLED, message
    outcomes = [attempt.outcome for attempt in message.attempts]
    maybe_sent = "uncertain" in outcomes
    spent = sum(outcome != "rate_limited" for outcome in outcomes) >= message.max_attempts
    if message.state in REPORTED:
        assert message.state in message.reported, message
    elif message.state == "sent":
        assert outcomes[-1] == "success", message
    elif message.state == "uncertain":
        assert maybe_sent, message
        assert outcomes[-1] == "rejected" or spent or message.at_most_once, message
    else:
        assert not maybe_sent, f"its failure is a lie: {message}"
        assert outcomes[-1] == "rejected" or spent, message


def _check_attempts(message: Kept, killed: frozenset[int]) -> None:
    attempts = message.attempts
    assert [attempt.number for attempt in attempts] == list(range(1, len(attempts) + 1)), message
    for attempt, following in zip(attempts, (*attempts[1:], None), strict=True):
        assert attempt.outcome, f"an attempt has no end: {message}"
        if following is None:
            continue
        assert following.boot >= attempt.boot, message
        allowed = NOT_SENT if message.at_most_once else (*NOT_SENT, "uncertain")
        assert attempt.outcome in allowed, f"an attempt that must be the last has one after it: {message}"
    for boot, last in {attempt.boot: attempt for attempt in attempts}.items():
        orphans = [attempt for attempt in attempts if attempt.boot == boot and attempt.is_orphan]
        assert orphans in ([], [last]), message
        assert not orphans or boot in killed, f"an orphan of a boot that was not killed: {message}"
    assert all(attempt.outcome == "uncertain" for attempt in attempts if attempt.is_orphan), message


def _check_calls(message: Kept, calls: list[Call], findings: Findings) -> None:
    """Boot by boot, call n is attempt n, and only of the last attempt of a boot may anything be unknown."""
    by_boot: Mapping[int, list[Call]] = _by_boot(calls)
    attempts_by_boot: Mapping[int, list[Tried]] = _by_boot(message.attempts)
    assert by_boot.keys() <= attempts_by_boot.keys(), f"a call without an attempt: {message} {calls}"
    unheard_successes = 0
    for boot, attempts in attempts_by_boot.items():
        made = by_boot.get(boot, [])
        assert len(made) <= len(attempts), f"a call without an attempt: {message} {calls}"
        for index, attempt in enumerate(attempts):
            call = made[index] if index < len(made) else None
            if not attempt.is_orphan:
                assert call, f"an attempt says how a call ended that was never made: {message} {calls}"
                assert (call.provider, call.outcome) == (attempt.provider, attempt.outcome), f"{message} {calls}"
                continue
            findings.orphans += 1
            if call is None:
                findings.unasked += 1
                continue
            assert call.provider == attempt.provider, f"{message} {calls}"
            findings.cut += call.outcome is None
            findings.unheard += call.outcome is not None
            unheard_successes += call.outcome == "success"
    successes = Counter(call.outcome for call in calls)["success"]
    heard = sum(attempt.outcome == "success" for attempt in message.attempts)
    assert heard <= 1, message
    assert successes == heard + unheard_successes, f"{message} {calls}"
    if message.at_most_once:
        assert successes <= 1, f"sent twice though it must not be: {message} {calls}"
    findings.twice += successes > 1


def _by_boot(found: Iterable[T]) -> dict[int, list[T]]:
    grouped: defaultdict[int, list[T]] = defaultdict(list)
    for one in found:
        grouped[one.boot].append(one)
    return dict(grouped)
