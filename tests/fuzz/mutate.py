"""How hostile inputs are made, and what counts as a finding: any other exception, and more time than is linear."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_S", "3"))
"""For each target."""
LONGEST = 64 * 1024
SLOWEST_S = 0.5
"""CPU time of one input. The longest sound inputs take some milliseconds; what is quadratic takes many seconds."""
_BATCH = 200


@st.composite
def mutations(draw: st.DrawFn, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """A sound input, changed in some places: cut, doubled, repeated, spliced, with octets or tokens put in."""
    data = draw(st.sampled_from(corpus))
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.one_of(st.integers(0, 12), st.integers(0, 400))))
        piece = draw(
            st.one_of(
                st.just(b""),
                st.binary(max_size=6),
                st.sampled_from(tokens),
                st.just(data[start:end]),
                st.sampled_from(corpus).map(lambda other: other[len(other) // 3 : len(other) // 2]),
            )
        )
        times = draw(st.one_of(st.just(1), st.just(1), st.sampled_from((2, 3, 17, 300, 20_000))))
        times = min(times, max(1, LONGEST // max(len(piece), 1)))
        data = (data[:start] + piece * times + data[end:])[:LONGEST]
    return data


def fuzz(
    target: Callable[[bytes], object], corpus: Sequence[bytes], tokens: Sequence[bytes], slowest_s: float = SLOWEST_S
) -> int:
    """Give `target` mutations of `corpus` for `SECONDS`; returns how many. The smallest input that fails is shown."""
    count = 0

    @settings(
        max_examples=_BATCH,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(corpus, tokens))
    def batch(data: bytes) -> None:
        nonlocal count
        count += 1
        assert _cpu_s(target, data, slowest_s) < slowest_s, f"slow on {len(data)} octets"

    for sound in corpus:
        target(sound)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        batch()
    return count


def _cpu_s(target: Callable[[bytes], object], data: bytes, slowest_s: float) -> float:
    """The shorter of two runs where the first is long: the garbage collector and other programs take their time too."""
    took = float("inf")
    for _ in range(2):
        before = time.thread_time()
        target(data)
        took = min(took, time.thread_time() - before)
        if took < slowest_s / 2:
            break
        gc.collect()
    return took
