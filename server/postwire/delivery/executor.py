"""One pass of a message: attempt, record, and on to the next provider, until it is settled or back in its queue.

Calls and queues both end here; there is no second path to a provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from postwire.clock import Clock
from postwire.core import backoff, follow_up, lifecycle, suppressing
from postwire.core.breaker import Verdict
from postwire.core.clock_steps import StepDetector
from postwire.core.errors import StoreUnavailable
from postwire.core.gate import Gate, GatePermit
from postwire.core.ids import idempotency_key
from postwire.core.lifecycle import MAX_VENDOR_TEXT, NextStep, Policy
from postwire.core.message import DispatchOptions, MessageRecord, MessageState
from postwire.core.outcome import DispatchResult, Outcome
from postwire.core.receipts import KeptReceipt
from postwire.core.retries import LONGEST_DELAY, deferral_delay, deferrals, first_attempt, is_deferred, is_same_attempt
from postwire.core.splitmix import SplitMix64
from postwire.core.waiting import deadline
from postwire.delivery import attempt, transitions
from postwire.delivery.jobs import Job
from postwire.delivery.open_attempts import OpenAttempts
from postwire.delivery.receipts import NOTHING, ReceiptTracker
from postwire.delivery.router import ProviderPermit, Router
from postwire.delivery.suppressions import Suppressions
from postwire.outbox.base import Outbox, ProviderMessageId
from postwire.providers.handover import Handover
from postwire.telemetry.base import Observer

_NOTHING: Final = NextStep.NOTHING

UNSUITABLE_CODE: Final = "unsuitable"
"""The error code of recipients whom no provider of the route can send to without the others."""

UNSUITABLE_PAUSE: Final = 5_000_000
"""µs, at the least, for which a message waits that was granted a provider which cannot carry it, if nobody can."""

_ACCOUNT_TAKEN: Final = frozenset({Outcome.SUCCESS, Outcome.REJECTED, Outcome.RATE_LIMITED, Outcome.DEFERRED})
"""The outcomes that a provider gives only to an account that it accepts."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How a message is tried again. Times in seconds."""

    max_attempts: int
    backoff_base: float
    backoff_max: float


