"""Opens the store that the configuration names: a file, or a database that several nodes share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from postwire import app_log
from postwire.clock import Clock, SystemClock
from postwire.config.database_url import missing_for, unusable_files
from postwire.config.encryption_keys import EncryptionKey
from postwire.config.schema import Config
from postwire.core.errors import StoreUnavailable
from postwire.core.leases import Terms
from postwire.nodes.clock import NodeClock
from postwire.nodes.node import Node
from postwire.nodes.report import NodeReports
from postwire.outbox.base import NodeDead, Outbox, OutboxError
from postwire.outbox.sqlite import SqliteOutbox
from postwire.reload import Prepared, Reloadable
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog
from postwire.telemetry.setup import STARTING

if TYPE_CHECKING:
    from postwire.telemetry.probes import Probes

T = TypeVar("T")

TRY_AGAIN: Final = 1.0
"""Seconds until a database is asked again that cannot be reached."""

WAITING: Final = "starting: waiting for the database (store.url)"
"""Why a node is not ready whose boot waits."""

LEAVE_TIME: Final = 2.0
"""Seconds that it may take to say to the others that this node is gone. Else they find out by its lease."""

_log = EventLog()


class Interrupted(Exception):
    """The process is to end, before it could serve. `is_dead`: the others have taken it for dead."""

    def __init__(self, *, is_dead: bool = False) -> None:
        super().__init__("the process is to end")
        self.is_dead = is_dead


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store, the clock that goes with it, and what this process is among those that serve it.

    `warnings` are for the operator, a line each. `on_gone` has somebody called when the store was moved away.
    `reports` are for metrics, where several nodes may share it. `reloadables`: what can change while it is open.
    """

    outbox: Outbox
    clock: Clock
    node: Node
    terms: Terms
    warnings: Sequence[str] = ()
    on_gone: Callable[[Callable[[], None]], None] = lambda callback: None
    reports: NodeReports | None = None
    reloadables: Sequence[Reloadable] = ()

    async def gauges(self, held: Callable[[], Awaitable[int]]) -> dict[str, float]:
        """The values of the gauges of the outbox and the store, as far as they can be had. `held` counts the receipts
        whose message is not known yet."""
        found = {names.STORE_AVAILABLE: float(self.outbox.available)}
        if self.reports:
            await self.reports.refresh()
        try:
            stats = await self.outbox.stats()
            found[names.RECEIPTS_HELD] = await held()
        except StoreUnavailable:
            return found
        age = 0.0 if stats.oldest_create_time is None else (self.clock.wall() - stats.oldest_create_time) / 1e6
        return found | {names.OUTBOX_DEPTH: stats.unsettled, names.OUTBOX_OLDEST_AGE: max(age, 0.0)}

    async def patiently(self, work: Callable[[], Awaitable[T]], stop: asyncio.Future[str]) -> T:
        """Do what a boot asks of the store. A database may be away just then: then again and again, until it is back.

        Raises:
            StoreUnavailable: it is a file, and cannot be used.
            Interrupted: `stop` came before.
        """
        while self.node.is_shared:
            working: asyncio.Future[Any] = asyncio.ensure_future(work())
            await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                working.cancel()
                await asyncio.wait([working])
                break
            with suppress(StoreUnavailable):
                result: T = working.result()
                return result
            await asyncio.wait([stop], timeout=TRY_AGAIN)
            if stop.done():
                break
        else:
            return await work()
        raise Interrupted(is_dead=self.node.is_dead)

    async def close(self) -> None:
        """Leave it, as the last thing that is asked of it, and close it."""
        await self.node.stop()
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(LEAVE_TIME):
                await self.outbox.leave()
        await self.outbox.close()


async def open_store(
    config: Config, keys: Sequence[EncryptionKey], stop: asyncio.Future[str], probes: Probes | None = None
) -> OpenedStore:
    """Open it. A database that cannot be reached is waited for, and meanwhile `probes` say so.

    Raises:
        MetricsListenError: nobody could ask that.
        OutboxError: it cannot be opened, and no second try would help.
        Interrupted: `stop` came before.
    """
    terms = Terms(int(config.nodes.lease * 1e6), int(config.nodes.beat * 1e6))
    kept: dict[str, Any] = {
        "keep_contents": config.store.content_retention > 0,
        "keep_contents_of": {
            name: one.content_retention > 0 for name, one in config.tenants.items() if one.content_retention is not None
        },
        "keys": keys,
    }
    if config.store.url is None:
        file = await SqliteOutbox.open(str(config.store.path), sync=config.store.sync, **kept)
        node = Node(file, terms)
        await node.start()
        return OpenedStore(file, SystemClock(), node, terms, file.warnings, file.on_gone)
    for wrong in (*missing_for(config.store.url), *unusable_files(config.store.url)):
        raise OutboxError(str(wrong))
    if not probes:
        return await _until_joined(config, config.store.url, terms, kept, stop)
    probes.unready_reason = lambda: WAITING
    await probes.listen()
    opened = await _until_joined(config, config.store.url, terms, kept, stop)
    probes.unready_reason = lambda: STARTING if opened.outbox.available else WAITING
    return opened


async def _until_joined(
    config: Config, url: str, terms: Terms, kept: dict[str, Any], stop: asyncio.Future[str]
) -> OpenedStore:
    is_reported = False
    while True:
        joining: asyncio.Future[Any] = asyncio.ensure_future(_join(config, url, terms, kept))
        await asyncio.wait({joining, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not joining.done():
            joining.cancel()
            await asyncio.wait([joining])
            raise Interrupted
        try:
            opened: OpenedStore = joining.result()
        except (StoreUnavailable, NodeDead):
            if not is_reported:
                app_log.availability(False)
                is_reported = True
            await asyncio.wait([stop], timeout=TRY_AGAIN)
            if stop.done():
                raise Interrupted from None
            continue
        if is_reported:
            app_log.availability(True)
        _log.info(names.EVENT_JOINED, node=opened.node.number, name=config.nodes.called)
        return opened


async def _join(config: Config, url: str, terms: Terms, kept: dict[str, Any]) -> OpenedStore:
    # With asyncpg, which not everybody has.
    from postwire.outbox.postgres.database import Refused
    from postwire.outbox.postgres.store import PostgresOutbox

    try:
        outbox: Any = await PostgresOutbox.open(
            url, password=config.store.password, name=config.nodes.called, lease=config.nodes.lease, **kept
        )
    except Refused as error:
        raise OutboxError(
            f"store.url: {config.store.place}: the database does not do what it is asked ({error})"
        ) from None
    clock = NodeClock()
    node = Node(outbox, terms, clock)
    try:
        await node.start()
        warnings = [
            f"store.url: the index {name} is missing, and some queries are slow: run postwire store migrate"
            for name in await outbox.missing_indexes()
        ]
    except BaseException:
        await node.stop()
        await outbox.close()
        raise
    password = Reloadable(
        ("store.password", "store.password_file"),
        lambda new: Prepared(partial(outbox.database.use_password, new.store.password)),
    )
    reports = NodeReports(node, outbox, clock)
    return OpenedStore(outbox, clock, node, terms, warnings, reports=reports, reloadables=(password,))
