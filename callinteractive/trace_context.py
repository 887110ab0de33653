"""A request tells the web application which trace it belongs to: the header traceparent (W3C Trace Context 3.2).

The ids come from the request's own: the trace has the CallID, the span is made from the id of the request
(`HttpRequest.id`). So whoever sends a trace later, on whichever sidecar, knows what the application was told.
"""

from __future__ import annotations

import re
from hashlib import blake2b

HEADER = "traceparent"
_REQUEST = re.compile(r"([0-9a-f]{32})-[0-9]+", re.ASCII)


def span_id(request_id: str) -> int:
    """Of the span that is this request; never 0, which means none."""
    return int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest()) or 1


def trace_id(call_id: str) -> int:
    """Of the trace that is this call; 0 where it can't be one."""
    return int(call_id, 16) if _REQUEST.fullmatch(f"{call_id}-0") else 0


def traceparent(request_id: str, *, is_sampled: bool) -> str:
    """The header's value; empty for what is no id of a request. is_sampled: whether we record this trace."""
    found = _REQUEST.fullmatch(request_id)
    if found is None or not trace_id(found[1]):
        return ""
    return f"00-{found[1]}-{span_id(request_id):016x}-{'01' if is_sampled else '00'}"
