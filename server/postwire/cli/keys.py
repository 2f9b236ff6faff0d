"""`postwire keys new`: makes the keys that callers show."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import click

from postwire.cli.command import Group, Word
from postwire.cli.options import JSON
from postwire.cli.times import TIMES_AHEAD, time_ahead
from postwire.core.principal import Role


@click.group(cls=Group)
def keys() -> None:
    """Make API keys, for whoever calls a server that asks who does."""


def _tenant(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from postwire.config.tenants import TENANT_NAME

    if value is not None and not TENANT_NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a tenant's name, such as acme or acme-eu", ctx, param)
    return value


def _name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from postwire.config.auth import LINE

    if value is None:
        return None
    try:
        return str(LINE.word(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not {LINE.wants}", ctx, param) from None


@keys.command()
@click.argument("tenant", metavar="[TENANT]", required=False, callback=_tenant)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=Word([role.value for role in Role]),
    help="What it may do. Several times for several roles.",
)
@click.option("--admin", is_flag=True, help="In place of TENANT and --role: an administrator's, for every tenant.")
@click.option("--name", metavar="TEXT", callback=_name, help="Whose it is, as it is recorded who changed what.")
@click.option(
    "--expires", metavar="TIME", callback=time_ahead, help=f"When it ends: {TIMES_AHEAD}. Otherwise it does not."
)
@JSON
def new(
    tenant: str | None,
    roles: tuple[str, ...],
    admin: bool,
    name: str | None,
    expires: datetime | float | None,
    as_json: bool,
) -> None:
    """Make a key, and show it this once, with what to add to the configuration: that knows it by its SHA-256.

    Needs no server. One that runs takes the table over at SIGHUP.
    """
    from postwire.auth.api_keys import new_key
    from postwire.cli.show import print_json
    from postwire.config.types import toml_string

    if admin and (tenant or roles):
        raise click.UsageError("an administrator's key is of no tenant and has every role: leave TENANT and --role out")
    if not admin and not tenant:
        raise click.UsageError("for which TENANT? or --admin for an administrator's key")
    if not admin and not roles:
        raise click.UsageError("what may it do? give --role once or more")
    now = datetime.now(UTC)
    end = now + timedelta(seconds=expires) if isinstance(expires, float) else expires
    if end is not None and end <= now:
        raise click.BadParameter("this time is over", param_hint="'--expires'")
    key = new_key(os.urandom)
    chosen = list(dict.fromkeys(roles))
    written = None if end is None else end.isoformat(timespec="seconds").replace("+00:00", "Z")
    lines = [f"[[tenants.{tenant}.keys]]" if tenant else "[[auth.keys]]"]
    lines += [f"name = {toml_string(name)}"] if name else []
    lines += [f'id = "{key.id}"', f'sha256 = "{key.sha256}"']
    lines += [f"roles = [{', '.join(map(toml_string, chosen))}]"] if chosen else []
    lines += [f"expires = {written}"] if written else []
    table = "\n".join(lines)
    if as_json:
        shown = {"key": key.text, "id": key.id, "sha256": key.sha256, "tenant": tenant, "roles": chosen}
        print_json(json.dumps({**shown, "name": name, "expires": written, "toml": f"{table}\n"}))
        return
    click.echo(f"The key, which nobody can show again:\n\n{key.text}\n\nWhat to add to postwire.toml:\n\n{table}\n")
