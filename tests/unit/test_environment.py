"""What the `OTEL_*` variables ask for, and what of it is refused."""

from __future__ import annotations

import itertools

import pytest
from opentelemetry.sdk.resources import Resource

from postwire import __version__
from postwire.telemetry.environment import OtelSettings, TelemetryError
from postwire.telemetry.setup import service_resource

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
HERE = "http://127.0.0.1:4317"
SECRET = "Zq9canary7"


def read(environ: dict[str, str], endpoint: str | None = None) -> OtelSettings:
    return OtelSettings.read(environ, configured_endpoint=endpoint)


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(TelemetryError) as refused:
        read(environ)
    return str(refused.value)


WANTED: list[tuple[dict[str, str], tuple[bool, bool, bool]]] = [
    # traces, metrics over OTLP, Prometheus
    ({}, (False, False, True)),
    ({"PATH": "/bin", "OTHER": "x"}, (False, False, True)),
    ({ENDPOINT: ""}, (False, False, True)),
    ({ENDPOINT: HERE}, (True, True, True)),
    ({TRACES_ENDPOINT: HERE}, (True, False, True)),
    ({METRICS_ENDPOINT: HERE}, (False, True, True)),
    ({ENDPOINT: HERE, "OTEL_TRACES_EXPORTER": "none"}, (False, True, True)),
    ({ENDPOINT: HERE, "OTEL_TRACES_EXPORTER": "otlp"}, (True, True, True)),
    ({ENDPOINT: HERE, "OTEL_TRACES_EXPORTER": ""}, (True, True, True)),
    ({ENDPOINT: HERE, "OTEL_METRICS_EXPORTER": "none"}, (True, False, False)),
    ({ENDPOINT: HERE, "OTEL_METRICS_EXPORTER": "otlp"}, (True, True, False)),
    ({ENDPOINT: HERE, "OTEL_METRICS_EXPORTER": "prometheus"}, (True, False, True)),
    ({ENDPOINT: HERE, "OTEL_METRICS_EXPORTER": "prometheus , otlp"}, (True, True, True)),
    ({"OTEL_METRICS_EXPORTER": "otlp"}, (False, False, False)),
    ({ENDPOINT: HERE, "OTEL_SDK_DISABLED": "true"}, (False, False, False)),
    ({ENDPOINT: HERE, "OTEL_SDK_DISABLED": "TRUE "}, (False, False, False)),
    ({ENDPOINT: HERE, "OTEL_SDK_DISABLED": "false"}, (True, True, True)),
    ({ENDPOINT: HERE, "OTEL_SDK_DISABLED": "yes"}, (True, True, True)),  # the specification: only "true" is true
]


@pytest.mark.parametrize(("environ", "wanted"), WANTED)
def test_what_goes_out(environ: dict[str, str], wanted: tuple[bool, bool, bool]) -> None:
    found = read(environ)
    assert (found.traces, found.metrics, found.prometheus) == wanted


def test_the_configurations_endpoint_counts_as_the_environments() -> None:
    assert read({}, HERE) == read({ENDPOINT: HERE})
    assert read({"OTEL_SDK_DISABLED": "true"}, HERE) == OtelSettings(
        traces=False, continues_traces=True, metrics=False, prometheus=False
    )


SIGNALS = ("", "TRACES_", "METRICS_")
BATCHES = ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE")
INTERVALS = ("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT")

GOOD: list[tuple[str, str]] = [
    *(("OTEL_PROPAGATORS", value) for value in ("", "tracecontext", "tracecontext,baggage")),
    *((f"OTEL_EXPORTER_OTLP_{signal}PROTOCOL", "grpc") for signal in SIGNALS),
    *(
        (f"OTEL_EXPORTER_OTLP_{signal}COMPRESSION", value)
        for signal, value in itertools.product(SIGNALS, ["", "none", "gzip"])
    ),
    *((f"OTEL_EXPORTER_OTLP_{signal}TIMEOUT", "2.5") for signal in SIGNALS),
    *((interval, value) for interval, value in itertools.product(INTERVALS, ["1", "60000", "0.5", "1000000000"])),
    *((batch, value) for batch, value in itertools.product(BATCHES, ["", "600", "5000"])),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2048"),
    ("OTEL_LOGS_EXPORTER", "none"),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative"),
    ("OTEL_CONFIG_FILE", ""),
    ("OTEL_RESOURCE_ATTRIBUTES", "a=b"),
    *(
        ("OTEL_TRACES_SAMPLER", sampler)
        for sampler in (
            "",
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
            "ALWAYS_ON",
        )
    ),
]


