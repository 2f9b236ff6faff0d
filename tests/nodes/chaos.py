"""Everything at once: nodes that are killed, ended, stopped and started, and a database that crashes, under load."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg
import grpc
from google.protobuf.duration_pb2 import Duration
from tests.nodes.callers import ROOM, Callers
from tests.nodes.cluster import DEAD, Cluster, Node
from tests.nodes.ledger import Handed, Ledger, accepted_at
from tests.nodes.reading import at_rest, left, make_old, on_record
from tests.nodes.served import REQUEST_ID, handed_in
from tests.nodes.vendor import HttpVendor
from tests.nodes.verify import OnRecord, verify
from tests.support.copied_postgres import CopiedPostgres
from tests.support.driver import AT_MOST_ONCE, connect, in_seconds
from tests.support.receipt_vendors import SECRET
from tests.support.waiting import PATIENCE

from postwire.core.outcome import Outcome
from postwire.v1 import dispatch_service_pb2 as pb
from postwire.v1 import message_pb2
from postwire.v1.message_pb2 import DispatchOptions, Email, OutboundMessage, Sms
from postwire.v1.provider_service_pb2 import (
    DrainProviderRequest,
    ResetBreakerRequest,
    ResumeProviderRequest,
    UpdateMockProviderRequest,
)
from postwire.v1.provider_service_pb2_grpc import ProviderServiceStub

LEASE: Final = 4.0
"""Seconds. What is shorter lapses on a machine that is merely busy."""

ATTEMPT: Final = 3.0
"""Seconds that an attempt may take."""

PAUSE: Final = 0.1
"""Seconds from a call of a caller to the next."""

AT_REST: Final = 15.0
"""Seconds after which nothing more comes for a message: longer than any node is stopped."""

LATEST: Final = 50
"""How many answers are looked at again and again: more than come between two looks."""

OLD: Final = 30
"""How many messages are made old at once."""

MOCKS: Final = ("post-a", "post-b")
PROVIDERS: Final = ("text-a", "text-b", *MOCKS)
LANES: Final = ("left", "right")
"""There is a rule of its own for one of them, and which one depends on the start: what waits is re-routed."""

_MOCK: Final = """
kind = "mock"
channels = ["email"]
error_ratio = 0.08
uncertain_ratio = 0.05
rejected_ratio = 0.03
latency = "40ms"
delivered_ratio = 0.3
receipt_delay = "50ms"
"""
_BREAKER: Final = 'breaker = { minimum_calls = 20, failure_ratio = 0.9, open_for = "100ms", open_for_max = "500ms" }'


def toml(url: str, vendor: str, grace: str, attempt: float) -> str:
    """The configuration of a node, but for its rules. `vendor` is where it hands SMS over to; an `attempt` may take so
    many seconds."""
    webhooks = "".join(
        f'[providers.{name}]\nkind = "webhook"\nchannels = ["sms"]\nurl = "{vendor}/NODE/{name}"\nsecret = "{SECRET}"\n'
        f'receipts = {{ secret = "{SECRET}" }}\n{_BREAKER}\n'
        for name in ("text-a", "text-b")
    )
    mocks = "".join(f"[providers.{name}]{_MOCK}{_BREAKER}\n" for name in MOCKS)
    return (
        f'[store]\nurl = "{url}"\n[nodes]\nlease = "{LEASE:g}s"\nbeat = "1s"\n[server]\nmax_wait = "4s"\n'
        f'grace = "{grace}"\n'
        '[delivery]\nbackoff_base = "50ms"\nbackoff_max = "500ms"\n'
        f'attempt_timeout = "{attempt:g}s"\n'
        '[receipts]\nlisten = "127.0.0.1:0"\npublic_url = "https://hooks.example.com"\n[suppression]\nauto = false\n'
        f"{webhooks}{mocks}"
    )


def rules(lane: str) -> str:
    """The rules of a start, of which one is for a lane."""
    return (
        f'[[routes.sms]]\nmatch = {{ labels = {{ lane = "{lane}" }} }}\ntiers = [["text-a"], ["text-b"]]\n'
        '[[routes.sms]]\ntiers = [["text-b"], ["text-a"]]\n'
        f'[[routes.email]]\ntiers = [["{MOCKS[0]}"], ["{MOCKS[1]}"]]\n'
    )


def request(number: int) -> pb.DispatchRequest:
    """One of many kinds, by its number."""
    chance = random.Random(number)
    labels = {REQUEST_ID: f"r-{number}", "lane": chance.choice((*LANES, "none"))}
    if chance.random() < 0.7:
        message = OutboundMessage(sms=Sms(to="+14155550132", body=f"Hello {number}"), labels=labels)
    else:
        to = ["ada@example.com", "bob@example.com", "eve@example.com"][: chance.choice((1, 1, 3))]
        if len(to) > 1 and chance.random() < 0.3:
            to[1] = "rejected@simulator.postwire.test"
        message = OutboundMessage(email=Email(to=to, subject="Hi", text=f"Hello {number}"), labels=labels)
    options = DispatchOptions(
        wait_for=chance.choice((message_pb2.WAIT_FOR_OUTCOME, message_pb2.WAIT_FOR_ACCEPTANCE)), max_attempts=6
    )
    if chance.random() < 0.3:
        options.delivery_guarantee = AT_MOST_ONCE
    if chance.random() < 0.1:
        options.send_time.CopyFrom(in_seconds(chance.random() * 4))
    return pb.DispatchRequest(request_id=f"r-{number}", message=message, options=options)


class Chaos:
    """Several nodes under load. `done` counts what was done to them."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        nodes: int = 3,
        seed: int = 1,
        grace: str = "2s",
        attempt: float = ATTEMPT,
    ) -> None:
        self.ledger = Ledger()
        self.done: Counter[str] = Counter()
        self.random = random.Random(seed)
        self.url = url
        self._folder = folder
        self._count = nodes
        self._seed = seed
        self._grace = grace
        self._attempt = attempt
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[Node] = set()

    async def start(self, *, callers: int = 6, rate: float | None = None, frame: int = 1, lane: str = "") -> None:
        """Start everything, and return once all nodes serve.

        So many `callers` call one after the other, or as many frames are open at once at the most, which come at a
        `rate`: see `Callers`. Of the `lane`, see `rules`.
        """
        self.vendor = HttpVendor(self.ledger, self._receivers, self._seed)
        await self.vendor.start()

        def configuration(name: str) -> str:
            return toml(self.url_for(name), self.vendor.url, self._grace, self._attempt)

        self.cluster = Cluster(self._folder, configuration, self._count)
        self.callers = Callers(self.cluster, self.ledger, request, seed=self._seed)
        for node in self.cluster.nodes:
            self.start_node(node, lane)
        for node in self.cluster.nodes:
            await node.ready()
        if rate is None:
            self._tasks = [asyncio.create_task(self.callers.call(PAUSE)) for _ in range(callers)]
        else:
            self._tasks = [asyncio.create_task(self.callers.offer(rate, frame, callers))]
        self._tasks += [asyncio.create_task(self.callers.watch()), asyncio.create_task(self.callers.cancel(0.2))]

    def url_for(self, name: str) -> str:
        """Where the database is for the node of this name."""
        return self.url

    async def acknowledged_again(self, since: int) -> None:
        """Return once a message is acknowledged that was accepted after a time (ns). Others, which wait for an outcome,
        may be answered long after the store has gone."""
        async with asyncio.timeout(PATIENCE):
            while not any(accepted_at(one.message_id) > since for one in self.ledger.acknowledged[-LATEST:]):
                self._look_after()
                await asyncio.sleep(ROOM)

    def _receivers(self) -> list[str]:
        return [node.receipts for node in self.cluster.serving if node.receipts]

    def start_node(self, node: Node, lane: str = "") -> None:
        """Start a node, with the rules of a lane by chance."""
        place = self._folder / node.name / "postwire.toml"
        body, _, _ = place.read_text().partition("[[routes")
        place.write_text(body + rules(lane or self.random.choice(LANES)))
        node.start()

    async def go_on(self, seconds: float) -> None:
        """Do to nodes and database what comes to mind, for so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self.random.uniform(0.3, 1.2))
            self._look_after()
            await self._do(self.random.choices(*zip(*self._deeds(), strict=True))[0])
        for task in self._later:
            await task

    def _deeds(self) -> list[tuple[Callable[[], Any], float]]:
        return [
            (self.kill, 0.42),
            (self.terminate, 0.2),
            (self.pause, 0.16),
            (self.drain_provider, 0.12),
            (self.age, 0.08),
        ]

    async def _do(self, deed: Callable[[], Any]) -> None:
        await deed()

    @property
    def _later(self) -> list[asyncio.Task[None]]:
        return [task for task in self._tasks if task.get_name() == "later"]

    def _look_after(self) -> None:
        """Start what has ended by itself, and fail where it had no reason."""
        for node in self.cluster.nodes:
            if node.gone.is_set() and node not in self._ending:
                self.done["started again"] += 1
                self.start_node(node)
        for task in [one for one in self._tasks if one.done()]:
            self._tasks.remove(task)
            task.result()

    def _one(self) -> Node | None:
        return self.random.choice(serving) if (serving := self.cluster.serving) else None

    async def kill(self) -> None:
        """kill -9."""
        if node := self._one():
            self.done["kills"] += 1
            self._ending.add(node)
            await node.kill()
            self._ending.discard(node)
            self.start_node(node)

    async def terminate(self) -> None:
        """SIGTERM, with a grace of which some is too short for what is under way."""
        if node := self._one():
            self.done["drained nodes"] += 1
            self._ending.add(node)
            node.signal(signal.SIGTERM)
            self._do_later(self._start_again(node))

    async def _start_again(self, node: Node) -> None:
        await node.wait()
        self._ending.discard(node)
        self.start_node(node)

    async def pause(self) -> None:
        """SIGSTOP, and SIGCONT before or after its lease."""
        if (node := self._one()) and len(self.cluster.serving) > 1:
            self.done["stops"] += 1
            node.pause()
            self._do_later(self._continue(node, self.random.uniform(0.5, 2.5 * LEASE)))

    async def _continue(self, node: Node, seconds: float) -> None:
        await asyncio.sleep(seconds)
        node.go_on()

    async def age(self, at_rest_for: float = AT_REST) -> None:
        """Some messages that have been settled for so many seconds become weeks old: the leader removes them."""
        but = {*self.ledger.aged, *self.vendor.unreported}
        try:
            found = await at_rest(self.url, at_rest_for, but, OLD)
            self.ledger.aged |= set(found)  # first, because a commit may be cut off
            await make_old(self.url, found)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self.ledger.other[f"age: {type(error).__name__}"] += 1
        self.done["aged"] = len(self.ledger.aged)

    async def drain_provider(self) -> None:
        """An operator drains a provider, and resumes it."""
        if not (node := self._one()):
            return
        self.done["drained providers"] += 1
        name = self.random.choice(PROVIDERS)
        try:
            async with connect(node.address) as channel:
                stub: Any = ProviderServiceStub(channel)
                await stub.DrainProvider(DrainProviderRequest(name=name), timeout=2 * LEASE)
        except grpc.aio.AioRpcError as error:
            self.ledger.other[f"drain: {error.code().name}"] += 1
        self._do_later(self.resume(name))

    async def resume(self, name: str) -> None:
        """Resume a provider at whatever node, until one has done it."""
        await asyncio.sleep(self.random.uniform(0.2, 1.0))
        await self.everywhere("ResumeProvider", ResumeProviderRequest(name=name))

    async def everywhere(self, method: str, asked: Any, *, all_nodes: bool = False) -> None:
        """Call one node, or each, again and again until it answers."""
        names = [node.name for node in self.cluster.nodes] if all_nodes else [""]
        for name in names:
            async with asyncio.timeout(PATIENCE):
                while not await self._operate(name, method, asked):
                    self._look_after()
                    await asyncio.sleep(ROOM)

    async def _operate(self, name: str, method: str, asked: Any) -> bool:
        nodes = [node for node in self.cluster.serving if name in ("", node.name)]
        if not nodes:
            return False
        try:
            async with connect(self.random.choice(nodes).address) as channel:
                await getattr(ProviderServiceStub(channel), method)(asked, timeout=2 * LEASE)
        except grpc.aio.AioRpcError as error:
            self.ledger.other[f"{method}: {error.code().name}"] += 1
            return False
        return True

    def _do_later(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work, name="later"))

    async def settle(self) -> OnRecord:
        """Let all be well, wait until nothing is under way, and return what is on record then."""
        for task in self._later:
            await task
        for node in self.cluster.nodes:
            if node.gone.is_set():
                self.start_node(node)
        for node in self.cluster.nodes:
            await node.ready()
        self.vendor.is_well = True
        self.callers.is_paused = True
        for name in MOCKS:
            well = UpdateMockProviderRequest(
                name=name, error_ratio=0, rate_limited_ratio=0, uncertain_ratio=0, rejected_ratio=0, latency=Duration(),
                delivered_ratio=0.3, undelivered_ratio=0,
            )  # fmt: skip
            await self.everywhere("UpdateMockProvider", well, all_nodes=True)
        for name in PROVIDERS:
            await self.everywhere("ResumeProvider", ResumeProviderRequest(name=name))
            await self.everywhere("ResetBreaker", ResetBreakerRequest(name=name))
        started = time.monotonic()
        found = record = None
        while time.monotonic() < started + PATIENCE:
            self._look_after()
            await asyncio.sleep(5 * ROOM)
            if self.callers.left or self.vendor.unreported or any(await left(self.url)):
                continue
            record = await on_record(self.url)
            found = self.verify(record)
            if not found:
                break
        return record or await on_record(self.url)

    def verify(self, record: OnRecord) -> dict[str, list[str]]:
        """See `verify.verify`, of all that was handed over."""
        return verify(Ledger(**{**vars(self.ledger), "handed": self.all_handed()}), record)

    def all_handed(self) -> list[Handed]:
        """What has come to providers of all kinds."""
        by_mocks = (one for node in self.cluster.nodes for one in handed_in(node.log, node.name))
        return [*self.ledger.handed, *by_mocks]

    def strange(self) -> list[str]:
        """What nodes and callers have said that they never should have."""
        ended = [f"ended with {code}: {count}" for code, count in self.cluster.ended.items() if code not in ENDS]
        return [*self.cluster.faults, *self.callers.faults, *ended]

    async def stop(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.cluster.end()
        await self.callers.stop()
        await self.vendor.stop()

    def summary(self, record: OnRecord) -> str:
        """What was done, and what came of it."""
        states = Counter(one.state.value for one in record.messages.values())
        uncertain = sum(
            attempt.outcome is Outcome.UNCERTAIN for one in record.messages.values() for attempt in one.attempts
        )
        figures = {
            "messages": len(record.messages),
            "answers": len(self.ledger.acknowledged),
            "handed over by HTTP": len(self.ledger.handed),
            "uncertain attempts": uncertain,
            "receipts": len(self.ledger.reported),
            "cancels": len(self.ledger.cancelled),
            "removed": len(self.ledger.aged - record.messages.keys()),
        }
        parts: Mapping[str, Mapping[Any, int]] = {
            "done": self.done,
            "figures": figures,
            "states": states,
            "ended": self.cluster.ended,
            "failures": self.callers.failures,
            "other": self.ledger.other,
        }
        return "; ".join(f"{name}: {dict(counts)}" for name, counts in parts.items())


ENDS: Final = (0, -signal.SIGKILL, DEAD)
"""How a node may end."""


class LocalChaos(Chaos):
    """The same with a database of its own, which crashes. The machine does not, and so nothing needs to be synced."""

    def __init__(self, folder: Path, **options: Any) -> None:
        """`options` are as for `Chaos`."""
        self.database = CopiedPostgres.make({"shared_buffers": "64MB", "max_connections": "200", "fsync": "off"})
        super().__init__(folder, self.database.url(), **options)

    def _deeds(self) -> list[tuple[Callable[[], Any], float]]:
        return [*super()._deeds(), (self.crash_database, 0.1)]

    async def crash_database(self) -> None:
        """An immediate shutdown, and a start a moment later."""
        await self.away(self.random.uniform(0.0, 1.5))

    async def away(self, seconds: float) -> None:
        """An immediate shutdown, and a start after so many seconds."""
        self.done["shutdowns"] += 1
        await asyncio.to_thread(self.database.stop, immediate=True)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.database.start)

    async def stop(self) -> None:
        """See `Chaos.stop`."""
        await super().stop()
        await asyncio.to_thread(self.database.remove)
