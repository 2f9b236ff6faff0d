"""What holds for every command: an option that is given is honoured or refused, and no input ends in a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.scripted_server import ScriptedServer, serving

from postwire.cli.command import Command, Group, Word
from postwire.cli.root import root
from postwire.v1.dispatch_service_pb2 import DispatchResponse
from postwire.v1.message_pb2 import Message
from postwire_client import reopening

SMS = ("--to", "+15005550006", "--body", "Hello")


def every(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, with its words."""
    for name, command in group.commands.items():
        yield (*before, name), command
        if isinstance(command, click.Group):
            yield from every(command, *before, name)


COMMANDS = dict(every(root))
LEAVES = [words for words, command in COMMANDS.items() if not isinstance(command, click.Group)]


def run(*args: str) -> Result:
    return CliRunner().invoke(root, args)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedServer]:
    """A server that took a message, the one that is called where no other is named."""
    monkeypatch.chdir(tmp_path)
    scripted = ScriptedServer()
    scripted.answer = DispatchResponse(message=Message(message_id="m-1", state=3))  # type: ignore[arg-type]  # SENT
    with serving(scripted) as target:
        monkeypatch.setenv("POSTWIRE_SERVER", target)
        yield scripted


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_of_the_kind_that_honours_or_refuses(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert isinstance(command, Group if isinstance(command, click.Group) else Command)
    for param in command.params:
        if isinstance(param.type, click.Choice):
            assert isinstance(param.type, Word), f"{param.name}: SENT would not be as good as sent"


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_a_single_option_that_is_given_twice_is_refused(words: tuple[str, ...]) -> None:
    """Whatever else is missing: nothing is called before."""
    for param in COMMANDS[words].params:
        if not isinstance(param, click.Option) or param.multiple:
            continue
        given = [param.opts[0]] if param.is_flag else [param.opts[0], "x"]
        result = run(*words, *given, *given)
        assert result.exit_code == 2
        assert f"{max(param.opts, key=len)} is given twice: give it once" in result.stderr


# The options of a group.


def test_an_option_before_the_channel_is_as_good_as_one_behind_it(scripted: ScriptedServer) -> None:
    with serving(scripted) as other:
        scripted.asked.clear()
        result = run("send", "--server", other, "--json", "--timeout", "5s", "sms", *SMS)
    assert result.exit_code == 0
    assert result.stdout.startswith('{"message_id": "m-1"')
    assert len(scripted.asked) == 1


def test_it_is_not_sent_to_the_default_server(scripted: ScriptedServer) -> None:
    result = run("send", "--server", "127.0.0.1:1", "sms", *SMS)
    assert result.exit_code == 3
    assert "no answer from 127.0.0.1:1:" in result.stderr
    assert scripted.asked == []


def test_a_timeout_of_the_group_counts(scripted: ScriptedServer) -> None:
    limits: list[float] = []

    def answer(request: object, context: object) -> DispatchResponse:
        limits.append(context.time_remaining())  # type: ignore[attr-defined]
        return DispatchResponse(message=Message(message_id="m-1", state=3))  # type: ignore[arg-type]

    scripted.answer = answer
    assert run("send", "--timeout", "1000s", "sms", *SMS).exit_code == 0
    assert limits[0] > 500


@pytest.mark.parametrize(
    ("before", "behind", "said"),
    [
        (("--file", "x"), (), "--file does not go with sms"),
        (("--no-wait",), (), "--no-wait does not go with sms"),
        (("--server", "127.0.0.1:1"), ("--server", "127.0.0.1:1"), "--server is given twice"),
        (("--json",), ("--json",), "--json is given twice"),
        (("--label", "a=1"), ("--label", "b=2"), "--label is given before and behind sms"),
        (("--server", "nowhere"), (), "is not an address such as"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    scripted: ScriptedServer, before: tuple[str, ...], behind: tuple[str, ...], said: str
) -> None:
    result = run("send", *before, "sms", *SMS, *behind)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert scripted.asked == []


# Any input.

_VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *("", "-", "--", "9" * 20, "-" + "9" * 20, "9" * 5_000, "1e999", "nan", "inf", "-0", "0x10", "1_000", "٣"),
            *("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "2030-01-31"),
            *("in 2h", "in 365d", "999999999999d", "0s", "1ms", "in 9999999d", "2030-01-31T12:00:60Z", "2030-W05-1"),
            *(
                "[::1]:1",
                "unix:/",
                "unix:/nowhere",
                "127.0.0.1:0",
                "127.0.0.1:65535",
                "a=b",
                "=",
                "a=",
                "\x00",
                "\ud800",
            ),
        ]
    ),
)
_CALLING = [words for words in LEAVES if any(param.name == "server" for param in COMMANDS[words].params)]


@given(data=st.data())
@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_input_ends_in_a_traceback(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.setattr(reopening, "LONGEST_PAUSE", 0.0)  # or to wait for a message takes half a minute
    words = data.draw(st.sampled_from([words for words in _CALLING if "watch" not in words]))
    options = [param for param in COMMANDS[words].params if isinstance(param, click.Option) and param.name != "server"]
    args = list(words)
    for option in data.draw(st.lists(st.sampled_from(options), max_size=3, unique=True)):
        if option.name == "timeout":
            continue  # a short one is obeyed, and a long one changes nothing
        args.append(option.opts[0])
        if not option.is_flag:
            args.append(data.draw(_VALUES))
    args += [data.draw(_VALUES) for param in COMMANDS[words].params if isinstance(param, click.Argument)]
    result = CliRunner().invoke(root, args, input=b"\xff")
    assert result.exception is None or isinstance(result.exception, SystemExit), (args, result.exc_info)
