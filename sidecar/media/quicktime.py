"""The file in which RTPengine plays a sound with the least work: G.711 mu-law, 8 kHz, mono, in QuickTime's form.

RTPengine reads and decodes a file piece by piece, with a wake-up for each. This form says how long a piece is; others,
such as .au and .wav, leave that to ffmpeg. The pieces must not be longer than 100 ms. RTPengine reads each one 50 ms
before it is due, and sends packets early, in bursts, where they wait for longer than 50 ms on average (`__output_rtp`
in its `daemon/codec.c`).

    ftyp  moov( mvhd trak( tkhd mdia( mdhd hdlr minf( smhd dinf( dref( url ) ) stbl( stsd stts stsc stsz stco ) ) ) ) )
    mdat( one octet a sample, and silence up to a whole piece )

Apple, QuickTime File Format Specification, "Movie Atoms" and "Sound Sample Description (Version 1)".
"""

from __future__ import annotations

import struct

SAMPLES_PER_S = 8000  # of one byte
PIECE = 640
"""Samples that RTPengine reads at a time: 80 ms."""
SILENCE = b"\xff"

_FULL = bytes(4)  # version and flags of an atom that has them
_UNITY = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_TYPE = b"qt  "


class NotASoundError(ValueError):
    """The file was not written by `header`."""


def padding(samples: int) -> bytes:
    """What follows the samples in the file."""
    return SILENCE * (-samples % PIECE)


def header(samples: int) -> bytes:
    """What comes before so many samples. Its length is `HEADER_SIZE`."""
    stored = samples + len(padding(samples))
    tables = (
        _atom(b"stsd", _FULL, struct.pack(">I", 1), _atom(b"ulaw", _description())),
        _atom(b"stts", _FULL, struct.pack(">III", 1, stored, 1)),
        _atom(b"stsc", _FULL, struct.pack(">IIII", 1, 1, stored, 1)),
        _atom(b"stsz", _FULL, struct.pack(">II", 1, stored)),
        _atom(b"stco", _FULL, struct.pack(">II", 1, HEADER_SIZE)),
    )
    here = _atom(b"dinf", _atom(b"dref", _FULL, struct.pack(">I", 1), _atom(b"url ", b"\0\0\0\1")))
    information = _atom(b"minf", _atom(b"smhd", _FULL, bytes(4)), here, _atom(b"stbl", *tables))
    times = struct.pack(">IIIIHH", 0, 0, SAMPLES_PER_S, samples, 0, 0)
    media = _atom(b"mdia", _atom(b"mdhd", _FULL, times), _atom(b"hdlr", _FULL, b"mhlrsoun", bytes(13)), information)
    track = struct.pack(">IIIIIIIHHHH", 0, 0, 1, 0, samples, 0, 0, 0, 0, 0x100, 0)
    movie = struct.pack(">IIIIIH10x", 0, 0, SAMPLES_PER_S, samples, 0x10000, 0x100)
    return b"".join(
        (
            _atom(b"ftyp", _TYPE, bytes(4), _TYPE),
            _atom(
                b"moov",
                _atom(b"mvhd", _FULL, movie, _UNITY, bytes(24), struct.pack(">I", 2)),
                _atom(b"trak", _atom(b"tkhd", b"\0\0\0\7", track, _UNITY, bytes(8)), media),
            ),
            struct.pack(">I4s", 8 + stored, b"mdat"),
        )
    )


def samples_in(head: bytes) -> int:
    """How many samples follow this header, the silence at their end not counted. Raises NotASoundError."""
    at = head.find(b"mdhd") + 4
    if len(head) < HEADER_SIZE or at < 4:
        raise NotASoundError
    (samples,) = struct.unpack_from(">I", head, at + 16)
    if head[:HEADER_SIZE] != header(samples):
        raise NotASoundError
    return int(samples)


def samples_of(file: bytes) -> bytes:
    """The samples in a whole file. Raises NotASoundError."""
    return file[HEADER_SIZE : HEADER_SIZE + samples_in(file[:HEADER_SIZE])]


def _description() -> bytes:
    """Version 1 of it: it tells how many samples and octets a piece has."""
    version_0 = struct.pack(">6xH HHI HHHHI", 1, 1, 0, 0, 1, 16, 0, 0, SAMPLES_PER_S << 16)
    return version_0 + struct.pack(">IIII", PIECE, PIECE, PIECE, 2)


def _atom(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


HEADER_SIZE = 0
HEADER_SIZE = len(header(0))
