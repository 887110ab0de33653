"""The form in which sounds are played, as ffmpeg reads it: RTPengine's player is ffmpeg."""

from __future__ import annotations

import io

import av
import pytest

from sidecar.media import quicktime


def file(samples: bytes) -> bytes:
    return quicktime.header(len(samples)) + samples + quicktime.padding(len(samples))


@pytest.mark.parametrize("count", [1, 639, 640, 641, 8000, 100_001])
def test_ffmpeg_reads_it_in_pieces(count: int) -> None:
    samples = bytes(number * 7 % 251 for number in range(count))
    with av.open(io.BytesIO(file(samples))) as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.name, stream.sample_rate, stream.channels) == ("pcm_mulaw", 8000, 1)
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert [packet.size for packet in packets] == [quicktime.PIECE] * len(packets)
    assert [packet.pts for packet in packets] == list(range(0, len(packets) * quicktime.PIECE, quicktime.PIECE))
    read = b"".join(bytes(packet) for packet in packets)
    assert read[:count] == samples
    assert set(read[count:]) <= set(quicktime.SILENCE)
    assert len(read) - count < quicktime.PIECE


@pytest.mark.parametrize("count", [0, 1, 640, 5000])
def test_the_samples_are_read_back(count: int) -> None:
    samples = b"\x55" * count
    assert quicktime.samples_of(file(samples)) == samples
    assert quicktime.samples_in(file(samples)[: quicktime.HEADER_SIZE]) == count


@pytest.mark.parametrize("data", [b"", b"mdhd", b".snd" + bytes(1000), file(b"x")[:-1000], b"x" + file(b"y" * 999)])
def test_another_file(data: bytes) -> None:
    with pytest.raises(quicktime.NotASoundError):
        quicktime.samples_of(data)
