"""The names of a certificate, as openssl has made it, and whatever else comes."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.certificate import names_of
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (("DNS:one.example", "DNS:SIP.Carrier.example", "IP:192.0.2.1"), {"one.example", "sip.carrier.example"}),
        (("URI:sip:carrier.example", "URI:https://x.example", "URI:sips:b.example"), {"carrier.example", "b.example"}),
        (("URI:sip:alice@carrier.example", "email:a@b.example"), set()),
        ((), set()),
    ],
)
def test_names(authority: Authority, written: tuple[str, ...], names: set[str]) -> None:
    assert names_of(authority.issue("peer", *written).certificate.read_text()) == names


def test_many_names(authority: Authority) -> None:
    """Its lengths have three octets."""
    written = [f"DNS:host-{number}.some.long.domain.example" for number in range(90)]
    assert len(names_of(authority.issue("many", *written).certificate.read_text())) == 90


def test_every_cut_and_every_changed_octet_is_read_or_not(authority: Authority, tmp_path: Path) -> None:
    pem = authority.issue("cut", "DNS:sip.example").certificate.read_text()
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    for at in range(len(der)):
        for octets in (der[:at], der[:at] + bytes((der[at] ^ 0x55,)) + der[at + 1 :]):
            names_of(in_pem(octets))


@pytest.mark.parametrize(
    "octets", ["3000", "30023000", "3006 3004 a302 3000", "3008 3006 a304 3002 3000", "30 84 00000001"]
)
def test_empty_elements(octets: str) -> None:
    assert names_of(in_pem(bytes.fromhex(octets))) == frozenset()


@given(st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    names_of(in_pem(octets))


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN CERTIFICATE-----ß-----END CERTIFICATE-----", "A" * 10**6])
def test_what_is_no_certificate_has_no_name(text: str) -> None:
    assert names_of(text) == frozenset()


def in_pem(octets: bytes) -> str:
    body = base64.b64encode(octets).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
