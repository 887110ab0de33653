"""Digest credentials: the RFCs' own examples, and challenges as carriers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive import digest
from callinteractive.digest import Challenge, Credentials, answer, choose, read_challenge

MUFASA = Credentials("Mufasa", "Circle of Life")
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_example_of_rfc_7616_3_9_1(algorithm: str, response: str) -> None:
    challenge = read_challenge(
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="{NONCE}",'
        f' opaque="{OPAQUE}"'
    )
    assert challenge
    written = answer(challenge, MUFASA, "GET", "/dir/index.html", CNONCE)
    assert f'response="{response}"' in written
    assert f'opaque="{OPAQUE}"' in written
    assert 'username="Mufasa"' in written
    assert "qop=auth, nc=00000001" in written


def test_without_qop_as_in_rfc_2069() -> None:
    challenge = read_challenge('Digest realm="testrealm@host.com",nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"')
    assert challenge
    written = answer(challenge, Credentials("Mufasa", "CircleOfLife"), "GET", "/dir/index.html", "x")
    # RFC 2069 errata 749
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in written
    assert "cnonce" not in written
    assert "opaque" not in written


def test_no_log_shows_a_password() -> None:
    assert MUFASA.password not in repr(MUFASA)


@pytest.mark.parametrize(
    "value",
    [
        'digest realm="a",nonce="b"',
        'Digest  nonce="b" , realm="a" ',
        'Digest realm="a", nonce="b", algorithm="MD5", stale=FALSE, domain="sip:a", unknown=1',
        'Digest x_1.a=b, realm="a", nonce="b"',
        'Digest it\'s=1, realm="a", nonce="b"',
        'Digest realm="a",nonce="b",qop="auth-int,auth"',
        'Digest realm="a",nonce="b",qop=""',
        'Digest realm="a",nonce="b",algorithm=md5',
    ],
)
def test_challenges_that_carriers_write(value: str) -> None:
    challenge = read_challenge(value)
    assert challenge
    assert (challenge.realm, challenge.nonce) == ("a", "b")


@pytest.mark.parametrize(
    "value",
    [
        "",
        'Basic realm="a"',
        'Digest realm="a"',
        'Digest nonce="b"',
        'Digest realm="a",nonce="b",qop="auth-int"',
        'Digest realm="a",nonce="b",algorithm=SHA-512-256',
        'Digest realm="a",nonce="b\r\n X: y"',
        'Digest realm="a",nonce="b" x',
        'Digest realm="a,nonce="b"',
        'Digest realm="a",nonce="' + "b" * 3000 + '"',
    ],
)
def test_challenges_that_are_not_answered(value: str) -> None:
    assert read_challenge(value) is None


def test_first_that_we_know_is_chosen() -> None:
    values = ['Digest realm="a",nonce="1",algorithm=SHA-512-256', 'Digest realm="a",nonce="2",algorithm=SHA-256']
    chosen = choose([*values, 'Digest realm="a",nonce="3",algorithm=MD5'], "a")
    assert chosen
    assert chosen.nonce == "2"


def test_another_realm_gets_nothing() -> None:
    assert choose(['Digest realm="other",nonce="1"'], "a") is None
    assert choose(['Digest realm="other",nonce="1"'], None)


def test_session_algorithm_and_quotes() -> None:
    challenge = read_challenge('Digest realm="a\\"b",nonce="n",algorithm=MD5-sess,qop=auth')
    assert challenge
    written = answer(challenge, Credentials('u"\\', "p"), "INVITE", "sip:1@h", "c")
    assert 'username="u\\"\\\\", realm="a\\"b"' in written
    assert choose(['Digest realm="a\\"b",nonce="n"'], 'a"b')


def test_password_is_not_shown() -> None:
    assert "Circle" not in repr(MUFASA)


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    for value in (text, f"Digest {text}", f'Digest realm="a",nonce="b",{text}'):
        challenge = read_challenge(value)
        assert challenge is None or isinstance(challenge, Challenge)


def test_session_algorithm_without_qop_tells_its_cnonce() -> None:
    challenge = read_challenge('Digest realm="a",nonce="n",algorithm=MD5-sess')
    assert challenge
    assert 'cnonce="c"' in answer(challenge, MUFASA, "INVITE", "sip:1@h", "c")


def test_hash_of_a_python_without_its_own() -> None:
    assert digest._hash("md5", "no_such_module")(b"").hexdigest() == "d41d8cd98f00b204e9800998ecf8427e"
