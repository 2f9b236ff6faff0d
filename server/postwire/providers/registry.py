"""The providers of this server, by name, and the routes, by channel. Built once, at boot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import Final

from postwire.config.providers import ProviderConfig
from postwire.config.schema import Config
from postwire.core.breaker import Breaker, BreakerSettings, Transition
from postwire.core.errors import FieldViolation, InvalidMessage, InvalidProvider, InvalidRouting, ProviderNotFound
from postwire.core.gate import Gate, GateSettings
from postwire.core.message import Channel, OutboundMessage
from postwire.core.obstacles import Obstacle
from postwire.core.queue_keys import variant
from postwire.core.routing import Route, Tier, matching
from postwire.core.splitmix import stream
from postwire.providers import capabilities
from postwire.providers.base import Context, Kind, Provider, Report, ToInbox, no_inbox, unheard

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that all providers have to close."""

LEASE_FACTOR: Final = 2
"""How many times its time limit a probe of a breaker may take before it counts as failed without having ended."""


class ProviderNotMade(Exception):
    """A kind cannot make a provider of its settings. One line that names the key, and nothing of what they say."""

    def __init__(self, declared: ProviderConfig, error: Exception) -> None:
        kind = f"the kind {declared.kind} fails to make it"
        super().__init__(f"providers.{declared.name}: {kind} ({type(error).__name__}), check its settings")


OnTransition = Callable[[str, Transition], None]

OnAvailability = Callable[[str, Obstacle | None, str], None]


class ProviderEntry:
    """A provider, with what the server keeps about it. `attempt_timeout` and `dedup_window` are in seconds.

    `carries` is the provider's, and None where it carries everything.
    """

    __slots__ = ("attempt_timeout", "carries", "dedup_window", "gate", "provider")

    def __init__(self, provider: Provider, gate: Gate, *, attempt_timeout: float) -> None:
        self.provider = provider
        self.gate = gate
        self.attempt_timeout = attempt_timeout
        self.dedup_window = capabilities.dedup_window_of(provider)
        self.carries = capabilities.carries_of(provider)


