"""`postwire providers check`: whether the vendors can be reached from here."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postwire.cli.completion import complete_declared
from postwire.cli.failure import ExitCode, even_if_unread
from postwire.cli.options import JSON
from postwire.cli.providers.command import providers
from postwire.cli.serve import CONFIG, load_config

if TYPE_CHECKING:
    from postwire.config.providers import ProviderConfig
    from postwire.providers.base import Provider, ProviderHealth


@providers.command()
@click.argument("name", required=False, shell_complete=complete_declared)
@CONFIG
@JSON
def check(name: str | None, path: Path | None, as_json: bool) -> int:
    """Ask the vendors whether they can be reached, and send nothing.

    Reads the configuration here, as the server would, and calls no server. All providers are asked side by side, or
    NAME alone; each has 3s. Exits with 1 if one of them is not well.
    """
    from postwire.cli.show import print_json, print_table

    declared = load_config(path, as_json=as_json).providers
    if name is not None and name not in declared:
        raise click.BadParameter(f"{name!r} is not declared here: {', '.join(declared)}", param_hint="NAME")
    asked = list(declared.values()) if name is None else [declared[name]]
    found, all_ended = _check(asked)
    with even_if_unread():
        if as_json:
            reported = [{"name": one.name, "kind": one.kind, **asdict(found[one.name])} for one in asked]
            print_json(json.dumps({"providers": reported}))
        else:
            answers = [(one.name, one.kind, found[one.name]) for one in asked]
            rows = [(name, kind, "yes" if health.ok else "no", health.detail) for name, kind, health in answers]
            print_table(("provider", "kind", "ok", "detail"), rows)
        sys.stdout.flush()
    code = ExitCode.OK if all(health.ok for health in found.values()) else ExitCode.REFUSED
    if not all_ended:
        os._exit(code)  # else the interpreter would wait for threads that a check has left behind
    return code


def _check(asked: Sequence[ProviderConfig]) -> tuple[dict[str, ProviderHealth], bool]:
    """Check these providers. Return what each says, by name, and whether everything that was begun has ended.

    They run on a loop of their own on a daemon thread, so that not even one that holds its loop is waited for.
    """
    import asyncio

    from postwire.daemon import run_in_daemon
    from postwire.providers.base import ProviderHealth
    from postwire.providers.builtin import KINDS
    from postwire.providers.checks import CHECK_TIMEOUT
    from postwire.providers.registry import ProviderNotMade, make
    from postwire.providers.tasks import CANCEL_GRACE

    found: dict[str, ProviderHealth] = {}
    made: list[Provider] = []
    for one in asked:
        try:
            made.append(make(one, KINDS, lambda: secrets.randbits(64)))
        except ProviderNotMade as error:
            found[one.name] = ProviderHealth(ok=False, detail=str(error))

    async def wait() -> bool:
        ending = run_in_daemon(lambda: asyncio.run(_run(made, found)), "postwire-checks")
        # Once for the checks, and once more for connections to be closed.
        ended, _ = await asyncio.wait({ending}, timeout=CHECK_TIMEOUT + 2 * CANCEL_GRACE)
        return bool(ended)

    all_ended = asyncio.run(wait())
    late = ProviderHealth(ok=False, detail=f"it did not answer within {CHECK_TIMEOUT:g} s")
    return {one.name: found.get(one.name, late) for one in asked}, all_ended


async def _run(made: Sequence[Provider], found: dict[str, ProviderHealth]) -> None:
    import asyncio

    from postwire.providers.checks import CHECK_TIMEOUT, ProviderChecks
    from postwire.providers.tasks import CANCEL_GRACE

    def report(provider: Provider, health: ProviderHealth) -> None:
        found[provider.name] = health

    # The class of a fault is in what is reported.
    checks = ProviderChecks(made, report, on_fault=lambda error: None, timeout=CHECK_TIMEOUT)
    checks.start()
    await checks.wait()
    if made:
        await asyncio.wait([asyncio.create_task(_close(provider)) for provider in made], timeout=CANCEL_GRACE)


async def _close(provider: Provider) -> None:
    from postwire.providers.registry import close

    try:
        await close(provider)
    except Exception:  # the answer is what was asked for
        return