class Executor:
    """Sees messages through their passes."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        router: Router,
        clock: Clock,
        steps: StepDetector,
        observer: Observer,
        retries: Retries,
        jitter: SplitMix64,
        attempts: OpenAttempts,
        suppressions: Suppressions | None = None,
        tracker: ReceiptTracker | None = None,
        may_act: Callable[[], bool] | None = None,
    ) -> None:
        """`tracker` where any provider takes receipts. `may_act` says whether a message may be handed over now."""
        self._attempts = attempts
        self._may_act = may_act
        self._suppressions = suppressions
        self._tracker = tracker
        self._outbox = outbox
        self._router = router
        self._clock = clock
        self._steps = steps
        self._observer = observer
        self._retries = retries
        self._jitter = jitter
        self._loop = asyncio.get_running_loop()
        self.on_follow_up: Callable[[int], None] = lambda time: None
        """Called with the time (µs, due clock) until which a message that was sent waits for a receipt."""

    def policy(self, options: DispatchOptions) -> Policy:
        """How long a message with these options is tried."""
        return Policy(options.max_attempts or self._retries.max_attempts, options.delivery_guarantee)

    def now(self) -> tuple[int, int]:
        """The time, by the wall clock and by the due clock (µs)."""
        wall = self._clock.wall()
        return wall, self._steps.due_at(wall, self._clock.due())

    def retry_time(self, attempts: int, now: int) -> int:
        """When a message that has had so many attempts is tried again (µs, due clock, as `now`). Takes one draw."""
        seconds = backoff.delay(
            max(attempts, 1),
            base=self._retries.backoff_base,
            most=self._retries.backoff_max,
            draw=self._jitter.next_unit(),
        )
        return now + int(seconds * 1e6)

    def latest_retry(self, now: int) -> int:
        """When a message is tried again at the latest, whatever is drawn, unless it was deferred."""
        return now + int(self._retries.backoff_max * 1e6)

    def latest_deferred(self, now: int) -> int:
        """When a message that was deferred is tried again at the latest, whatever the provider has asked for."""
        return max(now + int(LONGEST_DELAY * 1e6), self.latest_retry(now))

    async def execute(self, job: Job) -> MessageRecord:
        """Make the attempt that is open in the record of a job, and whatever follows in this pass.

        Returns the record as it is kept at the end: settled, or queued again. The permit is used up.
        """
        policy = self.policy(job.options)
        clear = True  # no attempt of this pass was uncertain and followed by another
        while permit := job.permit:
            if job.is_cleared:
                job.is_cleared = False
            elif (
                (suppressions := self._suppressions)
                and suppressions.concerns(job.options)
                and not await self._clear(job, permit, suppressions)
            ):
                continue
            before = job.record
            handover = self._handover(job)
            try:
                result, duration, began = await self._attempt(job, permit, handover)
            except asyncio.CancelledError as error:
                if handover.is_before(error):
                    await self._drop(before)
                raise
            now, due = self.now()
            if result is attempt.UNSUITABLE:
                await self._pass_on(job)
                continue
            if result is attempt.TOO_LATE:
                await self._take_back(job, transitions.drop_attempt(before, now=now, due=due))
                continue
            record, next_step = transitions.close_attempt(
                before, result, policy, permit.entry.provider, now=now, duration=duration, ahead=now - due
            )
            self._observer.attempt_ended(ended := record)
            if result.opted_out and self._suppressions:
                await self._suppressions.opted_out(before, job.message)
            ids: Sequence[ProviderMessageId] = ()
            receipts: Sequence[KeptReceipt] = ()
            if tracker := self._tracker:
                ids = tracker.ids_given(before, record)
                if tracker.is_pending(before.message_id) and (receipts := await tracker.reported(before, self._outbox)):
                    try:
                        record = tracker.applied_to(record, receipts, now)
                        next_step = transitions.next_step(before, record, next_step)
                    except Exception:  # the result is not lost: whoever applies them later says what is wrong
                        receipts = ()
            next_permit: ProviderPermit | None = None
            if job.plan.route.delivered_within is not None and record.state is MessageState.SENT:
                record, next_step = self._expect_receipt(job, record, next_step, now, due)
            if next_step is not _NOTHING and not self._is_suited(job, record):
                record, next_step = lifecycle.give_up(record, UNSUITABLE_CODE, now=now), _NOTHING
            if next_step is not _NOTHING:
                if next_step is NextStep.FAIL_OVER and clear and due < deadline(record, now - due):
                    next_permit = self._pick(job, record)
                elif next_step is NextStep.TRY_AGAIN and clear and self._is_same(before, record, permit, began):
                    # At once, but once a pass; and whatever comes of it, nobody else is asked in this one.
                    clear, next_permit = False, self._router.again(job.plan, permit.entry)
                if next_permit:
                    record = self._opened(job, record, next_permit, now)
                elif record.settled:
                    pass
                elif is_deferred(record):
                    record = lifecycle.requeue(record, now=now, due=due + self._deferral(record, result))
                else:
                    record = self._requeued(record, now, due)
            await self._keep(job, record, next_permit, receipts, ids)
            if job.record is before:
                self._observer.result_refused(ended)
        return job.record

    async def _clear(self, job: Job, permit: ProviderPermit, suppressions: Suppressions) -> bool:
        """Whether the open attempt can begin as it is. Where recipients are suppressed it is taken back, and opened
        anew for the others, if there are any. Where that cannot be found out, the message waits."""
        before = job.record
        try:
            try:
                positions = await suppressions.positions(before, job.message)
            except StoreUnavailable:
                now, due = self.now()
                if before.settled:
                    await self._take_back(job, self._waiting(before))
                    return False
                retry_time = self.retry_time(len(before.attempts), due)
                await self._take_back(job, lifecycle.drop_attempt(before, now=now, due=retry_time))
                return False
            except asyncio.CancelledError:
                await self._drop(before)
                raise
            pending = lifecycle.unresolved(before) if before.recipients else None
            if not (positions if pending is None else positions & {*pending}):
                return True
            now, due = self.now()
            if before.settled:  # it stays sent, and nobody has it once more
                dropped = follow_up.drop_attempt(before, now=now, due=due)
                await self._take_back(job, follow_up.end(dropped, now=now))
                return False
            after = suppressing.suppress(lifecycle.drop_attempt(before, now=now, due=due), positions, now=now)
            await self._take_back(job, after)
            if job.record is after and not after.settled:
                await self._keep(job, self._opened(job, after, permit, now), permit)
                job.is_cleared = True
            return False
        finally:
            if job.permit is not permit:
                permit.gate_permit.cancel(self._clock.monotonic())

    async def _pass_on(self, job: Job) -> None:
        """Take back the open attempt at a provider that cannot send to those alone who are left, and go on to one that
        can. Who waits for a route is granted its providers without a look at the message."""
        before, (now, due) = job.record, self.now()
        retry_time = self.retry_time(len(before.attempts), due) + UNSUITABLE_PAUSE
        await self._take_back(job, lifecycle.drop_attempt(before, now=now, due=retry_time))
        if job.record.state is not MessageState.QUEUED:  # somebody else has changed it
            return
        if not self._is_suited(job, job.record):
            await self._keep(job, lifecycle.give_up(job.record, UNSUITABLE_CODE, now=now), None)
        elif permit := self._pick(job, job.record):
            await self._keep(job, self._opened(job, job.record, permit, now), permit)

    def _is_suited(self, job: Job, record: MessageRecord) -> bool:
        """Whether anybody of the route can send to those who are left."""
        return not record.recipients or self._router.narrow(job.plan, job.message, lifecycle.unresolved(record))

    def _pick(self, job: Job, record: MessageRecord) -> ProviderPermit | None:
        """Leave to ask the next provider of the plan, if there is one."""
        permit = self._router.pick(job.plan)
        if job.plan.choice.passed_over:
            self._observer.passed_over(record, job.plan.choice.passed_over)
        return permit

    async def _is_unchanged(self, record: MessageRecord) -> bool:
        kept = await self._outbox.get(record.message_id, record.tenant)
        return kept is not None and kept.revision == record.revision

    def _handover(self, job: Job) -> Handover:
        """Return the handover of the attempt that is open in the record of a job."""
        record = job.record
        positions = lifecycle.unresolved(record) if record.recipients else None
        reference, callback_url = self._tracker.addresses.of(record) if self._tracker else NOTHING
        return Handover(
            idempotency_key(record.message_id, positions),
            positions,
            record.expire_time,
            reference,
            callback_url,
            job.traceparent,
            message_id=record.message_id,
            created=max(record.create_time, record.send_time or 0),
            now=record.attempts[-1].start_time,
            tenant=record.tenant,
        )

    async def _drop(self, record: MessageRecord) -> None:
        """Take the open attempt back, which a shutdown has ended before the message left, if there is time for it."""
        now, due = self.now()
        try:
            await self._outbox.advance(record, transitions.drop_attempt(record, now=now, due=due))
        except StoreUnavailable:
            self._attempts.lose(record)

    async def _take_back(self, job: Job, after: MessageRecord) -> None:
        """Keep a change that takes back the open attempt, which is not made."""
        before = job.record
        try:
            await self._keep(job, after, None)
        except BaseException:  # it may still be open
            self._attempts.lose(before)
            raise

    async def _attempt(self, job: Job, permit: ProviderPermit, handover: Handover) -> tuple[DispatchResult, int, int]:
        """Make the attempt that is open in a job's record: its result, how long it took (µs), and when it began (µs,
        due clock). Gives back the permit."""
        record, message, entry, gate_permit = job.record, job.message, permit.entry, permit.gate_permit
        due = self._clock.due()
        left = (deadline(record, self._clock.wall() - due) - due) / 1e6
        started = self._clock.monotonic()
        result: DispatchResult | None = None
        verdict = Verdict.NONE
        try:
            if left <= 0 or (self._may_act and not self._may_act()):  # it may be another node's by now
                result = attempt.TOO_LATE
            elif handover.positions is not None and not self._router.can_carry(entry, message, handover.positions):
                result = attempt.UNSUITABLE
            else:
                gate_permit.begin()
                timeout = entry.attempt_timeout
                result = await attempt.send(entry.provider, message, handover, self._loop, min(timeout, left))
                # Where the message's own time ran out, the provider may not have had all of its own.
                if left >= timeout or not any(result is one for one in attempt.CUT_SHORT):
                    verdict = attempt.verdict(result)
                # Before the permit is back: the next to be admitted is to find the gate as this attempt leaves it.
                self._note(entry.gate, gate_permit, result)
        finally:
            now = self._clock.monotonic()
            if result is attempt.TOO_LATE or result is attempt.UNSUITABLE:
                gate_permit.cancel(now)
            else:
                gate_permit.close(verdict, now, now - started)
        return result, int((now - started) * 1e6), due

    def _note(self, gate: Gate, permit: GatePermit, result: DispatchResult) -> None:
        """Have a provider's gate know what an attempt has found out, beside its verdict.

        What was sent before the provider refused our account says nothing of it now, and neither does a refusal of what
        was sent before our account became another.
        """
        outcome = result.outcome
        if outcome is Outcome.SUCCESS:
            gate.note_success()
        elif outcome is Outcome.RATE_LIMITED:
            gate.cool_down(self._clock.monotonic(), result.retry_after)
        elif outcome is Outcome.MISCONFIGURED:
            if not permit.is_outdated:
                gate.note_misconfigured(self._clock.monotonic(), (result.detail or result.error_code)[:MAX_VENDOR_TEXT])
            return
        if permit.tries_account and outcome in _ACCOUNT_TAKEN:
            gate.note_configured()

    def _deferral(self, record: MessageRecord, result: DispatchResult) -> int:
        """For how long a message waits whose last attempt was put off (µs). Takes one draw."""
        delay = deferral_delay(deferrals(record), result.retry_after, draw=self._jitter.next_unit())
        return int(delay * 1e6)

    def _is_same(self, before: MessageRecord, after: MessageRecord, permit: ProviderPermit, began: int) -> bool:
        """Whether the vendor would know one more attempt at once for the same, and send nothing twice. The last one
        `began` then (µs, due clock)."""
        if is_deferred(after):  # some of them are not to be asked again so soon
            return False
        first, wall, due = first_attempt(after), self._clock.wall(), self._clock.due()
        if first is after.attempts[-1]:
            age: int | None = due - began
        else:  # of an earlier pass, or an earlier boot
            age = self._steps.longest_since(first.start_time, wall, due)
        return is_same_attempt(before, after, age=age, dedup_window=permit.entry.dedup_window)

    def _expect_receipt(
        self, job: Job, record: MessageRecord, next_step: NextStep, now: int, due: int
    ) -> tuple[MessageRecord, NextStep]:
        """Have a message wait for a receipt of its last attempt: see `transitions.expect_receipt`."""
        providers = self._tracker.addresses.providers if self._tracker else ()
        return transitions.expect_receipt(
            record,
            next_step,
            self.policy(job.options),
            job.plan.route,
            takes_receipts=record.attempts[-1].provider_name in providers,
            now=now,
            due=due,
        )

    def _opened(self, job: Job, record: MessageRecord, permit: ProviderPermit, now: int) -> MessageRecord:
        trace_id = record.attempts[-1].trace_id if record.attempts else job.traceparent[3:35]
        return transitions.open_attempt(record, permit.entry.provider.name, now=now, trace_id=trace_id)

    def _waiting(self, record: MessageRecord) -> MessageRecord:
        """The record before the attempt that it has open, which nobody makes: its message waits."""
        now, due = self.now()
        if record.settled:
            return follow_up.drop_attempt(record, now=now, due=follow_up.retry_time(record, now=now, due=due))
        return self._requeued(transitions.without_open(record), now, due)

    def _requeued(self, record: MessageRecord, now: int, due: int) -> MessageRecord:
        return lifecycle.requeue(record, now=now, due=self.retry_time(len(record.attempts), due))

    async def _keep(
        self,
        job: Job,
        after: MessageRecord,
        permit: ProviderPermit | None,
        receipts: Sequence[KeptReceipt] = (),
        ids: Sequence[ProviderMessageId] = (),
    ) -> None:
        """Keep a change of a job's record, however long the store takes, and go on with `permit`. It applies
        `receipts`, and comes with the `ids` that a provider has given.

        Those who wait get the last durable state meanwhile. Where somebody else has changed the message, it is theirs.
        """
        numbers = [one.number for one in receipts if not one.is_applied] if receipts else ()
        before, job.permit = job.record, None
        opened = after if permit else None
        tried: list[MessageRecord] = []
        try:
            while True:
                try:
                    if await self._outbox.advance(before, after, tried, receipts=numbers, provider_ids=ids):
                        if not tried:
                            break
                        kept = await self._outbox.get(before.message_id, before.tenant)
                        if kept is None or kept == after or kept not in tried:
                            break
                        # An attempt was opened after all, and nobody is to make it.
                        before, after, tried = kept, self._waiting(kept), []
                        continue
                    if permit:
                        permit.gate_permit.cancel(self._clock.monotonic())
                        permit = None
                        if self._tracker:
                            # A receipt came in just now, it may be, and nothing is to be sent past it. Before that is
                            # found out, for which the store may be away: the result is to be kept all the same.
                            after = self._waiting(after)
                            if await self._is_unchanged(before):
                                self._tracker.refused([before.message_id])
                                continue
                    return
                except StoreUnavailable:
                    job.waiter.complete()
                    tried.append(after)
                    if permit:  # not held for so long: those who wait for the provider are served first
                        permit.gate_permit.cancel(self._clock.monotonic())
                        permit = None
                        after = self._waiting(after)
                    await self._outbox.wait_available()
        except BaseException:
            if permit:
                permit.gate_permit.cancel(self._clock.monotonic())
            if opened:  # it may be kept, and nobody makes it
                self._attempts.lose(opened)
            raise
        job.record, job.permit = after, permit
        job.waiter.record = after
        if not (before.settled and after.state is before.state):
            self._observer.state_reached(after)
        if self._tracker:
            self._tracker.changed(after, ids)
            for one in receipts:
                if not one.is_applied:
                    self._observer.receipt_applied(after, one.listed)
        if after.follow_up_time is not None and follow_up.is_waiting(after):
            self.on_follow_up(after.follow_up_time)
