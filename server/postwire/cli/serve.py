"""`postwire serve`, and the configuration that it and others read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from postwire import signals
from postwire.cli.command import Command
from postwire.cli.failure import ExitCode, Failed, from_config_error
from postwire.descriptors import STDERR, leave_unread

if TYPE_CHECKING:
    from postwire.config.bind import ConfigError
    from postwire.config.schema import Config

CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A TOML file.  [default: ./postwire.toml, if there is one]",
)


@click.command(cls=Command)
@CONFIG
def serve(path: Path | None) -> int:
    """Run the server, until SIGTERM or SIGINT.

    SIGHUP has it read the configuration again; where stderr is a terminal, which was closed then, it ends the server.

    Settings come from a TOML file, then from the environment, which wins: server.listen is POSTWIRE_SERVER__LISTEN.
    With no settings at all, two mocks carry everything, and send nothing.
    """
    hang_up = signals.take_over()
    try:
        return _serve(path, hang_up)
    except Failed:
        leave_unread(STDERR)
        raise


def _serve(path: Path | None, hang_up: signals.HangUp) -> int:
    config = load_config(path)
    from postwire.app import BootError, run
    from postwire.config.bind import ConfigError

    try:
        # The same file: that there is none any more must not mean the defaults.
        return run(config, hang_up, lambda: _read(config.file or path))
    except BootError as error:
        raise Failed(str(error), ExitCode.BAD_CONFIG) from None
    except ConfigError as error:
        raise from_config_error(error) from None


def load_config(
    path: Path | None, *, as_json: bool = False, examine: Callable[[object], Iterable[ConfigError]] = lambda section: ()
) -> Config:
    """The configuration, as the server would take it; what is wrong with it ends the command."""
    from postwire.config.bind import ConfigError

    try:
        return _read(path, examine)
    except ConfigError as error:
        raise from_config_error(error, as_json=as_json) from None


def _read(path: Path | None, examine: Callable[[object], Iterable[ConfigError]] = lambda section: ()) -> Config:
    """The configuration of a file and the environment. Raises ConfigError."""
    from postwire.config.schema import load
    from postwire.providers.builtin import KINDS

    return load(path=path, environ=os.environ, kinds=KINDS, examine=examine)
