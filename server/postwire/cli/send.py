"""`postwire send sms|mms|email`."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from postwire.cli import content
from postwire.cli.failure import ExitCode
from postwire.cli.options import TIME_FORMATS, Connection, connection_options, duration, mapping

Command = Callable[..., Any]

_YEAR: Final = 365 * 86_400.0
_MAX_ATTEMPTS: Final = 100


def _body(*, required: bool) -> Callable[[Command], Command]:
    # A default that is given, be it None, would count as an answer.
    settings: dict[str, Any] = {"required": True} if required else {"default": ""}
    return click.option("--body", metavar="TEXT", help="The text; - reads it from stdin.", **settings)


def _repeated(name: str, metavar: str, what: str, **settings: Any) -> Callable[[Command], Command]:
    return click.option(name, multiple=True, metavar=metavar, help=f"{what}; may be given several times.", **settings)


PHONE = click.option("--to", required=True, metavar="NUMBER", help="The phone, such as +15005550006.")
SENDER = click.option("--sender", default="", metavar="FROM", help="Who it is from.  [default: the provider's own]")


def _dispatching(make_content: Command) -> Command:
    """Makes a command of a function that gives the content: adds the options that all channels share, and sends."""

    @_repeated("--label", "KEY=VALUE", "A tag to keep with the record", callback=mapping)
    @click.option(
        "--request-id",
        default="",
        metavar="ID",
        help="The same id never sends twice: give it again to repeat.  [default: a new one]",
    )
    @click.option(
        "--wait-for", type=click.Choice(["outcome", "acceptance"]), help="When to answer.  [default: outcome]"
    )
    @click.option("--provider", default="", metavar="NAME", help="Send through this one only.")
    @click.option(
        "--priority",
        type=click.Choice(["high", "normal", "low"]),
        help="Which goes first where several wait.  [default: normal]",
    )
    @click.option(
        "--delivery-guarantee",
        type=click.Choice(["at-least-once", "at-most-once"]),
        help="What to do when it is not known whether it was sent.  [default: at-least-once]",
    )
    @click.option(
        "--max-attempts",
        type=click.IntRange(1, _MAX_ATTEMPTS),
        metavar="NUMBER",
        help="How many attempts to make.  [default: the server's]",
    )
    @click.option(
        "--expire-in",
        callback=duration(_YEAR),
        metavar="DURATION",
        help="Give up after this, such as 10m or 4h.  [default: the server's]",
    )
    @click.option(
        "--expire-at",
        type=click.DateTime(TIME_FORMATS),
        metavar="TIME",
        help="Give up at this time instead, such as 2030-01-31T12:00:00Z.",
    )
    @connection_options()
    @functools.wraps(make_content)
    def command(
        connection: Connection,
        *,
        label: dict[str, str],
        request_id: str,
        wait_for: str | None,
        provider: str,
        priority: str | None,
        delivery_guarantee: str | None,
        max_attempts: int | None,
        expire_in: float | None,
        expire_at: Any,
        **fields: Any,
    ) -> int:
        from postwire.cli.show import print_message, print_protobuf
        from postwire_client import MessageState, OutboundMessage

        if expire_in is not None and expire_at is not None:
            raise click.UsageError("--expire-in or --expire-at, not both")
        options = content.options(
            wait_for=wait_for,
            provider=provider,
            priority=priority,
            delivery_guarantee=delivery_guarantee,
            max_attempts=max_attempts,
            expire_in=expire_in,
            expire_at=expire_at,
        )
        message = OutboundMessage(**make_content(**fields), labels=label)
        # Made here and not by the client: who has to repeat the command must know it.
        request_id = request_id or str(uuid.uuid4())
        again = f"--request-id {request_id}"
        if expire_in is not None:
            again += f", and in place of --expire-in, --expire-at {options.expire_time.ToJsonString()}"
        with connection.client(hint=f"to repeat it without sending it twice, add {again}") as client:
            record = client.dispatch(message, request_id=request_id, options=options)
        if connection.as_json:
            print_protobuf(record)
        else:
            print_message(record)
        lost = (
            MessageState.MESSAGE_STATE_UNDELIVERED,
            MessageState.MESSAGE_STATE_FAILED,
            MessageState.MESSAGE_STATE_UNCERTAIN,
            MessageState.MESSAGE_STATE_EXPIRED,
            MessageState.MESSAGE_STATE_CANCELLED,
        )
        return ExitCode.REFUSED if record.state in lost else ExitCode.OK

    return command


@click.group()
def send() -> None:
    """Send a message, and show what became of it.

    Exits with 0 if it was sent or is on its way, and with 1 if it was refused or not sent.
    """


@send.command()
@PHONE
@_body(required=True)
@SENDER
@_dispatching
def sms(to: str, body: str, sender: str) -> dict[str, Any]:
    """Send a text message."""
    from postwire_client import Sms

    return {"sms": Sms(to=to, body=content.text(body), sender=sender)}


@send.command()
@PHONE
@_body(required=False)
@_repeated("--media", "URL|FILE", "A picture, a sound or a film")
@SENDER
@_dispatching
def mms(to: str, body: str, media: tuple[str, ...], sender: str) -> dict[str, Any]:
    """Send a message with media."""
    from postwire_client import Mms

    return {"mms": Mms(to=to, body=content.text(body), sender=sender, media=[content.media(one) for one in media])}


@send.command()
@_repeated("--to", "ADDRESS", "Who it is for", required=True)
@_repeated("--cc", "ADDRESS", "Who gets a copy")
@_repeated("--bcc", "ADDRESS", "Who gets a copy that the others do not see")
@click.option("--subject", default="", metavar="TEXT", help="The subject.")
@_body(required=False)
@click.option("--html", default="", metavar="HTML", help="The text as HTML; - reads it from stdin.")
@SENDER
@click.option("--reply-to", default="", metavar="ADDRESS", help="Where answers go.  [default: to the sender]")
@_repeated("--header", "NAME=VALUE", "A further header", callback=mapping)
@_repeated("--attach", "FILE", "A file", type=click.Path(path_type=Path))
@_dispatching
def email(body: str, html: str, header: dict[str, str], attach: tuple[Path, ...], **fields: Any) -> dict[str, Any]:
    """Send an email."""
    from postwire_client import Email

    if body == "-" and html == "-":
        raise click.UsageError("stdin holds one text: --body - or --html -, not both")
    attachments = [content.attachment(path) for path in attach]
    return {
        "email": Email(
            text=content.text(body), html=content.text(html), headers=header, attachments=attachments, **fields
        )
    }