class Registry:
    """Every provider that is declared, in the order of declaration, and the routes that lead to them."""

    def __init__(
        self,
        entries: Sequence[ProviderEntry],
        routes: Mapping[Channel, Sequence[Route]],
        on_fault: Callable[[Exception], None] | None = None,
    ) -> None:
        """The first route of a channel whose rule matches is taken; the configuration has checked the names.

        `on_fault` is called with what a provider's `carries` raises.
        """
        self._on_fault = on_fault
        self._selective = {entry.provider.name: entry for entry in entries if entry.carries}
        self._variants: dict[tuple[str, frozenset[str]], Route] = {}  # by key and who is left out
        self._entries = {entry.provider.name: entry for entry in entries}
        self._routes = {channel: tuple(routes.get(channel, ())) for channel in Channel}
        self._pinned = {name: Route(key=f"@{name}", tiers=(Tier(((name, 1),)),)) for name in self._entries}
        self._by_queue_key = {route.queue_key: route for route in (*self.all_routes(), *self._pinned.values())}

    @classmethod
    def build(
        cls,
        config: Config,
        kinds: Mapping[str, Kind],
        *,
        random_seed: Callable[[], int],
        seed: int,
        report: Callable[[str], Report] = lambda _: unheard,
        to_inbox: Callable[[str], ToInbox] | None = None,
        on_transition: OnTransition | None = None,
        on_availability: OnAvailability | None = None,
        on_fault: Callable[[Exception], None] | None = None,
    ) -> Registry:
        """Make every provider that the configuration declares.

        `random_seed` gives 64 random bits; `seed` decides all jitter. `report` gives, by a provider's name, what keeps
        the receipts that it brings itself, and `to_inbox` what shows the messages that it took, if it is simulated.
        Transitions of the breakers go to `on_transition`, and what it raises to `on_fault`; whether a provider can be
        used at all goes to `on_availability`, with what stands in the way and why.

        Raises:
            ProviderNotMade: one of them cannot be made.
        """
        entries = [
            ProviderEntry(
                make(
                    declared,
                    kinds,
                    random_seed,
                    report(declared.name),
                    to_inbox(declared.name) if to_inbox else no_inbox,
                ),
                _gate(config, declared, seed, on_transition, on_availability, on_fault),
                attempt_timeout=declared.attempt_timeout,
            )
            for declared in config.providers.values()
        ]
        return cls(entries, config.routes, on_fault)

    def __iter__(self) -> Iterator[ProviderEntry]:
        return iter(self._entries.values())

    def entry(self, name: str) -> ProviderEntry:
        """The provider of that name.

        Raises:
            ProviderNotFound: there is none.
        """
        try:
            return self._entries[name]
        except KeyError:
            raise ProviderNotFound from None

    def routes(self, channel: Channel) -> tuple[Route, ...]:
        """The routes of `channel`, first choice first; empty where nobody carries it."""
        return self._routes[channel]

    def all_routes(self) -> Iterator[Route]:
        """The routes of every channel, without those of pinned providers."""
        return chain.from_iterable(self._routes.values())

    def carriers(self, channel: Channel) -> tuple[ProviderEntry, ...]:
        """The providers that some route of `channel` leads to, each once."""
        names = dict.fromkeys(name for route in self._routes[channel] for name in route.names)
        return tuple(self._entries[name] for name in names)

    def route_by_queue_key(self, queue_key: str) -> Route | None:
        """The route whose messages wait in that queue, if the configuration still has it.

        Without some of its providers, a route is known from the first message on that they cannot carry: see `adopt`.
        """
        return self._by_queue_key.get(queue_key)

    def queue_keys(self) -> Collection[str]:
        """The keys of all queues whose messages have a route here, as far as these are known."""
        return self._by_queue_key.keys()

    def adopt(
        self, queue_key: str, message: OutboundMessage, tenant: str, positions: tuple[int, ...] | None = None
    ) -> Route | None:
        """The route whose messages wait in a queue that an earlier boot has left, as one of these shows, a tenant's,
        which is still to be sent to the recipients at `positions`.

        It need not be the one that a new message like it would have, as long as the rule is still there. None where it
        is not, or where others of its providers are unsuitable now.
        """
        for route in self._routes[message.channel]:
            if route.match.holds(message, tenant):
                with suppress(InvalidMessage):
                    if (found := self._suited(route, message, positions)).queue_key == queue_key:
                        return found
        return None

    def route(
        self, message: OutboundMessage, tenant: str, pinned: str | None, positions: tuple[int, ...] | None = None
    ) -> Route:
        """The route of a tenant's message: that of the first rule which matches it, or of the provider its caller has
        pinned; without those who cannot carry it to the recipients at `positions` (None: to all).

        Raises:
            InvalidProvider: the pinned one does not exist, or does not carry the channel.
            InvalidRouting: no provider carries the channel, or no rule matches.
            InvalidMessage: none of the route's providers can carry it.
        """
        return self._suited(self._route(message, tenant, pinned), message, positions)

    def route_to_explain(self, message: OutboundMessage, tenant: str, pinned: str | None) -> Route:
        """The same for a look at it: where none of the route's providers can carry the message, a route to nobody.

        Raises:
            InvalidProvider, InvalidRouting: as `route` does.
        """
        route = self._route(message, tenant, pinned)
        return variant(route, message.channel, self.unsuitable(route, message))

    def _route(self, message: OutboundMessage, tenant: str, pinned: str | None) -> Route:
        """The route of a message, whether or not its providers can carry it."""
        channel = message.channel
        if pinned is None:
            if (route := matching(self._routes[channel], message, tenant)) is None:
                raise InvalidRouting(channel)
            return route
        entry = self._entries.get(pinned)
        if entry is None:
            raise InvalidProvider("must name a provider that exists; ListProviders names them all")
        if channel not in entry.provider.channels:
            raise InvalidProvider(f"must name a provider that carries {channel.value}")
        return self._pinned[pinned]

    def unsuitable(
        self, route: Route, message: OutboundMessage, positions: tuple[int, ...] | None = None
    ) -> dict[str, FieldViolation]:
        """Those of a route's providers who cannot carry a message, and why."""
        found: dict[str, FieldViolation] = {}
        if not self._selective:
            return found
        for name in route.names:
            if (entry := self._selective.get(name)) and (violation := self.why_unsuitable(entry, message, positions)):
                found[name] = violation
        return found

    def why_unsuitable(
        self, entry: ProviderEntry, message: OutboundMessage, positions: tuple[int, ...] | None = None
    ) -> FieldViolation | None:
        """Return why a provider cannot carry a message, None if it can. One whose code fails counts as able to."""
        if entry.carries is None:
            return None
        try:
            return entry.carries(message, positions)
        except Exception as error:
            if self._on_fault:
                self._on_fault(error)
            return None

    def _suited(self, route: Route, message: OutboundMessage, positions: tuple[int, ...] | None) -> Route:
        """A route without those who cannot carry the message. There are as many as messages need, and each once."""
        if not (why := self.unsuitable(route, message, positions)):
            return route
        if len(why) == len(route.names):
            raise InvalidMessage("no provider of its route can carry it", [next(iter(why.values()))])
        which = route.queue_key, frozenset(why)
        if (found := self._variants.get(which)) is None:
            found = self._variants[which] = variant(route, message.channel, which[1])
            self._by_queue_key[found.queue_key] = found
        return found

    async def close(self) -> None:
        """Close every provider, side by side, and wait for none for longer than `CLOSE_TIMEOUT`.

        Raises:
            ExceptionGroup: some failed to, or did not end in time.
        """
        loop = asyncio.get_running_loop()
        closing = [loop.create_task(close(entry.provider)) for entry in reversed(self._entries.values())]
        if not closing:
            return
        _, late = await asyncio.wait(closing, timeout=CLOSE_TIMEOUT)
        for task in late:
            task.cancel()
        failed: list[Exception] = [TimeoutError(f"it did not close within {CLOSE_TIMEOUT:g} s") for _ in late]
        for task in closing:
            if task in late:
                continue
            if task.cancelled():
                failed.append(RuntimeError("something of its own was cancelled"))
            elif isinstance(error := task.exception(), Exception):
                failed.append(error)
        if failed:
            raise ExceptionGroup("providers failed to close", failed)


