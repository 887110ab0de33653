"""A sound of the library for a browser: the same octets in a WAV file, which browsers play."""

from __future__ import annotations

import struct

from sidecar.media.quicktime import SAMPLES_PER_S, samples_of

_MULAW = 7  # WAVE_FORMAT_MULAW, RFC 2361 A.5


def wav_of(converted: bytes) -> bytes:
    """The library's conversions are QuickTime files of 8-bit mu-law, one channel, 8000 samples a second.

    Raises `quicktime.NotASoundError`.
    """
    data = samples_of(converted)
    # A format that is not PCM has the size of its extension, and a chunk with the number of samples.
    form = struct.pack("<HHIIHHH", _MULAW, 1, SAMPLES_PER_S, SAMPLES_PER_S, 1, 8, 0)
    chunks = b"".join((_chunk(b"fmt ", form), _chunk(b"fact", struct.pack("<I", len(data))), _chunk(b"data", data)))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
