"""From arguments to a message and how to send it: one command a channel, for each group that takes messages."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from postwire.cli.command import Word
from postwire.cli.completion import complete_providers
from postwire.cli.options import connection_options, duration, mapping
from postwire.cli.send import content
from postwire.cli.send.content import Given
from postwire.cli.times import MOST_AHEAD, TIMES_AHEAD, time_ahead

if TYPE_CHECKING:
    from postwire_client import DispatchOptions, OutboundMessage

Command = Callable[..., Any]

_MAX_ATTEMPTS: Final = 100


@dataclass(frozen=True, slots=True)
class Composed:
    """A message as the arguments describe it.

    `repeat` is what has to be added to the arguments, so that another call of the command means the same message.
    """

    message: OutboundMessage
    options: DispatchOptions
    request_id: str
    repeat: str


Act = Callable[[Any, Composed], int]
"""What a command does with the message, at what its `target` has made of its options; returns the exit code."""


def add_channels(
    group: click.Group, act: Act, help_of: str, target: Callable[[Command], Command] | None = None
) -> None:
    """Give the group a command for each channel. `help_of` is what the commands' help says of a `{message}`.

    `target` adds the options that say where to: those of a server, unless it is given.
    """
    for make, decorations, what in (
        (_sms, (_PHONE, _body(required=True), _SENDER), "a text message"),
        (_mms, (_PHONE, _body(required=False), _MEDIA, _SENDER), "a message with media"),
        (_email, _OF_EMAIL, "an email"),
    ):
        command = _composing(make, act, target or connection_options())
        for decoration in reversed(decorations):
            command = decoration(command)
        group.command(make.__name__.strip("_"), help=help_of.format(message=what))(command)


def _body(*, required: bool) -> Callable[[Command], Command]:
    # A default that is given, be it None, would count as an answer.
    settings: dict[str, Any] = {"required": True} if required else {"default": ""}
    return click.option("--body", metavar="TEXT", help="The text; - reads it from stdin.", **settings)


def _repeated(name: str, metavar: str, what: str, **settings: Any) -> Callable[[Command], Command]:
    return click.option(name, multiple=True, metavar=metavar, help=f"{what}; may be given several times.", **settings)


def _in(name: str, what: str) -> Callable[[Command], Command]:
    return click.option(name, callback=duration(MOST_AHEAD), metavar="DURATION", help=what)


def _at(name: str, what: str) -> Callable[[Command], Command]:
    return click.option(name, callback=time_ahead, metavar="TIME", help=what)


_PHONE: Final = click.option("--to", required=True, metavar="NUMBER", help="The phone, such as +15005550006.")
_SENDER: Final = click.option(
    "--sender", default="", metavar="FROM", help="Who it is from.  [default: the provider's own]"
)
_MEDIA: Final = _repeated("--media", "URL|FILE", "A picture, a sound or a film")
_OF_EMAIL: Final = (
    _repeated("--to", "ADDRESS", "Who it is for", required=True),
    _repeated("--cc", "ADDRESS", "Who gets a copy"),
    _repeated("--bcc", "ADDRESS", "Who gets a copy that the others do not see"),
    click.option("--subject", default="", metavar="TEXT", help="The subject."),
    _body(required=False),
    click.option("--html", default="", metavar="HTML", help="The text as HTML; - reads it from stdin."),
    _SENDER,
    click.option("--reply-to", default="", metavar="ADDRESS", help="Where answers go.  [default: to the sender]"),
    _repeated("--header", "NAME=VALUE", "A further header", callback=mapping),
    _repeated("--attach", "FILE", "A file", type=click.Path(path_type=Path)),
)


def _sms(to: str, body: str, sender: str) -> dict[str, Any]:
    from postwire_client import Sms

    return {"sms": Sms(to=to, body=content.text(body), sender=sender)}


def _mms(to: str, body: str, media: tuple[str, ...], sender: str) -> dict[str, Any]:
    from postwire_client import Mms

    return {"mms": Mms(to=to, body=content.text(body), sender=sender, media=[content.media(one) for one in media])}


def _email(body: str, html: str, header: dict[str, str], attach: tuple[Path, ...], **fields: Any) -> dict[str, Any]:
    from postwire_client import Email

    if body == "-" and html == "-":
        raise click.UsageError("stdin holds one text: --body - or --html -, not both")
    attachments = [content.attachment(path) for path in attach]
    return {
        "email": Email(
            text=content.text(body), html=content.text(html), headers=header, attachments=attachments, **fields
        )
    }


def delivery_options(command: Command) -> Command:
    """Adds what any message may be sent with: `--label`, `--priority`, `--send-at` and so on.

    The command gets `labels` and `given`, for `delivery`, among its keyword arguments.
    """

    @_repeated("--label", "KEY=VALUE", "A tag to keep with the record", callback=mapping)
    @click.option(
        "--provider", default="", metavar="NAME", shell_complete=complete_providers, help="Send through this one only."
    )
    @click.option(
        "--priority",
        type=Word(["high", "normal", "low"]),
        help="Which goes first where several wait.  [default: normal]",
    )
    @click.option(
        "--delivery-guarantee",
        type=Word(["at-least-once", "at-most-once"]),
        help="What to do when it is not known whether it was sent.  [default: at-least-once]",
    )
    @click.option(
        "--max-attempts",
        type=click.IntRange(1, _MAX_ATTEMPTS),
        metavar="NUMBER",
        help="How many attempts to make.  [default: the server's]",
    )
    @_in("--send-in", "Wait for so long before it is sent, such as 10m or 4h.")
    @_at("--send-at", f"Wait until this time instead: {TIMES_AHEAD}.")
    @_in("--expire-in", "Give up after this, such as 10m or 4h.  [default: the server's]")
    @_at("--expire-at", f"Give up at this time instead: {TIMES_AHEAD}.")
    @functools.wraps(command)
    def wrapper(
        *args: Any,
        label: dict[str, str],
        provider: str,
        priority: str | None,
        delivery_guarantee: str | None,
        max_attempts: int | None,
        send_in: float | None,
        send_at: datetime | float | None,
        expire_in: float | None,
        expire_at: datetime | float | None,
        **others: Any,
    ) -> Any:
        given = Given(
            provider=provider,
            priority=priority,
            delivery_guarantee=delivery_guarantee,
            max_attempts=max_attempts,
            send=_one_of("send", send_in, send_at),
            expire=_one_of("expire", expire_in, expire_at),
        )
        return command(*args, labels=label, given=given, **others)

    return wrapper


def _composing(make_content: Command, act: Act, target: Callable[[Command], Command]) -> Command:
    """Makes a command of a function that gives the content: adds the options that all channels share, and acts."""

    @click.option(
        "--request-id",
        default="",
        metavar="ID",
        help="The same id never sends twice: give it again to repeat.  [default: a new one]",
    )
    @click.option("--wait-for", type=Word(["outcome", "acceptance"]), help="When to answer.  [default: outcome]")
    @delivery_options
    @target
    @functools.wraps(make_content)
    def command(
        connection: Any,
        *,
        labels: dict[str, str],
        given: Given,
        request_id: str,
        wait_for: str | None,
        **fields: Any,
    ) -> int:
        from postwire_client import OutboundMessage

        options = content.options(given, wait_for=wait_for)
        message = OutboundMessage(**make_content(**fields), labels=labels)
        # Made here and not by the client: who has to repeat the command must know it.
        request_id = request_id or str(uuid.uuid4())
        repeat = f"--request-id {request_id}"
        for name, when, made in (
            ("send", given.send, options.send_time),
            ("expire", given.expire, options.expire_time),
        ):
            if isinstance(when, float):
                repeat += f", and --{name}-at {made.ToJsonString()} in place of the time from now"
        return act(connection, Composed(message, options, request_id, repeat))

    return command


def _one_of(name: str, seconds: float | None, at: datetime | float | None) -> datetime | float | None:
    if seconds is not None and at is not None:
        raise click.UsageError(f"--{name}-in or --{name}-at, not both")
    return at if seconds is None else seconds
