"""`postwire config check|init`."""

from __future__ import annotations

import json
import os
import tomllib
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

import click

from postwire.cli.command import Group
from postwire.cli.failure import ExitCode, Failed
from postwire.cli.options import JSON
from postwire.cli.serve import CONFIG, load_config

SAMPLE: Final = "sample.toml"
"""Every setting with its default: the postwire.toml at the root of a checkout."""


@click.group(cls=Group)
def config() -> None:
    """Look at the configuration, or begin one."""


@config.command()
@CONFIG
@JSON
@click.option("--quiet", "-q", is_flag=True, help="Show no setting, only what is wrong and the warnings.")
def check(path: Path | None, as_json: bool, quiet: bool) -> None:
    """Check the configuration, and show every setting as the server would take it.

    Fails where the server would not start with it here: where a directory is missing, say. Whether something listens
    already is no part of it, so that it can be asked while the server runs.
    """
    from postwire.cli.preflight import examine, warnings_of
    from postwire.cli.show import print_json, print_table
    from postwire.config.schema import effective

    loaded = load_config(path, as_json=as_json, examine=examine)
    settings = [] if quiet else effective(loaded)
    warnings = [*(str(stray) for stray in loaded.strays if not stray.injected), *warnings_of(loaded)]
    if as_json:
        why = {
            "file": str(loaded.file) if loaded.file else None,
            "settings": [
                {"key": key, "value": json_value(value), "explicit": key in loaded.explicit} for key, value in settings
            ],
            "warnings": warnings,
        }
        print_json(json.dumps(why))
        return
    for warning in warnings:
        click.echo(f"postwire: warning: {warning}", err=True)
    if quiet:
        return
    rows = [(key, value, "set" if key in loaded.explicit else "default") for key, value in settings]
    print_table(("key", "value", "from"), rows)
    click.echo(f"\nRead {loaded.file or 'no file'}, then the environment: all is well.")


@config.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="[FILE]", default="postwire.toml")
def init(path: Path) -> None:
    """Write a configuration to begin with: every setting with its default, and what it means.

    FILE is ./postwire.toml if it is left out, and - is stdout. A file that is there is never written over.
    """
    sample = resources.files("postwire").joinpath(SAMPLE).read_bytes()
    if str(path) == "-":
        click.echo(sample.decode(), nl=False)
        return
    try:
        with path.open("xb") as file:
            file.write(sample)
    except FileExistsError:
        raise Failed(f"{path}: is there already, give the path of a new file", ExitCode.REFUSED) from None
    except (OSError, ValueError) as wrong:
        why = wrong.strerror if isinstance(wrong, OSError) else "it is no path"
        raise Failed(f"{path}: cannot be written: {why}", ExitCode.REFUSED) from None
    click.echo(f"{path}: every setting with its default; postwire config check --config {os.fspath(path)}")


def json_value(shown: str) -> Any:
    """Of a value as TOML writes it. A duration or a size is a string there as well, and JSON has no times."""
    if shown in ("(none)", "(set)"):
        return None if shown == "(none)" else shown
    value = tomllib.loads(f"value = {shown}")["value"]
    return shown if isinstance(value, datetime) else value
