"""`postwire preview sms|mms|email`: what would be handed over, without sending anything."""

from __future__ import annotations

import base64
import functools
import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from postwire.cli.command import Group
from postwire.cli.failure import ExitCode, Failed, even_if_unread
from postwire.cli.options import JSON
from postwire.cli.send.compose import Composed, add_channels
from postwire.cli.serve import CONFIG, load_config
from postwire.core.message import DEFAULT_TENANT

if TYPE_CHECKING:
    from postwire.core.message import OutboundMessage
    from postwire.providers.base import Preview
    from postwire.providers.registry import Registry

_LONG: Final = re.compile(rb"[A-Za-z0-9+/=\r\n]{1000,}")
"""Data in base64 that nobody reads."""

_MESSAGE_ID: Final = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Target:
    """The configuration to look at, how to show what is found, and whose message it is."""

    path: Path | None
    as_json: bool
    raw: bool = False
    all_of_them: bool = False
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Shown:
    """What one provider would be handed; None where its kind sends nothing, or cannot carry the message: `why`."""

    provider: str
    kind: str
    preview: Preview | None
    why: str = ""


def _target(command: Callable[..., Any]) -> Callable[..., Any]:
    @CONFIG
    @click.option("--all", "all_of_them", is_flag=True, help="Show it for each provider of the route.")
    @click.option(
        "--tenant",
        metavar="NAME",
        default=DEFAULT_TENANT,
        show_default=True,
        help="Whose message it is, for its route.",
    )
    @click.option("--raw", is_flag=True, help="Print the body alone, as it is.")
    @JSON
    @functools.wraps(command)
    def wrapper(
        *args: Any, path: Path | None, all_of_them: bool, tenant: str, raw: bool, as_json: bool, **options: Any
    ) -> Any:
        if raw and (all_of_them or as_json):
            raise click.UsageError("--raw is the body of one provider, without anything else")
        return command(Target(path, as_json, raw, all_of_them, tenant), *args, **options)

    return wrapper


@click.group(cls=Group)
def preview() -> None:
    """Show what a provider would be handed, with secrets struck out, and send nothing.

    Reads the configuration here, as the server would, and calls no server. Takes what `postwire send` takes.
    """


def show(target: Target, composed: Composed) -> int:
    """Show what would be handed over of a message."""
    message, found = _previewed(target, composed)
    with even_if_unread():
        if target.raw:
            (one,) = found
            if one.preview is None:
                raise Failed(f"{one.provider} ({one.kind}): {one.why}", ExitCode.REFUSED)
            sys.stdout.buffer.write(one.preview.body)
        elif target.as_json:
            click.echo(json.dumps({"previews": [_as_json(one) for one in found], **_segments(message)}))
        else:
            for at, one in enumerate(found):
                if at:
                    click.echo()
                _print(one)
            if segments := _segments(message):
                count = segments["sms_segments"]
                click.echo(f"\n{count} segment{'s' * (count != 1)}, {segments['sms_encoding']}")
        sys.stdout.flush()
    return ExitCode.OK if any(one.preview for one in found) else ExitCode.REFUSED


def _previewed(target: Target, composed: Composed) -> tuple[OutboundMessage, list[Shown]]:
    from postwire.api.convert import command_from
    from postwire.core.errors import Refusal
    from postwire.providers.builtin import KINDS
    from postwire.providers.handover import Handover
    from postwire.providers.registry import ProviderNotMade, Registry
    from postwire.v1.dispatch_service_pb2 import DispatchRequest

    config = load_config(target.path, as_json=target.as_json)
    if target.tenant not in (*config.tenants, DEFAULT_TENANT):
        known = ", ".join(config.tenants) or "none"
        raise click.UsageError(f"--tenant: there is no tenant {target.tenant!r}, those declared: {known}")
    try:
        registry = Registry.build(config, KINDS, random_seed=lambda: secrets.randbits(64), seed=0)
        request = DispatchRequest(message=composed.message, options=composed.options)
        command = command_from(request, config.server.max_message_bytes, tenant=target.tenant)
        route = registry.route_to_explain(command.message, command.tenant, command.options.provider_name)
    except ProviderNotMade as error:
        raise Failed(str(error), ExitCode.BAD_CONFIG) from None
    except Refusal as error:
        raise Failed(_reason(error), ExitCode.REFUSED) from None
    now = time.time_ns() // 1000
    expires = now + int(getattr(config.delivery.expire_after, command.message.channel.value) * 1e6)
    handover = Handover(
        _MESSAGE_ID, None, command.options.expire_time or expires, message_id=_MESSAGE_ID, created=now, now=now
    )
    names = (route.whole or route).names
    if not target.all_of_them:
        names = (route.names or names)[:1]
    return command.message, [_shown(registry, name, command.message, handover) for name in names]


def _shown(registry: Registry, name: str, message: OutboundMessage, handover: Any) -> Shown:
    from postwire.providers import capabilities

    provider = registry.entry(name).provider
    if (carries := capabilities.carries_of(provider)) and (why := carries(message, None)):
        return Shown(name, provider.kind, None, f"cannot carry it: {why.field} {why.description}")
    if (make := capabilities.preview_of(provider)) is None:
        what = "sends nothing" if capabilities.of(provider).simulated else "cannot show what it sends"
        return Shown(name, provider.kind, None, what)
    return Shown(name, provider.kind, make(message, handover))


def _reason(error: Any) -> str:
    return "; ".join([str(error), *(f"{one.field}: {one.description}" for one in getattr(error, "violations", ()))])


def _segments(message: OutboundMessage) -> dict[str, Any]:
    from postwire.core.message import Sms
    from postwire.providers.sms.encoding import segments

    if not isinstance(message.content, Sms):
        return {}
    encoding, count = segments(message.content.body)
    return {"sms_segments": count, "sms_encoding": encoding.value}


def _as_json(one: Shown) -> dict[str, Any]:
    value: dict[str, Any] = {"provider": one.provider, "kind": one.kind, "why_not": one.why or None}
    if one.preview:
        value |= {"lines": one.preview.lines, "body": base64.b64encode(one.preview.body).decode()}
    return value


def _print(one: Shown) -> None:
    if one.preview is None:
        click.echo(f"{one.provider} ({one.kind}): {one.why}")
        return
    click.echo(f"{one.provider} ({one.kind})\n")
    for line in (*one.preview.lines, ""):
        click.echo(line)
    for line in _readable(one.preview.body):
        click.echo(line)


def _readable(body: bytes) -> Iterator[str]:
    """A body for people: without long data, and without what would steer a terminal."""
    text = _LONG.sub(lambda found: b"(%d bytes in base64)\n" % len(found[0]), body).decode("utf-8", "replace")
    for line in text.splitlines():
        yield "".join(one if one.isprintable() or one == "\t" else "\ufffd" for one in line)


add_channels(preview, show, "Show {message} as it would be handed over.", _target)
