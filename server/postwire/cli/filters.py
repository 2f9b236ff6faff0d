"""Which messages a command is about: the options of a filter, and the one message by either of its ids."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from postwire.cli.command import Word
from postwire.cli.completion import complete_providers
from postwire.cli.options import mapping
from postwire.cli.times import TIMES_PAST, time_past
from postwire.core.message import Channel, MessageState

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def filter_options(*, states: bool = True) -> Decorator:
    """Adds the options of a filter; the command gets a `MessageFilter` as `chosen`, or None where none was given.

    `states`: whether it may narrow the states as well.
    """

    narrow_states: Decorator = _STATES if states else _no_option

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--channel",
            "channels",
            multiple=True,
            type=Word([channel.value for channel in Channel]),
            help="On this channel; may be given several times.",
        )
        @narrow_states
        @click.option(
            "--provider",
            "provider_names",
            multiple=True,
            metavar="NAME",
            shell_complete=complete_providers,
            help="Last tried at this provider; may be given several times.",
        )
        @click.option(
            "--label",
            "labels",
            multiple=True,
            metavar="KEY=VALUE",
            callback=mapping,
            help="With this label; several must all be there.",
        )
        @click.option(
            "--request-id",
            "request_ids",
            multiple=True,
            metavar="ID",
            help="With this request id; may be given several times.",
        )
        @click.option(
            "--from",
            "create_time_from",
            metavar="TIME",
            callback=time_past,
            help=f"Accepted at this time or later: {TIMES_PAST}.",
        )
        @click.option("--to", "create_time_to", metavar="TIME", callback=time_past, help="Accepted before this time.")
        @functools.wraps(command)
        def wrapper(
            *args: Any,
            channels: tuple[str, ...],
            provider_names: tuple[str, ...],
            labels: dict[str, str],
            request_ids: tuple[str, ...],
            create_time_from: datetime | None,
            create_time_to: datetime | None,
            states: tuple[str, ...] = (),
            **options: Any,
        ) -> Any:
            from postwire_client import Channel as WireChannel
            from postwire_client import MessageFilter
            from postwire_client import MessageState as WireState

            chosen = MessageFilter(
                channels=[WireChannel.Value(f"CHANNEL_{one.upper()}") for one in channels],
                states=[WireState.Value(f"MESSAGE_STATE_{one.upper()}") for one in states],
                provider_names=provider_names,
                labels=labels,
                request_ids=request_ids,
            )
            if create_time_from:
                chosen.create_time_from.FromDatetime(create_time_from)
            if create_time_to:
                chosen.create_time_to.FromDatetime(create_time_to)
            return command(*args, chosen=chosen if chosen.ByteSize() else None, **options)

        return wrapper

    return decorate


def one_message(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the argument ID and the option `--request-id`, of which exactly one is to be given; the command gets both,
    as `message_id` and `request_id`, and the other one empty."""

    @click.argument("message_id", metavar="[ID]", required=False)
    @click.option("--request-id", metavar="ID", help="The request id of the message, instead of its own.")
    @functools.wraps(command)
    def wrapper(*args: Any, message_id: str | None, request_id: str | None, **options: Any) -> Any:
        if (message_id is None) == (request_id is None):
            raise click.UsageError("give one of ID and --request-id", click.get_current_context())
        return command(*args, message_id=message_id or "", request_id=request_id or "", **options)

    return wrapper


def reason_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--reason`."""
    what = "Why, for the note that is kept of it: at most 256 characters. It is never logged."
    return click.option("--reason", default="", metavar="TEXT", help=what)(command)


_STATES = click.option(
    "--state",
    "states",
    multiple=True,
    type=Word([state.value for state in MessageState]),
    help="In this state; may be given several times.",
)


def _no_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return command
