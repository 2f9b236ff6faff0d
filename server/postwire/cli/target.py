"""Which server a command calls where its arguments do not say."""

from __future__ import annotations

import os
from typing import Final

import click

from postwire.cli.failure import from_config_error

DEFAULT_SERVER: Final = "127.0.0.1:50051"
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def default_server(*, as_json: bool) -> str:
    """Where the server of the configuration in the working directory is reached, else the default.

    Raises Failed for a configuration that is wrong there: another server than the one that is meant would be worse.
    """
    from postwire.config.bind import ConfigError
    from postwire.config.file import default_listen
    from postwire.config.strays import stray_variables

    for stray in stray_variables(os.environ, tuple):
        if stray.nearest and not as_json:
            click.echo(f"postwire: warning: {stray}", err=True)
    try:
        listen = default_listen()
    except ConfigError as error:
        raise from_config_error(error, as_json=as_json, hint="or say which server to call, by --server") from None
    return (listen and reachable(listen)) or DEFAULT_SERVER


def reachable(listen: str) -> str | None:
    """The address at which a server of this machine is called that listens there; None where nobody can know it."""
    from postwire.config.endpoints import host_port

    if listen.startswith("unix:"):
        return listen
    host, port = host_port(listen)
    shown = f"[{host}]" if ":" in host else host
    return f"{_LOOPBACK.get(host, shown)}:{port}" if port else None
