"""What `postwire send --file` reads, names and counts, without a server."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from postwire.cli.failure import Failed
from postwire.cli.root import root
from postwire.cli.send import bulk_source
from postwire.cli.send.bulk_faults import BadRow, parse_request
from postwire.cli.send.bulk_ids import Occurrences, request_id
from postwire.cli.send.bulk_report import Report, results_file
from postwire.cli.send.bulk_source import Row, Source
from postwire_client import DispatchRequest, DispatchResult, Message, OutboundMessage, Sms

TO = "+15005550006"


def rows(folder: Path, content: str | bytes, name: str = "f.jsonl", format: str | None = None) -> list[Row]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(Source(path, format).rows())


def as_dict(row: Row) -> Any:
    return json_format.MessageToDict(row.request, preserving_proto_field_name=True)


def sms(**fields: object) -> str:
    return json.dumps({"message": {"sms": {"to": TO, "body": "Hi", **fields}}})


# Lines of JSON.


def test_blank_lines_a_mark_and_line_ends_are_nothing(tmp_path: Path) -> None:
    found = rows(tmp_path, f"\ufeff\r\n{sms()}\r\n \t\n\n{sms(body='last')}".encode())
    assert [(one.line, one.request.message.sms.body) for one in found] == [(2, "Hi"), (5, "last")]


def test_the_order_of_keys_is_no_part_of_the_content(tmp_path: Path) -> None:
    one, other, third = rows(
        tmp_path, '{"request_id": "r", "message": {}}\n{"message":{},"request_id":"r"}\n{"message":{}}\n'
    )
    assert one.content == other.content != third.content


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Zq9", "line 1: is not JSON: Expecting value at character 1"),
        ('{"a": NaN}', "line 1: is not JSON"),
        ('{"a": ' + "9" * 5_000 + "}", "line 1: is not JSON"),
        ("[" * 100_000, "line 1: is not JSON"),
        ('["Zq9"]', "line 1: is not a JSON object"),
        ('{"message": {}, "message": {}}', "line 1: message: is there twice"),
        ('{"massage": {}}', "line 1: massage: is not known, did you mean message?"),
        ('{"message": {"pigeon": {}}}', "line 1: message.pigeon: is not known, known here: sms, mms, email, labels"),
        (sms(to=5), "line 1: message.sms.to: is not a string"),
        (sms(to="\ud800"), "line 1: message.sms.to: is not a string"),
        ('{"message": {"sms": {}, "email": {}}}', "line 1: message: has sms and email, and may have one of them"),
        ('{"message": {"sms": "Zq9"}}', "line 1: message.sms: is not an object"),
        ('{"message": {"email": {"to": "Zq9"}}}', "line 1: message.email.to: is not a list, each of a string"),
        ('{"message": {"labels": {"a": 1}}}', "line 1: message.labels: is not an object of strings"),
        (
            '{"message": {"mms": {"media": [{"url": "x"}, {"data": "A"}]}}}',
            "line 1: message.mms.media[1].data: is not base64",
        ),
        (
            '{"options": {"priority": "Zq9"}}',
            "line 1: options.priority: is not one of PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW",
        ),
        ('{"options": {"max_attempts": "Zq9"}}', "line 1: options.max_attempts: is not a whole number"),
        ('{"options": {"send_time": "Zq9"}}', "line 1: options.send_time: is not a time such as 2030-01-31T12:00:00Z"),
    ],
)
def test_a_line_that_is_no_message_is_named_by_its_field(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(BadRow) as bad:
        rows(tmp_path, line)
    assert str(bad.value).startswith(said)
    assert "Zq9" not in str(bad.value)


def test_a_line_that_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRow, match="line 2: is not UTF-8"):
        rows(tmp_path, sms().encode() + b"\n\xff\n")


def test_a_file_without_line_breaks_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_source, "MAX_LINE", 1 << 20)
    source = Source(Path("/dev/zero"), None)
    with pytest.raises(BadRow, match="line 1: is over 1 MiB"):
        list(source.rows())
    assert source.taken == (1 << 20) + 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*("message", "sms", "email", "to", "body", "labels", "options", "sendTime", "media", "data", "x")]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(raw=st.dictionaries(st.sampled_from(["message", "options", "request_id", "requestId"]), _JSON))
def test_whatever_the_object_it_is_a_request_or_refused(raw: dict[str, Any]) -> None:
    with suppress(BadRow):
        assert isinstance(parse_request(raw, 1), DispatchRequest)


# CSV.


def test_a_row_of_each_channel(tmp_path: Path) -> None:
    text, picture, mail = rows(
        tmp_path,
        "To ,Body,labels,labels.Shop,media,cc,subject,headers.X-Order,priority,max_attempts,send_time,request_id\n"
        f"{TO},  Hi ,a=1; b=2,eu,,,,,At-Most,,,\n".replace("At-Most", "high")
        + f"{TO},,,,https://a.example/1 https://a.example/2,,,,,3,2030-01-31T14:00:00+02:00,mine\n"
        + '"ada@example.com; bob@example.com",Hi,,,,c@example.com,Subject,7,PRIORITY_LOW,,,\n',
        name="f.CSV",
    )
    assert as_dict(text) == {
        "message": {"sms": {"to": TO, "body": "  Hi "}, "labels": {"a": "1", "b": "2", "Shop": "eu"}},
        "options": {"priority": "PRIORITY_HIGH"},
    }
    assert as_dict(picture) == {
        "message": {"mms": {"to": TO, "media": [{"url": "https://a.example/1"}, {"url": "https://a.example/2"}]}},
        "options": {"max_attempts": 3, "send_time": "2030-01-31T12:00:00Z"},
        "request_id": "mine",
    }
    assert as_dict(mail) == {
        "message": {
            "email": {
                "to": ["ada@example.com", "bob@example.com"],
                "cc": ["c@example.com"],
                "subject": "Subject",
                "text": "Hi",
                "headers": {"X-Order": "7"},
            }
        },
        "options": {"priority": "PRIORITY_LOW"},
    }


def test_the_order_of_columns_and_empty_ones_are_no_part_of_the_content(tmp_path: Path) -> None:
    (one,) = rows(tmp_path, f"to,body\n{TO},Hi\n", format="csv")
    (other,) = rows(tmp_path, f"body;sender;to\nHi;;{TO}\n", format="csv")
    assert one.content == other.content


def test_lines_are_counted_and_not_rows(tmp_path: Path) -> None:
    found = rows(tmp_path, f'\n\nto\tbody\r\n{TO}\t"a\r\nb"\r\n\r\n\t\r\n{TO}\tc', name="f.tsv")
    assert [(one.line, one.request.message.sms.body) for one in found] == [(4, "a\r\nb"), (8, "c")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("+12025550101,Zq9\n", "line 1: column 1: is not known, known here: channel, to,"),
        ("to,bodi\n", "line 1: column 2: bodi is not known, did you mean body?"),
        ("to,to\n", "line 1: column 1: to is there twice"),
        ("to,text,body\n", "line 1: column 2: body is there twice"),
        ("body\nHi\n", "line 1: has no column 'to'"),
        ('to,"body\n', "line 1: is not CSV: unexpected end of data"),
        ("to,body\nZq9\n", "line 2: has 1 cells, and the header names 2"),
        ('to,body\n\nZq9,"open\nmore\n', "line 3: is not CSV: unexpected end of data"),
        ("to,channel\nZq9,pigeon\n", "line 2: channel: is not one of sms, mms, email"),
        ("to,subject\n+1,Zq9\n", "line 2: subject: does not go with sms"),
        ("to,headers.X\n+1,Zq9\n", "line 2: headers.X: does not go with sms"),
        ("to,labels\n+1,Zq9\n", "line 2: labels: is not KEY=VALUE"),
        ("to,priority\n+1,Zq9\n", "line 2: priority: is not one of high, normal, low"),
        ("to,max_attempts\n+1,Zq9\n", "line 2: max_attempts: is not a whole number"),
        ("to,send_time\n+1,2030-01-31T12:00:00\n", "line 2: send_time: has no offset"),
    ],
)
def test_a_row_that_is_no_message_is_named_by_its_column(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(BadRow) as bad:
        rows(tmp_path, content, format="csv")
    assert str(bad.value).startswith(said)
    assert "Zq9" not in str(bad.value)


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path, "") == rows(tmp_path, "\n", format="csv") == rows(tmp_path, "to,body\n", format="csv") == []


# Where it comes from.


def test_a_name_is_only_that_of_a_regular_file(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(sms())
    reading, writing = os.pipe()
    os.write(writing, sms().encode())
    os.close(writing)
    for given_path, name, size in ((path, "f.jsonl", len(sms())), (Path(f"/dev/fd/{reading}"), None, None)):
        source = Source(given_path, None)
        assert (source.name, source.size) == (name, size)
        assert len(list(source.rows())) == 1
    os.close(reading)
    with path.open("rb") as file:
        unnamed = Source(Path(f"/dev/fd/{file.fileno()}"), None)
        assert unnamed.name is None, "what is redirected has lost its name"
        unnamed.close()


@pytest.mark.parametrize(("path", "said"), [("none", "No such file"), (".", "Is a directory"), ("a\0b", "no file")])
def test_what_cannot_be_read_is_wrong_usage(path: str, said: str) -> None:
    with pytest.raises(click.UsageError, match=said):
        Source(Path(path), None)


# Request ids.


def test_an_id_hangs_on_batch_content_and_count_and_stays_what_it_is() -> None:
    assert request_id("b", "c", 1) == "file-4779d80b91246f78cf2e25ba424157e346b97934"
    made = {request_id(batch, content, nth) for batch in ("b", "bc") for content in ("c", "") for nth in (1, 2)}
    assert len(made) == 8
    assert request_id("not UTF-8: \udcff", "c", 1)


@given(contents=st.lists(st.sampled_from("abc"), max_size=30))
def test_equal_contents_are_counted(contents: list[str]) -> None:
    seen = Occurrences()
    assert [seen.count(one) for one in contents] == [contents[: n + 1].count(one) for n, one in enumerate(contents)]
    seen.close()


# What is told.


def result(index: int, message_id: str, state: int = 3) -> DispatchResult:
    request = DispatchRequest(message=OutboundMessage(sms=Sms(to=TO)), request_id=f"r-{index}")
    message = Message(message_id=message_id, state=state)  # type: ignore[arg-type]  # a number, as it is on the wire
    return DispatchResult(index, request, message, None)


def test_what_is_no_newer_than_the_newest_before_is_a_repeat() -> None:
    report = Report("batch", "0002")
    for index, message_id in enumerate(["0001", "0002"]):
        report.add(index + 1, result(index, message_id))
    assert report.is_all_repeats
    report.add(3, result(2, "0003", state=6))
    assert not report.is_all_repeats
    assert report.summary() == "1 failed; 2 repeats of an earlier run (2 sent)"
    assert (report.count, report.failed) == (3, 1)


def test_not_all_failures_are_held_in_memory(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("batch", "")
    for index in range(1_500):
        report.add(index + 1, result(index, f"{index:04}", state=6))
    report.show(as_json=True)
    reported = json.loads(capsys.readouterr().out)
    assert (len(reported["failed"]), reported["failed_count"], reported["states"]) == (1_000, 1_500, {"failed": 1_500})
    report.show(as_json=False)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 21
    assert shown[-1] == "  and 1480 more (--results)"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_results_that_find_no_room_end_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Failed) as failed, results_file(Path("/dev/full"), hint="run it again", as_json=False) as write:
        write(Report("batch", "").add(7, result(0, "0001")))
    failed.value.show()
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["postwire: /dev/full: cannot be written: No space left on device", "  run it again"]


def test_results_on_stdout_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").touch()
    done = CliRunner().invoke(root, ["send", "--file", "a.jsonl", "--results", "-"])
    assert done.exit_code == 2
    assert "--results - is no file" in done.stderr
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r"])
def test_results_are_csv_or_json_by_their_name(tmp_path: Path, name: str) -> None:
    report = Report("batch", "")
    with results_file(tmp_path / name) as write:
        write(report.add(7, result(0, "0001")))
    text = (tmp_path / name).read_text(encoding="utf-8")
    if name == "r.jsonl":
        assert json.loads(text) == {
            "line": 7,
            "request_id": "r-0",
            "message_id": "0001",
            "state": "sent",
            "reason": "",
        }
    else:
        assert text == "line,request_id,message_id,state,reason\n7,r-0,0001,sent,\n"
