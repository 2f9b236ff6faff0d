"""`postwire providers kinds`: what can be declared here, and with which keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from postwire.cli.completion import complete_kinds
from postwire.cli.config import json_value
from postwire.cli.failure import ExitCode, Failed
from postwire.cli.options import JSON
from postwire.cli.providers.command import providers
from postwire.cli.serve import CONFIG, load_config

if TYPE_CHECKING:
    from postwire.config.schema import Config
    from postwire.config.shown import KeyDescription
    from postwire.providers.base import Kind


@providers.command()
@click.argument("name", metavar="[KIND]", required=False, shell_complete=complete_kinds)
@CONFIG
@JSON
def kinds(name: str | None, path: Path | None, as_json: bool) -> None:
    """List the kinds of providers that are installed here, or every key of one.

    Calls no server. Which providers of the configuration here are of a kind is shown as well, where it can be read.
    """
    from postwire.providers.builtin import KINDS

    config = _readable(path, as_json=as_json)
    if name is None:
        _list(config, as_json=as_json)
    elif name not in KINDS:
        raise click.BadParameter(f"{name!r} is not a kind of provider: {', '.join(KINDS)}", param_hint="KIND")
    else:
        _describe(name, config, as_json=as_json)


def _readable(path: Path | None, *, as_json: bool) -> Config | None:
    """The configuration; None where it is wrong, as it may be while somebody looks for the keys that are missing."""
    try:
        return load_config(path)
    except Failed:
        if not as_json:
            click.echo("postwire: warning: the configuration here is wrong: see postwire config check", err=True)
        return None


def _list(config: Config | None, *, as_json: bool) -> None:
    from postwire.cli.show import print_json, print_table
    from postwire.config.providers import UnusableKind
    from postwire.providers.builtin import KINDS

    found: list[dict[str, Any]] = []
    for name in KINDS:
        try:
            reported = _summary(name, KINDS[name], config)
        except UnusableKind as wrong:
            reported = _summary(name, None, config) | {"problem": str(wrong)}
        found.append(reported)
    if as_json:
        print_json(json.dumps({"kinds": found}))
        return
    print_table(
        ("kind", "channels", "providers", "package", "summary"),
        [
            (
                one["kind"],
                ",".join(one["channels"]),
                ",".join(one["providers"] or ()),
                one["package"] or "",
                one["summary"] if one["problem"] is None else f"it {one['problem']}",
            )
            for one in found
        ],
    )


def _describe(name: str, config: Config | None, *, as_json: bool) -> None:
    from postwire.cli.show import print_json, print_pairs, print_table
    from postwire.config.providers import UnusableKind, describe_kind
    from postwire.providers.builtin import KINDS

    try:
        kind = KINDS[name]
    except UnusableKind as wrong:
        raise Failed(f"the kind {name} {wrong}", ExitCode.REFUSED, as_json=as_json) from None
    reported = _summary(name, kind, config)
    described = describe_kind(kind, attempt_timeout=config.delivery.attempt_timeout if config else None)
    if as_json:
        print_json(json.dumps(reported | {"keys": list(map(_key, described))}))
        return
    print_pairs(
        [
            ("kind", name),
            ("channels", ",".join(reported["channels"])),
            ("providers", ",".join(reported["providers"] or ())),
            ("package", reported["package"] or ""),
            ("summary", reported["summary"]),
        ]
    )
    click.echo()
    print_table(
        ("key", "default", "meaning"),
        [
            (one.key, "(required)" if one.required else one.default or "(none)", one.help or one.wants)
            for one in described
        ],
    )


def _summary(name: str, kind: Kind | None, config: Config | None) -> dict[str, Any]:
    """What is shown of a kind; None for what is not known. Lists are of names."""
    from postwire.providers.builtin import KINDS

    declared = config.providers.values() if config else ()
    return {
        "kind": name,
        "channels": [channel.value for channel in kind.channels] if kind else [],
        "summary": kind.summary if kind else None,
        "package": KINDS.package(name) or None,
        "problem": None,
        "providers": [one.name for one in declared if one.kind == name] if config else None,
    }


def _key(described: KeyDescription) -> dict[str, Any]:
    return {
        "key": described.key,
        "default": None if described.default is None else json_value(described.default),
        "required": described.required,
        "secret": described.secret,
        "value": described.wants,
        "help": described.help,
    }
