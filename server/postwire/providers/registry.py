"""The providers of this server, by name, and the routes, by channel. Built once, at boot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from postwire.config import Config
from postwire.core.errors import InvalidProvider, InvalidRouting, ProviderNotFound
from postwire.core.message import Channel
from postwire.providers.base import Context, Kind, Provider


class Slot:
    """A provider, with what the server keeps about it. `attempt_timeout` is in seconds."""

    __slots__ = ("attempt_timeout", "in_flight", "provider")

    def __init__(self, provider: Provider, *, attempt_timeout: float) -> None:
        self.provider = provider
        self.attempt_timeout = attempt_timeout
        self.in_flight = 0


class Registry:
    """Every provider that is declared, in the order of declaration, and which of them carry a channel."""

    def __init__(self, slots: Sequence[Slot], routes: Mapping[Channel, Sequence[str]]) -> None:
        """`routes` names providers in the order in which they are tried; the configuration has checked the names."""
        self._slots = {slot.provider.name: slot for slot in slots}
        self._routes = {channel: tuple(self._slots[name] for name in routes.get(channel, ())) for channel in Channel}

    @classmethod
    def build(cls, config: Config, kinds: Mapping[str, Kind], random_seed: Callable[[], int]) -> Registry:
        """Make every provider that the configuration declares. `random_seed` gives 64 random bits."""
        slots = [
            Slot(
                kinds[declared.kind].make(Context(declared.name, declared.channels, random_seed), declared.options),
                attempt_timeout=declared.attempt_timeout,
            )
            for declared in config.providers.values()
        ]
        return cls(slots, config.routes)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def slot(self, name: str) -> Slot:
        """The provider of that name.

        Raises:
            ProviderNotFound: there is none.
        """
        try:
            return self._slots[name]
        except KeyError:
            raise ProviderNotFound from None

    def route(self, channel: Channel) -> tuple[Slot, ...]:
        """The providers that carry `channel`, first choice first; empty where there are none."""
        return self._routes[channel]

    def candidates(self, channel: Channel, pinned: str | None) -> tuple[Slot, ...]:
        """The providers that may send a message: those of the route, or the one that the caller has pinned.

        Raises:
            InvalidProvider: the pinned one does not exist, or does not carry the channel.
            InvalidRouting: no provider carries the channel.
        """
        if pinned is None:
            if not (slots := self._routes[channel]):
                raise InvalidRouting(channel)
            return slots
        slot = self._slots.get(pinned)
        if slot is None:
            raise InvalidProvider("must name a provider that exists; ListProviders names them all")
        if channel not in slot.provider.channels:
            raise InvalidProvider(f"must name a provider that carries {channel.value}")
        return (slot,)

    async def close(self) -> None:
        """Close every provider, last made first.

        Raises:
            ExceptionGroup: some failed to; all the same, every one has been closed.
        """
        failed = []
        for slot in reversed(self._slots.values()):
            try:
                await slot.provider.close()
            except Exception as error:
                failed.append(error)
        if failed:
            raise ExceptionGroup("providers failed to close", failed)
