"""Captures for SIPp to play: one second of talk, and key presses of RFC 4733."""

from __future__ import annotations

import struct
from pathlib import Path

_PACKET_S = 0.02
_SAMPLES = 160
_EVENT_PACKETS, _ENDS = 5, 3


def write_captures(directory: Path) -> None:
    """talk.pcap (50 packets of µ-law silence) and digit-1.pcap to digit-3.pcap (140 ms each)."""
    silence = [_rtp(0, number, number * _SAMPLES, b"\xff" * _SAMPLES) for number in range(50)]
    _write(directory / "talk.pcap", silence)
    for digit in (1, 2, 3):
        # An event ends with three equal packets (RFC 4733 2.5.1.4). All its packets have one timestamp.
        durations = [*range(1, _EVENT_PACKETS), *[_EVENT_PACKETS] * _ENDS]
        events = [
            _rtp(
                101,
                1000 * digit + number,
                100_000 * digit,
                struct.pack("!BBH", digit, (0x80 if duration == _EVENT_PACKETS else 0) | 10, duration * _SAMPLES),
                is_first=number == 0,
            )
            for number, duration in enumerate(durations)
        ]
        _write(directory / f"digit-{digit}.pcap", events)


def _rtp(payload_type: int, sequence: int, timestamp: int, payload: bytes, *, is_first: bool = False) -> bytes:
    return struct.pack("!BBHII", 0x80, payload_type | (0x80 if is_first else 0), sequence, timestamp, 0x1234) + payload


def _write(path: Path, packets: list[bytes]) -> None:
    """Wrap each packet in Ethernet, IPv4 and UDP headers; SIPp replaces the addresses."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, rtp in enumerate(packets):
            udp = struct.pack("!HHHH", 4000, 4000, 8 + len(rtp), 0) + rtp
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
            frame = b"\0" * 12 + b"\x08\0" + ip + udp
            micros = round(number * _PACKET_S * 1_000_000)
            file.write(struct.pack("<IIII", micros // 1_000_000, micros % 1_000_000, len(frame), len(frame)) + frame)