@pytest.mark.parametrize(("variable", "value"), GOOD)
def test_what_is_there_may_be_asked_for(variable: str, value: str) -> None:
    assert read({variable: value, ENDPOINT: HERE}) == read({ENDPOINT: HERE})


BAD: list[tuple[str, str]] = [
    ("OTEL_TRACES_EXPORTER", "zipkin"),
    ("OTEL_TRACES_EXPORTER", "console"),
    ("OTEL_TRACES_EXPORTER", "otlp,zipkin"),
    ("OTEL_METRICS_EXPORTER", "console"),
    ("OTEL_LOGS_EXPORTER", "otlp"),
    ("OTEL_PROPAGATORS", "b3"),
    ("OTEL_PROPAGATORS", "tracecontext,b3multi"),
    *((f"OTEL_EXPORTER_OTLP_{signal}PROTOCOL", "http/protobuf") for signal in SIGNALS),
    *((f"OTEL_EXPORTER_OTLP_{signal}COMPRESSION", "zstd") for signal in SIGNALS),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "deflate"),  # the exporter has none
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
    ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
    ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
    ("OTEL_TRACES_SAMPLER", "0.5"),
    ("OTEL_CONFIG_FILE", "otel.yaml"),
    *(
        (variable, value)
        for variable, value in itertools.product(
            (*(f"OTEL_EXPORTER_OTLP_{signal}TIMEOUT" for signal in SIGNALS), *INTERVALS),
            ["0", "-1", "soon", "10s", "nan", "inf", "1000000001", "1e300"],
        )
    ),
    *(
        (variable, value)
        for variable, value in itertools.product(
            (*BATCHES, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), ["0", "-1", "x", "1.5", "1e3", "inf", "٣", "9" * 50]
        )
    ),
]


@pytest.mark.parametrize(("variable", "value"), BAD)
def test_what_is_not_there_is_refused_by_its_name(variable: str, value: str) -> None:
    line = refusal({variable: value, ENDPOINT: HERE})
    assert line.startswith(f"{variable}: ")
    assert "\n" not in line


@pytest.mark.parametrize(("variable", "value"), BAD[:12])
def test_a_refusal_shows_no_value(variable: str, value: str) -> None:
    assert SECRET not in refusal({variable: SECRET, ENDPOINT: SECRET})


@pytest.mark.parametrize(
    ("queue", "batch", "refused"),
    [
        ("512", "", False),
        ("511", "", True),
        ("", "2048", False),
        ("", "2049", True),
        ("8", "8", False),
        ("8", "9", True),
    ],
)
def test_a_batch_that_no_queue_can_hold_is_refused(queue: str, batch: str, refused: bool) -> None:
    environ = {"OTEL_BSP_MAX_QUEUE_SIZE": queue, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": batch}
    if refused:
        assert refusal(environ).startswith("OTEL_BSP_MAX_EXPORT_BATCH_SIZE: ")
    else:
        read(environ)


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_share_is_a_number_from_0_to_1(sampler: str) -> None:
    for share in ("", "0", "0.0", "0.01", "1", "1.0", "1e-3"):
        read({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": share})
    for share in ("-0.1", "1.1", "half", "nan", "inf", "1%"):
        environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": share}
        assert refusal(environ).startswith("OTEL_TRACES_SAMPLER_ARG: ")


def test_a_sampler_that_takes_no_share_ignores_one() -> None:
    read({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "whatever"})


# Who is telling.


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "postwire"),
        ({"OTEL_SERVICE_NAME": "alerts"}, "alerts"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=mail"}, "mail"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=mail", "OTEL_SERVICE_NAME": "alerts"}, "alerts"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=billing"}, "postwire"),
    ],
)
def test_the_service_is_named_as_asked_or_ours(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], name: str
) -> None:
    for variable in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    resource: Resource = service_resource()
    assert resource.attributes["service.name"] == name
    assert resource.attributes["service.version"] == __version__
    assert resource.attributes["telemetry.sdk.language"] == "python"
    assert resource.attributes.get("team") == ("billing" if "team" in str(environ) else None)


@pytest.mark.parametrize(
    ("propagators", "continued"), [("", True), ("tracecontext,baggage", True), ("baggage", False), ("none", False)]
)
def test_a_callers_trace_is_followed_where_that_authenticates(propagators: str, continued: bool) -> None:
    assert read({"OTEL_PROPAGATORS": propagators}).continues_traces is continued
