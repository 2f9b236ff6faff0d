"""The composition root: the one file that names concrete classes. Boots in one order, and closes in reverse."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from postwire import __version__, app_log
from postwire.api.access import Access
from postwire.api.server import ApiServer, ListenError
from postwire.api.tokens import TenantTokens
from postwire.auth.control import AccessControl
from postwire.auth.fetching import fetch_text
from postwire.clock import Clock
from postwire.config.bind import ConfigError
from postwire.config.digest import digest
from postwire.config.encryption_keys import keys_of
from postwire.config.encryption_keys import warnings_of as encryption_warnings
from postwire.config.schema import Config
from postwire.core.errors import StoreUnavailable
from postwire.core.ids import MessageIds, RandomBits
from postwire.core.inbound import Words
from postwire.core.splitmix import stream
from postwire.daemon import leaves_work_behind, loop_factory, stop_signal
from postwire.delivery import (
    GUARD_KEYS,
    QUOTA_KEYS,
    AuditTrail,
    Control,
    Delivery,
    Limits,
    Stats,
    Suppressions,
    WrongKey,
    quotas_from,
)
from postwire.delivery.inbox import inbox_of
from postwire.delivery.peers import Peers
from postwire.delivery.shared_work import SharedWork
from postwire.descriptors import STDERR
from postwire.listeners import ListenerCertificates, drain, web_endpoint
from postwire.maintenance import Maintenance
from postwire.maintenance.rekeying import Rekeying
from postwire.maintenance.reloading import Reloading
from postwire.nodes.duties import NodeDuties
from postwire.notify.duty import NotifyDuty
from postwire.outbox.base import Outbox, OutboxError
from postwire.providers.builtin import KINDS
from postwire.providers.checks import ProviderChecks
from postwire.providers.opening import ProviderOpening
from postwire.providers.registry import ProviderNotMade, Registry
from postwire.providers.renewal import renewables
from postwire.providers.reporting import ReportingProviders, refuse_unreported
from postwire.receipts.endpoint import ReceiptEndpoint
from postwire.receipts.keys import references
from postwire.receipts.readers import Readers
from postwire.receipts.service import Receipts
from postwire.receipts.suppressing import AutomaticSuppressions
from postwire.reload import Prepared, Reloadable, Reloader
from postwire.signals import HangUp
from postwire.stores import Interrupted, open_store
from postwire.telemetry import logs, names
from postwire.telemetry.base import Observers
from postwire.telemetry.environment import OtelSettings, TelemetryError
from postwire.telemetry.line_writer import LineWriter
from postwire.telemetry.logs import EventLog
from postwire.telemetry.receipts import ReceiptFigures
from postwire.telemetry.setup import MetricsListenError, Telemetry, probes_of

if TYPE_CHECKING:
    from postwire.notify.service import Notify

SEED_BITS: Final = 64
GC_THRESHOLDS: Final = (20_000, 20, 50)
"""How often the collector looks for cycles. A message leaves none; by default it would look every few dozen of them."""

TELEMETRY_TIME: Final = 2.0
"""Seconds that telemetry has to flush, so that a dead collector does not hold up an idle server."""

TELEMETRY_MARGIN: Final = 0.5
"""Seconds that telemetry has to flush where the drain has used up the grace."""

NOTIFY_TIME: Final = 2.0
"""Seconds that what is being posted to hooks has to end: it comes again after the next start."""

LEFT_BEHIND_TIME: Final = 0.5
"""Seconds that what providers have begun has to end, once everything else has."""

NODE_DEAD: Final = 5
"""The exit code of a node that the others have taken for dead."""

NODE_DEAD_TIME: Final = 10.0
"""Seconds that it has to end in order. None of what is under way can be kept."""

_log = EventLog()


class BootError(Exception):
    """The service cannot start. One line for the terminal, which names the key to look at."""


def run(config: Config, hang_up: HangUp, read_again: Callable[[], Config]) -> int:
    """Serve until SIGTERM or SIGINT, finish what is under way, and return the exit code.

    SIGHUP does the same, or has the configuration read again, as `hang_up` says.

    Raises:
        BootError: it cannot start.
        ConfigError: what the configuration leads to is of no use.
    """
    logs.setup(
        log_format=config.telemetry.log_format,
        log_level=config.telemetry.log_level,
        sink=LineWriter(STDERR, logs.dropped_line, encoding=sys.stderr.encoding),
        is_terminal=os.isatty(STDERR),
    )
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            try:
                code = runner.run(_serve(config, hang_up, read_again))
            except Interrupted as interrupted:
                _log.info(names.EVENT_STOPPED, unfinished=0)
                return NODE_DEAD if interrupted.is_dead else 0
            if runner.run(leaves_work_behind(LEFT_BEHIND_TIME)):
                logs.close()
                os._exit(code)  # all is stored and logged, and what is left is a provider's own
            return code
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the loop has given them back, and it is the end already
        logs.close()


async def _serve(config: Config, hang_up: HangUp, read_again: Callable[[], Config]) -> int:
    stop = stop_signal(signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if hang_up.drains else ()))
    try:
        otel = OtelSettings.read(os.environ, configured_endpoint=config.telemetry.otlp_endpoint)
    except TelemetryError as error:
        raise BootError(str(error)) from None
    certificates = ListenerCertificates.read(config)
    keys = keys_of(config.store.encryption_keys_file)
    probes = probes_of(config.telemetry, certificates.metrics)
    async with AsyncExitStack() as closing:
        if probes:
            closing.push_async_callback(probes.stop)
        try:
            store = await open_store(config, keys, stop, probes)
        except (OutboxError, MetricsListenError) as error:
            raise BootError(str(error)) from None
        closing.push_async_callback(store.close)
        outbox, clock, node, patiently = store.outbox, store.clock, store.node, store.patiently
        node.on_dead = partial(_end, stop)
        observers = Observers(on_fault=_log.fault)
        seed = secrets.randbits(SEED_BITS) if config.delivery.seed is None else config.delivery.seed
        inbox = inbox_of(config, clock, secrets.token_hex)
        try:
            registry = Registry.build(
                config,
                KINDS,
                random_seed=lambda: secrets.randbits(SEED_BITS),
                seed=seed,
                report=lambda name: lambda reported: receipts.inbox.keep(name, reported),
                to_inbox=inbox.of_provider if inbox else None,
                on_transition=observers.breaker_changed,
                on_availability=app_log.provider_availability,
                on_fault=_log.fault,
            )
        except ProviderNotMade as error:
            raise BootError(str(error)) from error
        closing.push_async_callback(_close, registry)
        node.queue_keys = registry.queue_keys()
        checks = ProviderChecks((entry.provider for entry in registry), app_log.check, on_fault=_log.fault)
        closing.push_async_callback(checks.stop)
        opening = ProviderOpening(registry, jitter=stream(seed, "opening").next_unit, on_fault=_log.fault)
        closing.push_async_callback(opening.stop)
        notify = _notify(config, outbox, clock, seed) if config.notify else None
        try:
            telemetry = Telemetry(
                config.telemetry,
                otel,
                lambda: store.gauges(receipts.held),
                lambda: _breaker_states(registry),
                lambda: delivery.queue_depths,
                lambda: server.unready_reason,
                probes,
                tenants=lambda: delivery.tenants,
                hooks=notify.reports if notify else None,
                node=store.reports.report if store.reports else None,
            )
        except ConfigError:
            raise
        except Exception as error:  # the SDK reads more variables than we know, and each fails in its own way
            raise BootError(
                f"OTEL_*: one of these variables is not what OpenTelemetry's SDK takes ({type(error).__name__})"
            ) from None
        receipt_figures = ReceiptFigures()
        observers.add(*telemetry.observers, receipt_figures)
        limits = Limits.from_config(config)
        has_auto = config.suppression.auto
        try:
            notes_refusals = has_auto and bool(config.receipts.listen)
            suppressions = await patiently(
                lambda: Suppressions.open(outbox, clock, config.suppression.key, notes_refusals=notes_refusals), stop
            )
            lookup_key = await patiently(outbox.lookup_key, stop)
        except WrongKey as error:
            raise BootError(str(error)) from None
        except StoreUnavailable as error:
            raise BootError(f"{config.store.key}: {config.store.place}: {error}") from None
        words = Words(config.inbound.stop, config.inbound.start)
        automatic = AutomaticSuppressions(outbox, clock, suppressions.addresses, words, lambda: delivery.tenants)
        readers = Readers(config, KINDS) if config.receipts.listen else None
        reporting = ReportingProviders(registry, readers.names if readers else ())
        receipts = Receipts(
            config.receipts,
            reference_maker := references(config.receipts, lookup_key),
            suppressions.addresses,
            providers=reporting,
            deduplicating=frozenset(entry.provider.name for entry in registry if entry.dedup_window),
            outbox=outbox,
            clock=clock,
            observer=observers,
            on_reported=automatic.reported if has_auto else None,
            on_inbound=automatic.inbound,
            is_shared=node.is_shared,
        )
        endpoint = None
        if readers:
            endpoint = ReceiptEndpoint(
                config.receipts,
                certificates.receipts,
                readers,
                reference_maker,
                keep=receipts.inbox.keep,
                observer=observers,
                clock=clock,
                on_fault=_log.fault,
            )
            closing.callback(endpoint.release)
        delivery = Delivery(
            registry=registry,
            outbox=outbox,
            clock=clock,
            ids=MessageIds(RandomBits(os.urandom)),
            observer=observers,
            limits=limits,
            seed=seed,
            suppressions=suppressions,
            tracker=receipts.tracker,
            recipient_hashes=receipts.recipient_hashes,
            may_act=node.may_act if node.is_shared else None,
            is_shared=node.is_shared,
            inbox=inbox,
        )
        observers.add(stats := Stats(outbox, clock, delivery.clock_steps, max_unsettled=limits.max_unsettled))
        refuse_unreported(registry, receipts.tracker.addresses.providers)
        maintenance = Maintenance(
            delivery,
            registry=registry,
            outbox=outbox,
            clock=clock,
            observer=observers,
            limits=limits,
            others=lambda: node.served_keys,
        )
        closing.push_async_callback(maintenance.stop)
        nodes = NodeDuties(node, store.terms, outbox=outbox, clock=clock, delivery=delivery, maintenance=maintenance)
        closing.push_async_callback(nodes.close)
        rekeying = Rekeying(
            outbox=outbox, clock=clock, keys=keys, is_leader=(lambda: node.is_leader) if node.is_shared else None
        )
        closing.push_async_callback(rekeying.stop)
        closing.push_async_callback(delivery.close)
        closing.push_async_callback(receipts.stop)
        peers = Peers(lease=config.nodes.lease, clock=clock) if node.is_shared else None
        control = Control(registry=registry, outbox=outbox, clock=clock, peers=peers)
        control.on_updated = reporting.look
        access_control = AccessControl(config, fetch=fetch_text, clock=clock, on_trouble=app_log.key_trouble)
        closing.push_async_callback(access_control.stop)
        access = Access(access_control.authenticator, clock, app_log.refused_credentials)
        audit = AuditTrail(outbox, clock)
        server = ApiServer(
            config.server,
            delivery,
            control,
            access,
            audit,
            rekeying,
            outbox,
            stats,
            suppressions,
            inbox,
            telemetry.call_observers,
            receipts=receipt_figures,
            tokens=TenantTokens(lookup_key, lambda: bool(delivery.tenants)),
            certificates=certificates.server,
        )
        closing.callback(server.release)
        web = web_endpoint(config, certificates, server, inbox, access.authenticates, _log.fault)
        if web:
            closing.callback(web.release)
        try:
            address = server.listen(config.server.listen)
            http_address = web.listen() if web else ""
            receipts_address = endpoint.listen() if endpoint else ""
            metrics_address = await telemetry.start()
        except (ListenError, MetricsListenError) as error:
            raise BootError(str(error)) from None
        outbox.on_availability(server.set_ready)
        outbox.on_availability(app_log.availability)
        store.on_gone(lambda: _log.error(names.EVENT_STORE_GONE, store=config.store.place))
        app_log.warnings(
            *store.warnings,
            *encryption_warnings(config.store.encryption_keys_file, has_tenants=bool(config.tenants)),
            *certificates.warnings,
            *(readers.warnings() if readers else ()),
        )
        app_log.boot(config, registry)
        access_control.start()
        await opening.start()
        try:
            await patiently(control.restore, stop)
            shared_work = None
            if peers:
                shared_work = SharedWork(node, peers, control, registry, delivery.backlog, clock, digest(config))
                nodes.leadership.add(receipts.duties)
            await patiently(lambda: receipts.connect(delivery.settled_in_queue), stop)
            await patiently(maintenance.start, stop)
            if notify:
                closing.push_async_callback(notify.stop, 0.0)
                if node.is_shared:
                    nodes.leadership.add(NotifyDuty(notify, store=outbox))
                else:
                    await notify.start()
            nodes.start()
            receipts.start()
            rekeying.start()
        except StoreUnavailable as error:
            raise BootError(f"{config.store.key}: {config.store.place}: {error}") from None
        # Else those who call at once, as many do where a server comes back, would be refused for good.
        await access_control.until_fetched()
        await patiently(node.announce, stop)  # before anything waits in its queues
        await server.start(ready=outbox.available)
        for listener in (web, endpoint):
            if listener:
                listener.start()
        # What the boot has made stays for good: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        _log.info(
            names.EVENT_SERVING,
            listen=address,
            metrics_listen=metrics_address,
            **({"http_listen": http_address} if http_address else {}),
            **({"receipts_listen": receipts_address} if receipts_address else {}),
            store=config.store.place,
            version=__version__,
        )
        checks.start()
        parts = (
            *RELOADABLES,
            Reloadable(QUOTA_KEYS, lambda new: Prepared(partial(delivery.take_quotas, quotas_from(new)))),
            Reloadable(GUARD_KEYS, lambda new: Prepared(partial(delivery.guards.replace, new.guards.rules))),
            access_control.reloadable,
            rekeying.reloadable,
            *store.reloadables,
            *server.reloadables,
            *telemetry.reloadables,
            *(web.reloadables if web else ()),
            *(endpoint.reloadables if endpoint else ()),
            *(notify.reloadables if notify else ()),
            *renewables(registry, config, clock=clock, checks=checks, on_fault=_log.fault),
        )
        reloader = Reloader(config, read_again, parts)
        if shared_work:
            announce = shared_work.reconfigured
            reloader.on_applied = lambda new, left: announce(digest(new, config, left))
        reloading = Reloading(reloader, outbox=outbox, clock=clock)
        if not hang_up.drains:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloading.reload)
            if hang_up.is_pending:
                reloading.reload()
        reloading.start()
        received = await stop
        await reloading.stop()
        await nodes.stop()
        grace = 0.0 if node.is_dead else config.server.grace
        end = clock.monotonic() + grace
        _log.info(names.EVENT_DRAINING, signal=received, in_flight=delivery.in_flight)
        unfinished, _ = await asyncio.gather(
            drain(server, delivery, web, grace),
            endpoint.stop(grace) if endpoint else asyncio.sleep(0),
        )
        if notify:
            await notify.stop(min(NOTIFY_TIME, max(0.0, end - clock.monotonic())))
        await telemetry.stop(min(TELEMETRY_TIME, max(TELEMETRY_MARGIN, end - clock.monotonic())))
    _log.info(names.EVENT_STOPPED, unfinished=unfinished)
    return NODE_DEAD if node.is_dead else 0


def _end(stop: asyncio.Future[str]) -> None:
    """Have the process end, since the others have taken it for dead: at once, whatever is under way."""
    if not stop.done():
        stop.set_result("")
    asyncio.get_running_loop().call_later(NODE_DEAD_TIME, os._exit, NODE_DEAD)


def _notify(config: Config, outbox: Outbox, clock: Clock, seed: int) -> Notify:
    from postwire.notify.service import Notify  # with aiohttp, which costs part of the boot

    try:
        return Notify(config.notify, store=outbox, clock=clock, seed=seed)
    except OSError as error:
        raise BootError(f"notify: a ca_file cannot be used ({error.strerror or type(error).__name__})") from None


def _prepare_logs(config: Config) -> Prepared:
    telemetry = config.telemetry
    return Prepared(partial(logs.configure, log_format=telemetry.log_format, log_level=telemetry.log_level))


RELOADABLES: Final = (Reloadable(("telemetry.log_format", "telemetry.log_level"), _prepare_logs),)
"""What can change without a restart."""


def _breaker_states(registry: Registry) -> dict[str, str]:
    return {entry.provider.name: entry.gate.breaker.state.value for entry in registry}


async def _close(registry: Registry) -> None:
    try:
        await registry.close()
    except ExceptionGroup as group:
        for error in group.exceptions:
            _log.fault(error)
