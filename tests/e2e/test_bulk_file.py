"""`postwire send --file`: files, pipes and CSV, sent and sent again, against a real server."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from tests.e2e.server import Server, eventually
from tests.support import forking
from tests.support.waiting import PATIENCE

from postwire_client import Client, MessageFilter

TO = "+15005550100"


def command(server: Server, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    if stdin is None:
        return forking.run(*arguments, "--server", server.address)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with forking.child(*arguments, "--server", server.address, **pipes) as process:
        stdout, stderr = process.communicate(stdin, PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def file_of(folder: Path, lines: list[object]) -> Path:
    """A file of its own name, which is its batch: each test's own, so that no test repeats another one's lines."""
    path = folder / f"{folder.name}.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def line(body: str, to: str = TO, **labels: str) -> object:
    return {"message": {"sms": {"to": to, "body": body}, "labels": labels}}


def test_a_file_is_sent_and_sent_again_it_sends_nothing(server: Server, tmp_path: Path) -> None:
    path = file_of(tmp_path, [line(f"file {n}") for n in range(250)])
    done = command(server, "send", "--file", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "250 sent\n", "")
    done = command(server, "send", "--file", str(path))
    assert (done.returncode, done.stdout) == (0, "250 repeats of an earlier run (250 sent)\n")
    assert done.stderr.startswith("postwire: warning: nothing was sent, an earlier run of the batch '")
    done = command(server, "send", "--file", str(path), "--no-wait", "--json")
    reported = json.loads(done.stdout)
    assert (reported["states"], reported["repeats"], reported["failed"]) == ({}, {"sent": 250}, [])
    assert reported["warning"]
    with Client(server.address) as client:
        ours = [one for one in client.list_messages(page_size=1_000) if one.request_id.startswith("file-")]
    assert len(ours) == 250


def test_two_equal_lines_are_two_messages(server: Server, tmp_path: Path) -> None:
    path = file_of(tmp_path, [line("twice"), line("twice")])
    done = command(server, "send", "--file", str(path), "--json")
    assert json.loads(done.stdout)["states"] == {"sent": 2}
    with Client(server.address) as client:
        found = list(client.list_messages())[:2]
    assert found[0].request_id != found[1].request_id


def test_lines_that_are_refused_are_named_and_the_others_are_sent(server: Server, tmp_path: Path) -> None:
    path = file_of(tmp_path, [line("good"), line("", to="Zq9canary7"), line("good, too")])
    done = command(server, "send", "--file", str(path))
    assert done.returncode == 1
    assert done.stdout == "2 sent, 1 refused\n"
    assert done.stderr.startswith("  line 2: INVALID_MESSAGE: message.sms.to: must be")
    assert "Zq9canary7" not in done.stderr


def test_a_line_that_is_no_request_ends_it_and_is_named(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f'{json.dumps(line("good"))}\n{{"message": {{"sms": {{"to": Zq9canary7}}\n', encoding="utf-8")
    done = command(server, "send", "--file", str(path))
    assert done.returncode == 2
    assert done.stderr.splitlines()[:2] == [
        "postwire: line 2: is not JSON: Expecting value at character 28",
        "  before it: 1 sent",
    ]
    assert "Zq9canary7" not in done.stderr


def test_a_bad_line_that_is_taken_out_sends_nothing_twice(server: Server, tmp_path: Path) -> None:
    good = [line("mended 0"), line("mended 1"), line("mended 2")]
    path = file_of(tmp_path, [good[0], line("bad", to="nobody"), *good[1:]])
    assert command(server, "send", "--file", str(path)).returncode == 1
    path = file_of(tmp_path, [good[2], line("a new one"), *good[:2]])
    done = command(server, "send", "--file", str(path))
    assert (done.returncode, done.stdout) == (0, "1 sent; 3 repeats of an earlier run (3 sent)\n")
    assert done.stderr == ""


def test_a_changed_option_is_refused_and_sends_nothing(server: Server, tmp_path: Path) -> None:
    path = file_of(tmp_path, [line("changed"), line("changed")])
    assert command(server, "send", "--file", str(path), "--priority", "high").stdout == "2 sent\n"
    done = command(server, "send", "--file", str(path), "--priority", "LOW")
    assert (done.returncode, done.stdout) == (1, "2 refused\n")
    assert done.stderr.count("REQUEST_ID_REUSED") == 2
    other = command(server, "send", "--file", str(path), "--priority", "low", "--batch", "another")
    assert other.stdout == "2 sent\n"


def test_a_pipe_is_read_once_and_its_batch_is_told(server: Server, tmp_path: Path) -> None:
    text = f"\ufeff{json.dumps(line('piped'))}\r\n\r\n{json.dumps(line('piped'))}"
    done = command(server, "send", "--file", "-", stdin=text)
    assert (done.returncode, done.stdout) == (0, "2 sent\n")
    reported = re.fullmatch(r"postwire: the batch is (\w+): .* add --batch (\w+)\n", done.stderr)
    assert reported
    assert reported[1] == reported[2]
    again = command(server, "send", "--file", "-", "--batch", reported[1], stdin=text)
    assert again.stdout == "2 repeats of an earlier run (2 sent)\n"
    another = command(server, "send", "--file", "-", stdin=text)
    assert another.stdout == "2 sent\n", "what has no name is no repeat of anything"


def test_a_fifo_is_read_like_a_file(server: Server, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.csv"
    os.mkfifo(fifo)
    writing = threading.Thread(target=lambda: fifo.write_text(f"to,body\n{TO},from a fifo\n", encoding="utf-8"))
    writing.start()
    done = command(server, "send", "--file", str(fifo), "--json")
    writing.join()
    assert json.loads(done.stdout)["states"] == {"sent": 1}
    assert json.loads(done.stderr)["batch"] == json.loads(done.stdout)["batch"]


def test_an_interrupt_ends_it_while_it_waits_for_a_pipe(server: Server) -> None:
    process = forking.child(
        *("send", "--file", "-", "--server", server.address),
        **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
    )
    try:
        assert process.stdin
        assert process.stderr
        process.stderr.readline()  # the batch: from here on it waits for us
        process.stdin.write(json.dumps(line("interrupted", test="interrupt")) + "\n")
        process.stdin.flush()
        with Client(server.address) as client:
            eventually(lambda: any(client.list_messages(MessageFilter(labels={"test": "interrupt"}))))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        reported = process.stderr.read()
        assert "what was sent is not sent twice" in reported
        assert "Traceback" not in reported
    finally:
        process.terminate()
        process.communicate()


def test_a_csv_file_and_what_became_of_each_row(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(
        b"\xef\xbb\xbfto,body,subject,labels.kind,priority\r\n"
        b'+15005550006,"Hello,\r\nyou",,csv,high\r\n'
        b"\r\n"
        b"ada@example.com,Hello,Subject,csv,\r\n"
        b"+15005550001,Hello,,csv,\r\n"
        b"nobody,Hello,,csv,\r\n"
    )
    results = tmp_path / "results.csv"
    done = command(server, "send", "--file", str(path), "--results", str(results))
    assert (done.returncode, done.stdout) == (1, "2 sent, 1 failed, 1 refused\n")
    with results.open(encoding="utf-8", newline="") as file:
        rows = {row["line"]: row for row in csv.DictReader(file)}
    assert {number: row["state"] for number, row in rows.items()} == {
        "2": "sent",
        "5": "sent",
        "6": "failed",
        "7": "refused",
    }
    assert rows["6"]["reason"] == "rejected mock_rejected"
    assert rows["7"]["reason"].startswith("INVALID_MESSAGE: message.sms.to: must be")
    assert rows["7"]["message_id"] == ""
    with Client(server.address) as client:
        assert client.get_message(rows["2"]["message_id"]).request_id == rows["2"]["request_id"]
        assert client.get_message(rows["5"]["message_id"]).labels == {"kind": "csv"}


def test_the_file_that_is_read_is_not_written_over(server: Server, tmp_path: Path) -> None:
    path = file_of(tmp_path, [line("kept")])
    before = path.read_bytes()
    (tmp_path / "results.jsonl").hardlink_to(path)
    done = command(server, "send", "--file", str(path), "--results", str(tmp_path / "results.jsonl"))
    assert done.returncode == 2
    assert "is the file that is read" in done.stderr
    assert path.read_bytes() == before
