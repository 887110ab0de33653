"""Bodies of several parts in an INVITE (RFC 5621)."""

from __future__ import annotations

import pytest

from tests.unit.sip.world import SDP, Caller, World

ISUP = b"\x01\x00\x49\x00"


def mixed(handling: str) -> bytes:
    return (
        b"--b1\r\nContent-Type: application/sdp\r\n\r\n" + SDP + b"\r\n--b1\r\nContent-Type: application/isup\r\n"
        b"Content-Disposition: signal;handling=" + handling.encode() + b"\r\n\r\n" + ISUP + b"\r\n--b1--\r\n"
    )


@pytest.mark.parametrize(("handling", "is_taken"), [("optional", True), ("required", False)])
def test_the_sdp_part_counts(handling: str, is_taken: bool) -> None:
    world = World()
    Caller(world).send("INVITE", headers=[("c", 'multipart/mixed; boundary="b1"')], body=mixed(handling))
    if is_taken:
        assert (world.calls[0][1].sdp or b"").strip() == SDP.strip()
    else:
        assert [answer.status for answer in world.take()] == [415]
        assert not world.calls


@pytest.mark.parametrize(
    ("disposition", "is_taken"),
    [
        ("signal;handling=optional", True),
        ('x; Handling = "OPTIONAL"', True),
        ("signal;handling=required", False),
        ("signal", False),
    ],
)
def test_8_2_3_a_body_that_need_not_be_understood_is_left_out(disposition: str, is_taken: bool) -> None:
    world = World()
    headers = [("Content-Type", "application/isup"), ("Content-Disposition", disposition)]
    Caller(world).send("INVITE", headers=headers, body=ISUP)
    assert world.statuses() == [100 if is_taken else 415]
    assert [invite.sdp for _, invite in world.calls] == [None] * is_taken
