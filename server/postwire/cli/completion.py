"""`postwire completion bash|zsh|fish`, and what is completed beside commands and options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from postwire.cli.command import Command, Word

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_PROGRAM: Final = "postwire"
_VARIABLE: Final = "_POSTWIRE_COMPLETE"
"""By which the shell asks: see click's shell_completion."""

_PATIENCE: Final = 1.0
"""Seconds that a server has to answer, while somebody waits at the prompt."""


@click.command(cls=Command)
@click.argument("shell", type=Word(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes commands, options and the names of providers in a shell.

    \b
    bash:  postwire completion bash > ~/.local/share/bash-completion/completions/postwire
    zsh:   postwire completion zsh > "${fpath[1]}/_postwire"
    fish:  postwire completion fish > ~/.config/fish/completions/postwire.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(click.get_current_context().find_root().command, {}, _PROGRAM, _VARIABLE)
    # Not `source`, which asks the bash that is here for its version: the script may be for another machine.
    click.echo(made.source_template % made.source_vars())


def complete_providers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Those of the server that would be called; none where it does not answer at once."""
    from click.shell_completion import CompletionItem

    from postwire.cli.options import Connection, shown_by
    from postwire.cli.target import default_server

    server = ctx.params.get("server") or (ctx.parent.params.get("server") if ctx.parent else None)
    try:
        with Connection(server or default_server(as_json=True), _PATIENCE, True, shown_by(ctx)).open() as client:
            names = [provider.name for provider in client.list_providers()]
    except Exception:  # at a prompt, whatever is wrong is no news
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The kinds of providers that are installed here. None is imported."""
    from click.shell_completion import CompletionItem

    from postwire.providers.builtin import KINDS

    return [CompletionItem(name) for name in KINDS if name.startswith(incomplete)]


def complete_declared(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Those of the configuration here; none where it cannot be read."""
    from click.shell_completion import CompletionItem

    from postwire.config.file import read_file
    from postwire.config.providers import declared_names

    try:
        _, table = read_file(ctx.params.get("path"), Path())
        names = declared_names(table.get("providers", {}))
    except Exception:  # at a prompt, whatever is wrong is no news
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
