"""What a request must not be or ask for (RFC 3261 8.2.2, 16.3)."""

from __future__ import annotations

import pytest

from kemi.checks import check
from kemi.refusal import Refused
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.refusals import refused


@pytest.fixture(autouse=True)
def uri(ksr: FakeKsr) -> None:
    ksr.results["kx.get_ruri"] = "sip:332@h"
    ksr.results["hdr.get_idx"] = lambda name, index: ksr.headers.get(name) if index == 0 else None


@pytest.mark.parametrize("scheme", ["http://", "foo:", "urn:service:", "nobodyKnowsThisScheme:", "sip"])
def test_unknown_scheme(ksr: FakeKsr, scheme: str) -> None:
    ksr.results["kx.get_ruri"] = f"{scheme}x"
    with refused(416):
        check("OPTIONS", is_for_us=True)


@pytest.mark.parametrize(("line", "code"), [("OPTIONS foo:bar SIP/2.0", 416), ("OPTIONS sip:@ SIP/2.0", 0)])
def test_uri_that_kamailio_cannot_read(ksr: FakeKsr, line: str, code: int) -> None:
    ksr.results.update({"kx.get_ruri": None, "kx.get_msgbuf": line})
    if code:
        with refused(code):
            check("OPTIONS", is_for_us=True)
    else:
        check("OPTIONS", is_for_us=True)


@pytest.mark.parametrize("uri", ["SIP:h", "sips:a@h", "Tel:+1"])
def test_known_scheme(ksr: FakeKsr, uri: str) -> None:
    ksr.results["kx.get_ruri"] = uri
    check("INVITE", is_for_us=True)


@pytest.mark.parametrize(
    ("method", "header", "is_for_us", "is_refused"),
    [
        ("OPTIONS", "Require", True, True),
        ("REGISTER", "Require", True, True),
        ("OPTIONS", "Require", False, False),
        ("INVITE", "Require", True, False),  # the callee's or the sidecar's matter
        ("INVITE", "Proxy-Require", True, True),
        ("BYE", "Proxy-Require", False, True),
        ("ACK", "Proxy-Require", False, False),
        ("CANCEL", "Proxy-Require", True, False),
    ],
)
def test_required_extensions(ksr: FakeKsr, method: str, header: str, is_for_us: bool, is_refused: bool) -> None:
    ksr.headers[header] = "foo, nothingSupportsThis"
    if is_refused:
        with pytest.raises(Refused) as caught:
            check(method, is_for_us=is_for_us)
        assert (caught.value.code, caught.value.headers) == (420, "Unsupported: foo, nothingSupportsThis\r\n")
    else:
        check(method, is_for_us=is_for_us)


@pytest.mark.parametrize("value", [", ".join("x" * 39 for _ in range(1000)), "é\x00;a", "a" * 5000, ","])
def test_what_is_repeated_is_bounded_and_clean(ksr: FakeKsr, value: str) -> None:
    ksr.headers["Require"] = value
    with pytest.raises(Refused) as caught:
        check("OPTIONS", is_for_us=True)
    assert len(caught.value.headers) < 500
    assert caught.value.headers.rstrip("\r\n").isprintable()


@pytest.mark.parametrize(
    ("method", "length", "code"), [("INVITE", 24_000, 0), ("INVITE", 24_001, 513), ("BYE", 60_000, 0)]
)
def test_large_invite(ksr: FakeKsr, method: str, length: int, code: int) -> None:
    ksr.results["kx.get_msglen"] = length
    if code:
        with refused(code):
            check(method, is_for_us=True)
    else:
        check(method, is_for_us=True)
