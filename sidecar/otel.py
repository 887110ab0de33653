"""A call's spans, given to OpenTelemetry's library. The extra `otel`: only `sidecar.tracing` imports this module."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from callinteractive.trace_context import span_id, trace_id, traceparent
from sidecar.spans import Span, spans_of

if TYPE_CHECKING:
    from sidecar.story import Stories

LOG = structlog.get_logger()
STOP_S = 2.0
"""How long a sidecar that stops waits until its last traces are sent."""


class Tracing:
    """Of one sidecar. The library sends from a thread of its own, and its queue is bounded.

    What a collector does not take in time is lost. No call waits for it.
    """

    def __init__(
        self, stories: Stories, instance: str, environment: Mapping[str, str], exporter: SpanExporter | None = None
    ) -> None:
        """exporter: None sends by OTLP over HTTP, as the environment says."""
        names = {"service.instance.id": instance}
        if not environment.get("OTEL_SERVICE_NAME"):
            names["service.name"] = "callinteractive"
        self._ids = _Ids()
        self._provider = TracerProvider(resource=Resource.create(names), id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("callinteractive")
        self._stories = stories
        self._unsubscribe = stories.subscribe(self._on_record, with_bodies=False)

    def _on_record(self, record: dict[str, Any]) -> None:
        if record["event"] == "call.ended":
            call_id: str = record["call_id"]
            self._send(call_id, spans_of(record, self._stories.of(call_id)))

    def _send(self, call_id: str, spans: Iterable[Span]) -> None:
        """Give the spans to the library. The first one is the root of the others."""
        self._ids.next_trace_id = trace_id(call_id)
        contexts: list[Context] = []
        for span in spans:
            asked = span.attributes.get("request.id")
            self._ids.next_span_id = span_id(str(asked)) if asked else 0
            made = self._tracer.start_span(
                span.name,
                context=Context() if span.parent is None else contexts[span.parent],
                kind=SpanKind.CLIENT if "http.request.method" in span.attributes else SpanKind.INTERNAL,
                attributes=span.attributes,
                start_time=span.began_ns,
            )
            if span.error:
                made.set_status(Status(StatusCode.ERROR, span.error))
            made.end(end_time=span.ended_ns)
            contexts.append(set_span_in_context(made, Context()))

    def traceparent(self, request_id: str) -> str:
        """The header of a request that will be in a trace (`trace_context.traceparent`)."""
        call = trace_id(request_id.partition("-")[0])
        decision = self._provider.sampler.should_sample(None, call, "call").decision
        return traceparent(request_id, is_sampled=decision is Decision.RECORD_AND_SAMPLE)

    async def close(self) -> None:
        """Send what is left, for `STOP_S` at most. The library's own wait would hold up the end of the process."""
        self._unsubscribe()
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the process did not wait so long: its loop is closed
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_S):
                await done.wait()
        except TimeoutError:
            LOG.warning("traces are lost", reason=f"the collector has not taken them within {STOP_S:g} s")


class _Ids(IdGenerator):
    def __init__(self) -> None:
        self.next_trace_id = self.next_span_id = 0
        """0: any."""
        self._random = random.Random()

    def generate_span_id(self) -> int:
        return self.next_span_id or self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self.next_trace_id or self._random.getrandbits(128) or 1

    def is_trace_id_random(self) -> bool:
        return True
