"""Traces as a collector of OpenTelemetry gets them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import structlog
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from callinteractive.facts import CallFacts
from sidecar import otel, tracing
from sidecar.story import Stories

HOST = "127.9.0.6"
FACTS = CallFacts("c" * 31 + "1", "1:" + "c" * 31 + "1", "306", "Ann", "332", "000*332", 145)


class Collector:
    """Takes traces by OTLP over HTTP."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[ExportTraceServiceRequest] = asyncio.Queue()
        self.url = ""
        self.is_silent = False

    async def take(self, request: web.Request) -> web.Response:
        if self.is_silent:
            await asyncio.sleep(60)
        self.got.put_nowait(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    made = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    made.url = f"http://{HOST}:{runner.addresses[0][1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    yield made
    await runner.cleanup()


def tell(stories: Stories) -> None:
    """A call with a request, from its begin to its end."""
    story = stories.begin(FACTS)
    story.tell("call.started", ivr="000*332")
    story.tell("call.action", action="CallInteractive", url="http://a/")
    story.tell("call.request", method="GET", url="http://a/", outcome="status", reason="HTTP status 500", duration_ms=1)
    story.tell("call.ended", by="script", code=603)


async def test_a_call_is_one_trace_with_its_id(collector: Collector):
    stories = Stories()
    traces = tracing.begin(stories, "sidecar-3", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert traces is not None
    tell(stories)
    await traces.close()
    tell(stories)  # nobody listens any more
    (of_resource,) = (await asyncio.wait_for(collector.got.get(), 10)).resource_spans
    names = {each.key: each.value.string_value for each in of_resource.resource.attributes}
    assert (names["service.name"], names["service.instance.id"]) == ("callinteractive", "sidecar-3")
    spans = {span.name: span for scope in of_resource.scope_spans for span in scope.spans}
    assert spans.keys() == {"call", "action CallInteractive", "request GET"}
    assert {span.trace_id.hex() for span in spans.values()} == {FACTS.call_id}
    call, action, request = spans["call"], spans["action CallInteractive"], spans["request GET"]
    assert call.parent_span_id == b""
    assert action.parent_span_id == call.span_id
    assert request.parent_span_id in (call.span_id, action.span_id)  # both began in the same millisecond
    assert (request.status.code, request.status.message) == (2, "HTTP status 500")
    assert request.kind == request.SPAN_KIND_CLIENT
    assert collector.got.empty()


async def test_the_web_application_is_told_its_span(collector: Collector):
    stories, asked = Stories(), f"{FACTS.call_id}-1"
    traces = tracing.begin(stories, "0", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert traces is not None
    version, trace, parent, flags = traces.traceparent(asked).split("-")
    story = stories.begin(FACTS)
    story.tell("call.request", id=asked, method="GET", url="http://a/", outcome="ok", duration_ms=1)
    story.tell("call.ended", by="script", code=200)
    await traces.close()
    (of_resource,) = (await asyncio.wait_for(collector.got.get(), 10)).resource_spans
    call, request = of_resource.scope_spans[0].spans
    assert (version, trace, parent, flags) == ("00", FACTS.call_id, request.span_id.hex(), "01")
    assert request.parent_span_id == call.span_id != request.span_id


async def test_a_trace_that_is_not_recorded_is_told_as_such(collector: Collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    traces = tracing.begin(Stories(), "0", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert traces is not None
    assert traces.traceparent(f"{FACTS.call_id}-1").endswith("-00")
    await traces.close()


async def test_a_collector_that_is_silent_does_not_hold_up_the_end(collector: Collector, monkeypatch):
    monkeypatch.setattr(otel, "STOP_S", 0.1)
    collector.is_silent = True
    stories = Stories()
    traces = tracing.begin(stories, "0", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert traces is not None
    tell(stories)
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(20):
            await traces.close()
    assert [line["event"] for line in logs] == ["traces are lost"]


@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "true"}],
)
def test_no_traces_unless_they_are_wanted(environment: dict[str, str]):
    assert tracing.begin(Stories(), "0", environment) is None


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sidecar.otel", None)
    with structlog.testing.capture_logs() as logs:
        assert tracing.begin(Stories(), "0", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}) is None
    assert "pip install 'callinteractive[otel]'" in logs[0]["change"]


@pytest.mark.parametrize("call_id", ["", "x" * 32, "1" * 31])
async def test_a_call_without_a_usable_id_gets_a_trace_of_its_own(collector: Collector, call_id: str):
    stories = Stories()
    traces = tracing.begin(stories, "0", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert traces is not None
    stories.tell_fields(call_id, "call.ended", {"by": "caller", "code": 487})
    await traces.close()
    (of_resource,) = (await asyncio.wait_for(collector.got.get(), 10)).resource_spans
    assert int(of_resource.scope_spans[0].spans[0].trace_id.hex(), 16) != 0
