"""What the composition root has to say, in lines of the log."""

from __future__ import annotations

from typing import Any

from postwire.config.schema import Config
from postwire.core.message import Channel
from postwire.core.obstacles import Obstacle
from postwire.providers import capabilities
from postwire.providers.base import Provider, ProviderHealth
from postwire.providers.registry import Registry
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

_log = EventLog()


def boot(config: Config, registry: Registry) -> None:
    """Say which providers there are, which variables are none of ours, and which channels nobody really carries."""
    for entry in registry:
        provider = entry.provider
        fields: dict[str, Any] = {
            names.LOG_PROVIDER_NAME: provider.name,
            "kind": provider.kind,
            "channels": [channel.value for channel in provider.channels],
        }
        special = capabilities.of(provider)
        if special.seed is not None:
            fields |= {"seeded": special.seeded, "seed": special.seed}
        _log.info(names.EVENT_PROVIDER, **fields)
    for stray in config.strays:
        log = _log.debug if stray.injected else _log.warning
        log(names.EVENT_WARNING, detail=str(stray))
    for channel in Channel:
        carriers = [entry.provider for entry in registry.carriers(channel)]
        simulated = [provider for provider in carriers if capabilities.of(provider).simulated]
        for kind in dict.fromkeys(provider.kind for provider in simulated):
            of_kind = ", ".join(provider.name for provider in simulated if provider.kind == kind)
            _log.warning(
                names.EVENT_WARNING,
                channel=channel.value,
                detail=f"carried by a {kind}, which sends nothing: {of_kind}",
            )


def check(provider: Provider, health: ProviderHealth) -> None:
    """A provider was asked whether it can be reached."""
    fields = {names.LOG_PROVIDER_NAME: provider.name, "ok": health.ok}
    if health.ok:
        _log.info(names.EVENT_PROVIDER_CHECK, **fields)
    else:
        _log.warning(names.EVENT_PROVIDER_CHECK, **fields, detail=health.detail)


def provider_availability(name: str, unavailable: Obstacle | None, detail: str) -> None:
    """A provider can be used from now on, or cannot for a reason."""
    fields = {names.LOG_PROVIDER_NAME: name, "availability": unavailable.value if unavailable else "available"}
    if unavailable:
        _log.warning(names.EVENT_PROVIDER_AVAILABILITY, **fields, detail=detail)
    else:
        _log.info(names.EVENT_PROVIDER_AVAILABILITY, **fields)


def refused_credentials(key_id: str, peer: str, count: int) -> None:
    """Credentials were refused, so many of this kind since the last line."""
    _log.warning(names.EVENT_CREDENTIALS_REFUSED, key_id=key_id or None, peer=peer, count=count)


def key_trouble(trouble: str | None) -> None:
    """The issuer's keys cannot be had, or can again."""
    if trouble:
        _log.warning(names.EVENT_SIGNING_KEYS, detail=trouble)
    else:
        _log.info(names.EVENT_SIGNING_KEYS)


def availability(available: bool) -> None:
    """The store can commit from now on, or cannot."""
    if available:
        _log.info(names.EVENT_STORE_AVAILABLE)
    else:
        _log.error(names.EVENT_STORE_UNAVAILABLE)


def warnings(*details: str) -> None:
    """Log what somebody should look at, in words."""
    for detail in details:
        _log.warning(names.EVENT_WARNING, detail=detail)
