"""Puts telemetry together from what the configuration and the `OTEL_*` variables ask for, and takes it down in time.

What is not asked for is not imported: the SDK, the exporter and the HTTP server cost half of the boot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from postwire import __version__
from postwire.config.schema import TelemetryConfig
from postwire.config.tls import Certificates
from postwire.daemon import run_in_daemon
from postwire.reload import Reloadable
from postwire.telemetry import logs, names
from postwire.telemetry.base import CallObserver, Observer
from postwire.telemetry.environment import OtelSettings
from postwire.telemetry.log_observer import LogObserver

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from postwire.telemetry.durations import FetchedReader, PushedReader
    from postwire.telemetry.exposition import MetricsPage
    from postwire.telemetry.hook_metrics import ReadHooks
    from postwire.telemetry.node_metrics import ReadNode
    from postwire.telemetry.probes import Probes

ReadGauges = Callable[[], Awaitable[Mapping[str, float]]]
ReadBreakers = Callable[[], Mapping[str, str]]
ReadTenants = Callable[[], Collection[str]]
ReadQueues = Callable[[], Mapping[str, int]]
Shutdown = Callable[[float], object]
"""Sends what is left, in at most so many seconds. Blocks."""

REFRESH_INTERVAL: Final = 15.0
"""Seconds between two looks at the store, for metrics that are pushed. Those that are fetched look when fetched."""


STARTING: Final = "starting"
"""Why a server is not ready, until there is more to say."""


class MetricsListenError(Exception):
    """The address for metrics and probes cannot be listened on. One line for people."""


@dataclass(slots=True)
class _Gauges:
    """The values that have to be asked for, as of the last time."""

    read: ReadGauges
    values: Mapping[str, float] = field(default_factory=dict)

    async def refresh(self) -> None:
        """Ask."""
        self.values = await self.read()

    async def keep_fresh(self) -> None:
        """Ask again and again."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_INTERVAL)


def probes_of(config: TelemetryConfig, certificates: Certificates | None) -> Probes | None:
    """What is to listen for probes, if anything is: see `Probes`."""
    if not config.metrics_listen:
        return None
    from postwire.telemetry.probes import Probes

    return Probes(config, certificates)


class Telemetry:
    """All that observes this server: attach `observers` to the delivery and `call_observers` to the API."""

    def __init__(
        self,
        config: TelemetryConfig,
        otel: OtelSettings,
        read_gauges: ReadGauges,
        providers: ReadBreakers,
        queue_depths: ReadQueues,
        unready_reason: Callable[[], str],
        probes: Probes | None = None,
        tenants: ReadTenants = tuple,
        hooks: ReadHooks | None = None,
        node: ReadNode | None = None,
    ) -> None:
        """What they read must not raise.

        `read_gauges` gives the values of the gauges of the outbox and the store; `providers`, on any thread, the name
        of every provider with its breaker's state, and `queue_depths` the key of every queue with how many of its
        messages are not settled; `unready_reason` why the server is not ready, or nothing. `probes` show this from
        `start` on. `tenants` gives those that are declared, on any thread: where there are any, their callers do not
        decide what is sampled. `hooks` gives what is shown of those that there are, and `node`, where several may share
        the store, of this one.
        """
        self.observers: list[Observer] = [LogObserver()]
        self.call_observers: list[CallObserver] = []
        self._gauges = _Gauges(read_gauges)
        self._refreshing: asyncio.Task[None] | None = None
        self._shutdowns: list[Shutdown] = []
        self._pushes_metrics = otel.metrics
        self._probes = probes
        self._unready_reason = unready_reason
        self._page: MetricsPage | None = None
        readers: list[FetchedReader | PushedReader] = []
        if probes and otel.prometheus:
            from postwire.telemetry.exposition import MetricsPage

            self._page = MetricsPage(self._gauges.refresh)
            readers.append(self._page.reader)
        if otel.metrics:
            from postwire.telemetry.otlp import metric_reader

            readers.append(metric_reader(config.otlp_endpoint))
        if readers:
            from opentelemetry.sdk.metrics import MeterProvider

            from postwire.telemetry.metrics import Metrics

            meters = MeterProvider(readers, service_resource(), shutdown_on_exit=False)
            meter = meters.get_meter(names.SCOPE, __version__)
            labels = tenants if config.tenant_label else None
            metrics = Metrics(meter, lambda: self._gauges.values, providers, queue_depths, logs.dropped, labels)
            if hooks:
                from postwire.telemetry.hook_metrics import observe_hooks

                observe_hooks(meter, hooks)
            if node:
                from postwire.telemetry.node_metrics import observe_node

                observe_node(meter, node)
            for reader in readers:
                reader.durations = metrics.durations
            self.observers.append(metrics)
            self.call_observers.append(metrics)
            self._shutdowns.append(lambda timeout: meters.shutdown(timeout_millis=timeout * 1000))
        if otel.traces:
            self._trace(config.otlp_endpoint, continues=otel.continues_traces, trusts_callers=lambda: not tenants())

    def _trace(self, endpoint: str | None, *, continues: bool, trusts_callers: Callable[[], bool]) -> None:
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider

        from postwire.telemetry.otlp import SpanExport
        from postwire.telemetry.tracing import Tracer

        # Asked for what the environment's variables mean, then discarded: see `tracing`.
        resource = service_resource()
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        export = SpanExport(resource, endpoint)
        tracer = Tracer(
            sampler=provider.sampler,
            ids=provider.id_generator,
            sink=export,
            continues=continues,
            trusts_callers=trusts_callers,
            max_events=SpanLimits().max_events,
        )
        # First, so that a log line of an attempt can name its trace.
        self.observers.insert(0, tracer)
        self.call_observers.insert(0, tracer)
        self._shutdowns.append(export.shutdown)

    @property
    def reloadables(self) -> Sequence[Reloadable]:
        """What can change while it serves."""
        return (self._probes.tls.renewal.reloadable,) if self._probes and self._probes.tls else ()

    async def start(self) -> str:
        """Listen for probes and those who fetch metrics, and return the address; empty where there is none.

        Raises:
            MetricsListenError: the address is taken, or not this machine's.
        """
        if self._pushes_metrics:
            self._refreshing = asyncio.get_running_loop().create_task(self._gauges.keep_fresh())
        if self._probes is None:
            return ""
        self._probes.unready_reason = self._unready_reason
        self._probes.metrics = self._page.answer if self._page else None
        return await self._probes.listen()

    async def stop(self, timeout: float) -> None:
        """Send what is left and release everything, in at most `timeout` seconds, whatever the collector does."""
        if self._refreshing:
            self._refreshing.cancel()
        if self._probes:
            await self._probes.stop()
        await _run_beside(self._shutdowns, timeout)


async def _run_beside(shutdowns: list[Shutdown], timeout: float) -> None:
    """Run them side by side, and stop waiting after `timeout` seconds: a dead collector is to hold up nothing."""
    waiting = [run_in_daemon(partial(shutdown, timeout), "postwire-telemetry") for shutdown in shutdowns]
    if waiting:
        await asyncio.wait(waiting, timeout=timeout)


def service_resource() -> Resource:
    """Return the resource by `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`; without a name in them, it is ours."""
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": names.SERVICE_NAME}))
    return resource
