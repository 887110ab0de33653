"""Whether new calls should come to a sidecar, in words. Kamailio itself asks by OPTIONS; this is for everybody else."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.call.services import Services


def why_not_ready(services: Services, calls: int, most_calls: int) -> Iterator[str]:
    """A sentence for each reason; nothing where all is well. calls: how many there are."""
    if services.agent.draining:
        yield f"it drains: it takes no new calls, and {calls} {'is' if calls == 1 else 'are'} left"
    if calls >= most_calls:
        yield f"it is full: it has {calls} calls (sidecars.max_calls in site.yaml)"
    if not any(engine.is_alive for engine in services.engines):
        yield "no RTPengine answers: calls that need sound are refused"
    if services.keeper.gate.is_shut():
        yield "it was asleep or cut off: it waits until it knows which calls are still its own"
