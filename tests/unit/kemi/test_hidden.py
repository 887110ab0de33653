"""The Contact of a hidden caller: what stands for it, and what that leads to (RFC 3323)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.codecs import limit, without_sender
from kemi.hidden import hidden, revealed
from kemi.ksr import From
from kemi.seal import Seal, Views
from tests.unit.kemi.fake_ksr import FakeKsr

SEAL = Seal(b"k" * 32)
AT = "192.0.2.1:5061"
DIALOG = "contact\nid\ntag"


@pytest.mark.parametrize(
    ("contact", "uri"),
    [
        (f"<sip:+7903@{AT}>", f"sip:+7903@{AT}"),
        (f'"N, <x>" <sip:+7903;a=b@{AT};ob;line=7>;q=1', f"sip:+7903;a=b@{AT};ob;line=7"),
        (f"sip:+7903@{AT};q=1", f"sip:+7903@{AT}"),
        (f"<SIPS:u:p@{AT}?h=v>", f"SIPS:u:p@{AT}"),
        (f"<sip:{AT}>", f"sip:{AT}"),
        (f"<sip:7903?x@{AT};ob?h=v>", f"sip:7903?x@{AT};ob"),
        (f"<sip:{AT}?h=v>", f"sip:{AT}"),
        ("<sip:a@[2001:db8::1]:5060;x>", "sip:a@[2001:db8::1]:5060;x"),
        (f"<sip:a@b@{AT}>", f"sip:a@b@{AT}"),
        (f"<sip:+7903\r\n @{AT}>", f"sip:+7903@{AT}"),
    ],
)
def test_it_comes_back(contact: str, uri: str) -> None:
    text = hidden(SEAL, DIALOG, contact)
    assert re.fullmatch(r"sips?:[\w-]{40,90}@[\w.:\[\]]+", text, re.IGNORECASE)
    assert "7903" not in text
    assert revealed(SEAL, DIALOG, text) == uri
    assert revealed(SEAL, DIALOG, f"{text};transport=udp") == uri
    assert hidden(SEAL, DIALOG, contact) == text


def test_it_has_its_alias_once() -> None:
    for contact in ("<sip:a@10.1.1.1;ob>", "<sip:a@10.1.1.1;ob;alias=192.0.2.1~5061~2>"):
        text = hidden(SEAL, DIALOG, contact, f"sip:{AT};transport=tcp")
        assert revealed(SEAL, DIALOG, text) == "sip:a@10.1.1.1;ob;alias=192.0.2.1~5061~2"


@pytest.mark.parametrize("contact", ["", "*", "<tel:+7903>", "<sip:>", f"<sip:{'7' * 600}@{AT}>"])
def test_what_leads_nowhere_is_not_hidden(contact: str) -> None:
    assert not hidden(SEAL, DIALOG, contact)


def test_it_counts_in_its_own_dialog_and_for_its_own_use() -> None:
    text = hidden(SEAL, DIALOG, f"<sip:a@{AT}>")
    assert not revealed(SEAL, "contact\nid\nother", text)
    views = SEAL.close("id\ntag", Views(From("", "sip:a@b"), From("", "sip:c@d")))
    assert not revealed(SEAL, DIALOG, f"sip:{views}@{AT}")


def test_a_description_tells_nothing_of_its_sender() -> None:
    for end in ("\r\n", "\n"):
        told = [
            "v=0",
            "o=101 7 1 IN IP4 h",
            "s=Ann",
            "i=x",
            "u=http://ann",
            "e=ann@h",
            "p=+7903",
            "c=IN IP4 h",
            "t=0 0",
        ]
        media = ["m=audio 4000 RTP/AVP 8", "i=Ann", "a=sendrecv", ""]
        kept = ["v=0", "o=- 7 1 IN IP4 h", "s=-", "c=IN IP4 h", "t=0 0", "m=audio 4000 RTP/AVP 8", "a=sendrecv", ""]
        assert without_sender(end.join(told + media)) == end.join(kept)


def test_of_several_parts_only_the_description_is_sent(ksr: FakeKsr) -> None:
    """The others may tell everything: a location, the ISUP of a gateway."""
    sdp = "v=0\r\no=- 7 1 IN IP4 h\r\ns=-\r\n"
    ksr.headers["Content-Type"] = "multipart/mixed;boundary=b"
    body = (
        f"--b\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b\r\nContent-Type: text/plain\r\n\r\n7903\r\n--b--\r\n"
    )
    ksr.results["kx.get_body"] = body
    assert limit((), is_hidden=True)
    assert ksr.called("textops.set_body") == [(sdp, "application/sdp")]


@given(st.text(max_size=600), st.text(max_size=600))
def test_no_text_makes_trouble(contact: str, uri: str) -> None:
    hidden(SEAL, DIALOG, contact)
    assert not revealed(SEAL, DIALOG, uri)
    assert not revealed(SEAL, DIALOG, f"sip:{uri}@h")
