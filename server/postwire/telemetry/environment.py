"""What the `OTEL_*` variables ask for.

They mean what the OpenTelemetry specification says; one that asks for what is not there stops the boot, instead of
leaving people to wonder where their traces are.

Source: OpenTelemetry specification, "Environment Variable Specification".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

_SAMPLERS: Final = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)
_PROTOCOLS: Final = (
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
)
_COMPRESSIONS: Final = (
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
)
_ONLY: Final = {
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "explicit_bucket_histogram",
}
_POSITIVE_NUMBERS: Final = (
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
)
_QUEUE_SIZE: Final = "OTEL_BSP_MAX_QUEUE_SIZE"
_BATCH_SIZE: Final = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_DEFAULT_QUEUE_SIZE: Final = 2048
_DEFAULT_BATCH_SIZE: Final = 512
_WHOLE_NUMBERS: Final = ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", _QUEUE_SIZE, _BATCH_SIZE)


class TelemetryError(Exception):
    """A variable asks for what is not there. One line for people, which names it."""

    def __init__(self, variable: str, right: str) -> None:
        # Without the value: some of these variables hold secrets.
        super().__init__(f"{variable}: asks for what is not there, must be {right}")


@dataclass(frozen=True, slots=True)
class OtelSettings:
    """Which signals go out over OTLP, where there is an endpoint, and whether there is Prometheus text."""

    traces: bool
    continues_traces: bool
    """Whether a caller's `traceparent` is followed."""
    metrics: bool
    prometheus: bool

    @classmethod
    def read(cls, environ: Mapping[str, str], *, configured_endpoint: str | None) -> Self:
        """What the environment asks for.

        Raises:
            TelemetryError: something that is not there.
        """

        def words(variable: str, default: str, known: tuple[str, ...]) -> tuple[str, ...]:
            found = tuple(word.strip() for word in (environ.get(variable) or default).split(","))
            if any(word not in known for word in found):
                raise TelemetryError(variable, f"one of {', '.join(known)}")
            return found

        traces = words("OTEL_TRACES_EXPORTER", "otlp", ("otlp", "none"))
        metrics = words("OTEL_METRICS_EXPORTER", "otlp,prometheus", ("otlp", "prometheus", "none"))
        words("OTEL_LOGS_EXPORTER", "none", ("none",))
        propagators = words("OTEL_PROPAGATORS", "tracecontext", ("tracecontext", "baggage", "none"))
        for variable in _PROTOCOLS:
            words(variable, "grpc", ("grpc",))
        for variable in _COMPRESSIONS:
            words(variable, "none", ("none", "gzip"))
        for variable, only in _ONLY.items():
            words(variable, only, (only,))
        _check_sampler(environ)
        for variable in _POSITIVE_NUMBERS:
            if environ.get(variable) and not (_is_number(environ[variable]) and 0 < float(environ[variable]) <= 1e9):
                raise TelemetryError(variable, "a number of milliseconds over 0 and up to 1000000000")
        _check_batches(environ)
        if environ.get("OTEL_CONFIG_FILE"):
            raise TelemetryError("OTEL_CONFIG_FILE", "left out: there is no declarative configuration")
        enabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        shared = bool(configured_endpoint or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
        return cls(
            traces=enabled and "otlp" in traces and (shared or bool(environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))),
            continues_traces="tracecontext" in propagators,
            metrics=enabled
            and "otlp" in metrics
            and (shared or bool(environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"))),
            prometheus=enabled and "prometheus" in metrics,
        )


def _check_sampler(environ: Mapping[str, str]) -> None:
    sampler = (environ.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on").lower()
    if sampler not in _SAMPLERS:
        raise TelemetryError("OTEL_TRACES_SAMPLER", f"one of {', '.join(_SAMPLERS)}")
    share = environ.get("OTEL_TRACES_SAMPLER_ARG")
    if share and sampler.endswith("traceidratio") and not (_is_number(share) and 0 <= float(share) <= 1):
        raise TelemetryError("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1")


def _check_batches(environ: Mapping[str, str]) -> None:
    for variable in _WHOLE_NUMBERS:
        if environ.get(variable) and not re.fullmatch(r"0*[1-9][0-9]{0,9}", environ[variable], re.ASCII):
            raise TelemetryError(variable, "a whole number over 0")
    queue_size = int(environ.get(_QUEUE_SIZE) or _DEFAULT_QUEUE_SIZE)
    if int(environ.get(_BATCH_SIZE) or _DEFAULT_BATCH_SIZE) > queue_size:
        raise TelemetryError(_BATCH_SIZE, f"at most {_QUEUE_SIZE}, which is {queue_size}")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
