"""Traces for an OpenTelemetry collector; imported only where traces are on.

A request is a server span that continues its client's trace, with the attributes of OpenTelemetry's semantic
conventions for HTTP and RPC; an error that its client made leaves its status unset. Its stages become children at its
end; a call to an upstream is a child of its own, whose `traceparent` goes to the upstream. A thread sends the spans
from a bounded queue: a collector that is slow or gone costs spans, never requests.
"""

import os
import threading
import time
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.observability.context import OK, TRACEPARENT, TRACESTATE, Trace
from service.version import NAME, version

_PREDICT = {"rpc.system": "grpc", "rpc.service": "tensorflow.serving.PredictionService", "rpc.method": "Predict"}
_FLUSH = 3.0  # seconds at the end for unsent spans


class OtlpTracing:
    """OTLP over HTTP. `endpoint` is a collector's base URL; where it is empty, OTEL_EXPORTER_OTLP_* hold.

    Samplers, headers, service name and queue sizes are set by the SDK's own OTEL_* variables.
    """

    def __init__(self, endpoint: str = "") -> None:
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({"service.version": version()} | ({} if named else {"service.name": NAME}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        url = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
        self._tracer = self._provider.get_tracer(NAME)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, request: Trace) -> None:
        carrier = {TRACEPARENT: request.client, TRACESTATE: request.tracestate}
        parent = self._propagator.extract(carrier) if request.client else None
        span = self._tracer.start_span("predict", parent, trace.SpanKind.SERVER)
        request.span = _Server(self._tracer, span, request)

    def close(self) -> None:
        # In a thread: the SDK's shutdown waits longer for an export under way.
        flush = threading.Thread(target=self._provider.shutdown, daemon=True)
        flush.start()
        flush.join(_FLUSH)


class _Span:
    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer, self._span = tracer, span
        self._context = trace.set_span_in_context(span)

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def upstream(self, target: str) -> "_Span":
        host, _, port = target.rpartition(":")
        attributes: dict[str, str | int] = {"server.address": host if port.isdigit() else target, **_PREDICT}
        if port.isdigit():
            attributes["server.port"] = int(port)
        return _Span(
            self._tracer, self._tracer.start_span("upstream", self._context, trace.SpanKind.CLIENT, attributes)
        )

    def end(self, code: str, stages: Mapping[str, float]) -> None:
        if self._span.is_recording():
            now = time.time_ns()
            began = now - sum(_nanoseconds(seconds) for seconds in stages.values())
            for stage, seconds in stages.items():
                ended = began + _nanoseconds(seconds)
                if seconds:
                    self._tracer.start_span(stage, self._context, start_time=began).end(ended)
                began = ended
            if self._is_error(code):
                self._span.set_attribute("error.type", code)
                self._span.set_status(trace.StatusCode.ERROR, code)
        self._span.end()

    def _is_error(self, code: str) -> bool:
        return code != OK


class _Server(_Span):
    def __init__(self, tracer: trace.Tracer, span: trace.Span, request: Trace) -> None:
        super().__init__(tracer, span)
        self._request = request

    def end(self, code: str, stages: Mapping[str, float]) -> None:
        request = self._request
        self._span.set_attributes({"protocol": request.protocol, "request.id": request.request_id})
        if request.ref is not None:
            self._span.set_attributes({"model": request.ref.name, "model.version": request.ref.version or 0})
        if code != OK:
            self._span.set_attribute("code", code)
        super().end(code, stages)

    def _is_error(self, code: str) -> bool:
        if self._request.describe is None:
            return code != OK
        attributes, is_error = self._request.describe(code)
        self._span.set_attributes(attributes)
        return is_error


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
