"""Traces for OpenTelemetry: one a call, sent when the call is over.

They are configured by the variables of OpenTelemetry's specification, and off where these name no collector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from sidecar.otel import Tracing
    from sidecar.story import Stories

LOG = structlog.get_logger()
VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Where traces go, by OTLP over HTTP."""


def begin(stories: Stories, instance: str, environment: Mapping[str, str]) -> Tracing | None:
    """Send traces from now on, where they are wanted. instance: the name of this sidecar in them."""
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_off or not any(environment.get(name) for name in VARIABLES):
        return None
    try:
        from sidecar.otel import Tracing  # noqa: PLC0415  an extra, and slow to import
    except ImportError as error:
        change = f"pip install 'callinteractive[otel]', or remove {' and '.join(VARIABLES)} from the environment"
        LOG.error("no traces are sent", reason=str(error), change=change)
        return None
    return Tracing(stories, instance, environment)
