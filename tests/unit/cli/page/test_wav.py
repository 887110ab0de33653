"""Sounds for browsers."""

from __future__ import annotations

import struct
from pathlib import Path

import av

from cli.page.wav import wav_of
from sidecar.media.quicktime import header, padding


def test_a_sound_becomes_a_wav_file_with_the_same_octets(tmp_path: Path) -> None:
    octets = bytes(range(255)) * 8  # an odd number of them is padded
    octets = octets[:-1]
    wav = wav_of(header(len(octets)) + octets + padding(len(octets)))
    assert struct.unpack("<I", wav[4:8])[0] == len(wav) - 8
    file = tmp_path / "sound.wav"
    file.write_bytes(wav)
    with av.open(str(file)) as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.name, stream.sample_rate, stream.channels) == ("pcm_mulaw", 8000, 1)
        assert b"".join(bytes(packet) for packet in container.demux(stream)) == octets