def make(
    declared: ProviderConfig,
    kinds: Mapping[str, Kind],
    random_seed: Callable[[], int],
    report: Report = unheard,
    to_inbox: ToInbox = no_inbox,
) -> Provider:
    """Make one provider that the configuration declares.

    Raises:
        ProviderNotMade: its kind cannot make it of these settings.
    """
    context = Context(declared.name, declared.channels, random_seed, declared.connect_timeout, report, to_inbox)
    try:
        return kinds[declared.kind].make(context, declared.options)
    except Exception as error:
        raise ProviderNotMade(declared, error) from error


async def close(provider: Provider) -> None:
    """Close a provider, if there is anything about it to close."""
    if (own := capabilities.close_of(provider)) is not None:
        await own()


def _gate(
    config: Config,
    declared: ProviderConfig,
    seed: int,
    on_transition: OnTransition | None,
    on_availability: OnAvailability | None,
    on_fault: Callable[[Exception], None] | None,
) -> Gate:
    def changed(transition: Transition) -> None:
        gate.changed()
        if on_transition:
            on_transition(declared.name, transition)

    breaker = Breaker(
        BreakerSettings(**asdict(declared.breaker), lease=LEASE_FACTOR * declared.attempt_timeout),
        jitter=stream(seed, f"breaker {declared.name}").next_unit,
        listener=changed,
        on_fault=on_fault,
    )
    gate = Gate(
        declared.name,
        GateSettings(
            max_concurrent=declared.max_concurrent,
            rate=declared.rate,
            burst=declared.burst,
            backoff_base=config.delivery.backoff_base,
            backoff_max=config.delivery.backoff_max,
        ),
        breaker,
        jitter=stream(seed, f"cool-down {declared.name}").next_unit,
    )
    if on_availability:
        gate.on_availability = partial(on_availability, declared.name)
    return gate
