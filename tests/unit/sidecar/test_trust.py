"""Whom a sidecar believes (S8)."""

from __future__ import annotations

import time
from functools import partial

import pytest
import structlog

from callinteractive.headers import CallHeader, EntryHeader, ResultHeader, StateHeader
from callinteractive.model import Address, Edge, Listen
from callinteractive.signature import SIGNED, WINDOW_S, SignatureHeader
from sidecar import sip
from sidecar.edges import Edges
from sidecar.trust import Trust

KEY = bytes(range(32))
PROXY = Address("127.0.0.1", 5060)
LISTENS = (Listen("udp", *PROXY), Listen("tcp", "127.0.0.9", 5060))
PRIVATE = {CallHeader.NAME: "call", EntryHeader.NAME: "entry"}


def request(
    method: str = "INVITE", headers: dict[str, str] | None = None, *, source: Address = PROXY, tag: str = ""
) -> sip.Request:
    to = "<sip:332@127.0.0.1>" + (f";tag={tag}" if tag else "")
    fields = [("Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1"), ("To", to), ("Call-ID", "some-call")]
    made = sip.Request(method, "sip:332@127.0.0.1:5070", [*fields, *(headers or {}).items()])
    made.source = source
    return made


def signed(age_s: float = 0, call_id: str = "some-call", **changed: str) -> dict[str, str]:
    """The private headers of a call as Kamailio signs them, then changed."""
    signature = SignatureHeader.sign(KEY, int(time.time() - age_s), call_id, PRIVATE)
    return {**PRIVATE, SignatureHeader.NAME: str(signature), **{k.replace("_", "-"): v for k, v in changed.items()}}


@pytest.fixture
def trust() -> Trust:
    return Trust(Edges([Edge("edge", LISTENS)], "127.0.0.1"), KEY, sip.RefusalLog(time.monotonic))


def test_a_call_that_kamailio_has_signed_is_taken(trust):
    assert trust.takes(request(headers=signed()))
    assert trust.takes(request(headers=signed(age_s=WINDOW_S - 5)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (dict, "no X-CI-Signature header"),
        (lambda: PRIVATE, "no X-CI-Signature header"),
        (lambda: {**PRIVATE, SignatureHeader.NAME: "rubbish"}, "not t="),
        (partial(signed, X_CI_Call="another"), "is wrong"),
        (partial(signed, X_CI_Entry=""), "is wrong"),
        (partial(signed, X_CI_State="added"), "is wrong"),
        (partial(signed, X_CI_Result="added"), "is wrong"),
        (partial(signed, call_id="another"), "is wrong"),
        (partial(signed, age_s=WINDOW_S + 5), "has expired"),
        (partial(signed, age_s=-WINDOW_S - 5), "has expired"),
    ],
)
def test_a_call_without_its_signature_is_refused_with_one_line(trust, make, reason):
    with structlog.testing.capture_logs() as log:
        assert not trust.takes(request(headers=make()))
    [line] = log
    assert (line["code"], line["source"], line["number"]) == (403, "127.0.0.1:5060", "sip:332@127.0.0.1:5070")
    assert reason in line["reason"]
    assert "CALLINTERACTIVE_KEY" in line["change"]


def test_the_signed_headers_are_all_that_a_sidecar_reads():
    assert set(SIGNED) == {CallHeader.NAME, EntryHeader.NAME, StateHeader.NAME, ResultHeader.NAME}


@pytest.mark.parametrize("source", [Address("127.0.0.2", 5060), Address("127.0.0.1", 5061), Address("127.0.0.9", 5060)])
def test_sip_of_others_is_refused_signed_or_not(trust, source):
    assert not trust.takes_from(source)
    with structlog.testing.capture_logs() as log:
        assert not trust.takes(request(headers=signed(), source=source))
        for method in ("BYE", "INVITE", "INFO", "OPTIONS"):
            assert not trust.takes(request(method, source=source, tag="ours"))
    assert {line["source"] for line in log} == {str(source)}
    assert "the listen addresses in site.yaml" in log[0]["change"]


def test_a_health_check_may_come_from_anywhere(trust):
    assert trust.takes(request("OPTIONS", source=Address("127.0.0.1", 40_000)))


def test_in_a_dialog_the_source_decides(trust):
    for method in ("INVITE", "BYE", "ACK", "INFO", "UPDATE"):
        assert trust.takes(request(method, tag="ours"))
