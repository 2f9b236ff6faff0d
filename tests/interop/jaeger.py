"""Jaeger itself: built once, run with all that it is told in memory, and read by the API that its own pages use."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

from tests.e2e.server import eventually
from tests.support.waiting import PATIENCE

MODULE: Final = Path(__file__).parent / "jaeger"
"""Pins Jaeger, apart from the other programs: what it needs would decide about what they get."""

PACKAGE: Final = "github.com/jaegertracing/jaeger/cmd/all-in-one"

ARGUMENTS: Final = (
    "--admin.http.host-port=127.0.0.1:0",
    "--collector.grpc-server.host-port=127.0.0.1:0",
    "--collector.http-server.host-port=127.0.0.1:0",
    "--collector.otlp.grpc.host-port=127.0.0.1:0",
    "--collector.otlp.http.host-port=127.0.0.1:0",
    "--query.http-server.host-port=127.0.0.1:0",
    "--query.grpc-server.host-port=localhost:0",  # it refuses two that read the same, free ports or not
)

ENVIRONMENT: Final = {"OTEL_TRACES_SAMPLER": "always_off"}
"""Nothing else: every option could come from there. Its own spans would go to a port that is not ours."""

END: Final = 4_102_444_800_000_000
"""The year 2100, in µs: no span is later."""

_JAEGERS_OWN: Final = frozenset(
    {"span.kind", "error", "otel.status_code", "otel.status_description", "otel.scope.name", "otel.scope.version"}
)
"""Tags that Jaeger makes of what are no attributes in OpenTelemetry."""


def build(program: Path) -> None:
    """Build it, which takes minutes; then go finds that nothing has changed, which takes a second."""
    done = subprocess.run(("go", "build", "-o", program, PACKAGE), cwd=MODULE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Span:
    """A span as Jaeger gives it. Times in µs; `error` is what its status says, or None where it is no error."""

    service: str
    name: str
    kind: str
    error: str | None
    trace_id: str
    span_id: str
    parent_id: str
    follows_from: tuple[tuple[str, str], ...]
    start_time: int
    duration: int
    tags: Mapping[str, str]
    events: tuple[tuple[str, Mapping[str, str]], ...]
    warnings: tuple[str, ...]

    @classmethod
    def read(cls, span: dict[str, Any], processes: dict[str, Any]) -> Self:
        """Make it of a span of the query API."""
        tags = _values(span["tags"])
        assert (tags.get("otel.status_code") == "ERROR") is (tags.get("error") is True)
        events = [_values(log["fields"]) for log in span["logs"]]
        refers = {
            kind: [(one["traceID"], one["spanID"]) for one in span["references"] if one["refType"] == kind]
            for kind in ("CHILD_OF", "FOLLOWS_FROM")
        }
        parents = [span_id for trace_id, span_id in refers["CHILD_OF"] if trace_id == span["traceID"]]
        assert len(parents) == len(refers["CHILD_OF"]) <= 1
        return cls(
            service=processes[span["processID"]]["serviceName"],
            name=span["operationName"],
            kind=tags["span.kind"],
            error=tags.get("otel.status_description", "") if "error" in tags else None,
            trace_id=span["traceID"],
            span_id=span["spanID"],
            parent_id="".join(parents),
            follows_from=tuple(refers["FOLLOWS_FROM"]),
            start_time=span["startTime"],
            duration=span["duration"],
            tags={key: value for key, value in tags.items() if key not in _JAEGERS_OWN},
            events=tuple((event.pop("event"), event) for event in events),
            warnings=tuple(span["warnings"] or ()),
        )


@dataclass(frozen=True)
class Trace:
    """All the spans that Jaeger has of a trace, in the order of their beginnings."""

    spans: tuple[Span, ...]

    def named(self, name: str) -> Span:
        """The one span with this name."""
        (span,) = [one for one in self.spans if one.name == name]
        return span

    def drawing(self) -> str:
        """The trace as text, a span below the one that it belongs to; ids of messages are left out."""
        known = {one.span_id for one in self.spans}
        tops = [one for one in self.spans if one.parent_id not in known]
        return "".join(f"{line}\n" for top in tops for line in self._draw(top))

    def _draw(self, span: Span) -> Iterator[str]:
        status = "" if span.error is None else f', error "{span.error}"'
        yield f"{span.service}: {span.name} [{span.kind}{status}]"
        for key, value in sorted(span.tags.items()):
            yield f"    {key} = {'…' if key == 'postwire.message.id' else value}"
        for name, attributes in span.events:
            yield f"    event: {name}"
            yield from (f"        {key} = {value}" for key, value in sorted(attributes.items()))
        yield from ("    follows from: a span of another trace" for _ in span.follows_from)
        for child in self.spans:
            if child.parent_id == span.span_id:
                yield from (f"  {line}" for line in self._draw(child))


class Jaeger:
    """Runs while it is entered, with its log in `folder`. `otlp` is where spans go, by gRPC."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.otlp = ""
        self._program = program
        self._query = ""
        self._log = folder / "jaeger.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                (self._program, *ARGUMENTS),
                cwd=self._log.parent,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            admin = self._reported("Admin server started", "http.host-port")
            self.otlp = f"http://{self._reported('Starting GRPC server', 'endpoint')}"
            self._query = f"http://{self._reported('Query server started', 'http_addr')}"
            eventually(lambda: _answer(f"http://{admin}/"))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, and all that it holds with it."""
        assert self._process
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def trace(self, trace_id: str, spans: int) -> Trace:
        """Return a trace once so many of its spans are stored, of which nothing tells. More would be there too."""
        eventually(lambda: len(self._spans(trace_id)) >= spans)
        return Trace(tuple(sorted(self._spans(trace_id), key=lambda one: one.start_time)))

    def services(self) -> list[str]:
        """Who has sent spans."""
        return sorted(json.loads(_answer(f"{self._query}/api/services"))["data"])

    def operations(self, service: str) -> set[tuple[str, str]]:
        """The names of a service's spans, each with its kind."""
        reported = json.loads(_answer(f"{self._query}/api/operations?service={quote(service)}"))["data"]
        return {(one["name"], one["spanKind"]) for one in reported}

    def everything(self) -> str:
        """All traces, as Jaeger writes them: for looking for what must not be there."""
        times = f"start=0&end={END}"
        paths = [f"/api/traces?service={quote(service)}&limit=100000&{times}" for service in self.services()]
        return "".join(_answer(f"{self._query}{path}") for path in paths)

    def _spans(self, trace_id: str) -> list[Span]:
        answer = _answer(f"{self._query}/api/traces/{trace_id}")
        return [
            Span.read(span, trace["processes"])
            for trace in (json.loads(answer)["data"] if answer else ())
            for span in trace["spans"]
        ]

    def _reported(self, what: str, key: str) -> str:
        """Return what its log says once: the port it has been given is nowhere else."""

        def found() -> list[str]:
            assert self._process
            assert self._process.poll() is None, self._log.read_text(encoding="utf-8")
            lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
            entries = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]
            return [str(one[key]) for one in entries if one["msg"] == what and key in one]

        eventually(found)
        return found()[0]


def _values(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    assert len({pair["key"] for pair in pairs}) == len(pairs), "a key is there twice"
    return {pair["key"]: pair["value"] for pair in pairs}


def _answer(address: str) -> str:
    """What is at an address; nothing where there is nothing, or not yet."""
    try:
        with urlopen(address, timeout=PATIENCE) as response:
            return str(response.read().decode())
    except HTTPError as error:
        error.close()
        if error.code in (404, 503):
            return ""
        raise
