"""What every command is made of: groups and commands that honour or refuse each option, and the words they take."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Strict(click.Command):
    """Refuses an option that is given twice, unless it may be given several times."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(list(args))
            for param, count in Counter(given).items():
                if count > 1 and isinstance(param, click.Option) and not (param.multiple or param.count):
                    raise click.UsageError(f"{_name(param)} is given twice: give it once", ctx)
        return super().parse_args(ctx, args)


class Command(_Strict):
    """A command. An option that its groups were given is its own, as if it stood behind the command's name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        left = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            self._take_over(ctx)
        return left

    def _take_over(self, ctx: click.Context) -> None:
        own = {param.name for param in self.params if isinstance(param, click.Option)}
        group = ctx.parent
        while group is not None:
            for param in group.command.params:
                if not isinstance(param, click.Option) or not _is_given(group, param.name):
                    continue
                if param.name not in own:
                    raise click.UsageError(f"{_name(param)} does not go with {self.name}", ctx)
                if _is_given(ctx, param.name):
                    how = (
                        f"before and behind {self.name}: give all in one place"
                        if param.multiple
                        else "twice: give it once"
                    )
                    raise click.UsageError(f"{_name(param)} is given {how}", ctx)
                ctx.params[param.name] = group.params[param.name]
                ctx.set_parameter_source(param.name, ParameterSource.COMMANDLINE)
            group = group.parent


class Group(_Strict, click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type  # groups in it are of its own class


class Word(click.Choice[str]):
    """One of a few words, in capitals or not, with `_` or `-`: `AT_LEAST_ONCE` is as good as `at-least-once`."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """See `click.Choice.normalize_choice`."""
        return super().normalize_choice(choice, ctx).casefold().replace("_", "-")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """See `click.Choice.shell_complete`."""
        from click.shell_completion import CompletionItem

        begun = self.normalize_choice(incomplete, ctx)
        return [CompletionItem(one) for one in self.choices if self.normalize_choice(one, ctx).startswith(begun)]


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _name(option: click.Option) -> str:
    return max(option.opts, key=len)
