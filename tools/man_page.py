"""The man page of the `postwire` command: docs/postwire.1, made from the commands and nothing else.

In man(7)'s macros. `make generate` renews it, and a test says when it is stale.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from postwire.cli.root import root

PAGE: Final = Path("docs/postwire.1")
_NAME: Final = "postwire"

_ENVIRONMENT: Final = (
    ("POSTWIRE_SERVER", "The server that commands call where --server does not say. POSTWIRE_TARGET is an alias."),
    ("POSTWIRE_TLS", "1 calls the server by TLS, as --tls does."),
    ("POSTWIRE_CA_FILE", "The authorities to trust: --ca-file."),
    ("POSTWIRE_CERT_FILE, POSTWIRE_KEY_FILE", "Your certificate and its key: --cert-file, --key-file."),
    ("POSTWIRE_TOKEN_FILE", "A file with an API key or a token: --token-file."),
    ("POSTWIRE_TENANT", "For whom an administrator calls: --tenant."),
    ("POSTWIRE_SECTION__KEY", "A setting of the server, which wins over its file: POSTWIRE_SERVER__LISTEN."),
    ("OTEL_*", "As the specification of OpenTelemetry has them."),
    ("NO_COLOR", "If it is set, nothing is coloured."),
)
_FILES: Final = (("./postwire.toml", "The configuration, where --config does not say: see postwire config init."),)


def render() -> str:
    """The page, as roff."""
    ctx = click.Context(root, info_name=_NAME)
    help_text, _, _ = (root.help or "").partition("\n")
    lines = [
        f'.TH {_NAME.upper()} 1 "" "Postwire" "User Commands"',
        ".SH NAME",
        f"{_NAME} \\- send SMS, MMS and email through any provider",
        ".SH SYNOPSIS",
        f".B {_NAME}",
        "COMMAND [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        _text(help_text),
        ".PP",
        _text("Every command has --help. Options may stand before or behind arguments."),
        ".SH OPTIONS",
        *_options(root, ctx),
        ".SH COMMANDS",
        *_commands(root, ctx),
        ".SH EXIT STATUS",
    ]
    for code, meaning in re.findall(r"^  (\d+) +(.+)$", root.epilog or "", re.MULTILINE):
        lines += [".TP", f".B {code}", _text(meaning)]
    for heading, entries in (("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        lines.append(f".SH {heading}")
        for name, meaning in entries:
            lines += [".TP", f".B {_text(name)}", _text(meaning)]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name in group.list_commands(parent):
        command = group.commands[name]
        ctx = click.Context(command, info_name=name, parent=parent)
        yield f".SS {_text(' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)]))}"
        yield from _paragraphs(command.help or "")
        yield from _options(command, ctx)
        yield from _paragraphs(command.epilog or "")
        if isinstance(command, click.Group):
            yield from _commands(command, ctx)


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    for param in command.params:
        record = param.get_help_record(ctx)
        if record and isinstance(param, click.Option):
            term, meaning = record
            yield from (".TP", f".B {_text(term)}", _text(re.sub(r"\s+", " ", meaning)))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if not paragraph:
            continue
        if paragraph.startswith("\b"):  # stands as it is, for click as well
            yield from (".PP", ".nf", *map(_text, paragraph.splitlines()[1:]), ".fi")
        else:
            yield from (".PP", _text(" ".join(paragraph.split())))


def _text(text: str) -> str:
    """Plain text as roff takes it: no line of it is a request, and hyphens can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
