"""The Contact of a hidden caller: what stands for it, and what that leads to (RFC 3323)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.codecs import limit, without_sender
from kemi.hidden import hidden, on_branch, on_in_dialog_request, on_request_to_caller, revealed
from kemi.ksr import From, Route
from kemi.record_route import Mark
from kemi.seal import Seal, Views
from kemi.transaction import BranchPlan, transaction
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


PETR = From('"Petr"', "sip:8@h")
VIEWS = Views(PETR, From("", "sip:7@h"))
SENT_FROM = "sip:127.0.0.2:5060"


@pytest.mark.parametrize(
    ("from_", "is_spiral", "tells", "is_hidden"),
    [
        (PETR, False, "", True),
        (PETR, False, "306", False),  # a sidecar's INVITE
        (PETR, True, "", False),  # to an IVR of ours
        (None, False, "", False),
    ],
)
@pytest.mark.parametrize("contact_is_marked", [True, False])
def test_who_must_not_learn_whose_invite_it_is(
    ksr: FakeKsr, from_: From | None, is_spiral: bool, tells: str, is_hidden: bool, contact_is_marked: bool
) -> None:
    ksr.headers["Contact"] = "<sip:a@10.1.1.1>"
    transaction.caller_source = SENT_FROM if contact_is_marked else ""
    plan = BranchPlan(from_, "", "", is_spiral, is_anchored=False, tells=tells)
    assert bool(on_branch(SEAL, plan)) is is_spiral
    assert len(ksr.called("uac.uac_replace_from")) == (from_ is not None and not is_spiral)
    assert len(ksr.called("nathelper.add_contact_alias")) == (contact_is_marked and not is_hidden)
    assert contact_sent(ksr) == (
        ["sip:a@10.1.1.1;alias=127.0.0.2~5060~1" if contact_is_marked else "sip:a@10.1.1.1"] if is_hidden else []
    )


def contact_sent(ksr: FakeKsr) -> list[str]:
    """What the Contacts stand for that were put in the place of the sender's."""
    dialog = "contact\nsome-call-id\n1"
    return [revealed(SEAL, dialog, line[len("Contact: <") : -len(">\r\n")]) for (line,) in ksr.called("hdr.append")]


def mark(views: Views | None, *, is_from_caller: bool = True, media: str = "") -> Mark:
    return Mark(media, is_from_caller, (), 0, "1", "some-call-id", views)


@pytest.mark.parametrize(("views", "hides"), [(VIEWS, True), (VIEWS, False), (None, True)])
@pytest.mark.parametrize("needs_alias", [True, False])
@pytest.mark.parametrize("media", ["anchored", ""])
def test_a_later_request_tells_no_more_than_the_invite(
    ksr: FakeKsr, views: Views | None, hides: bool, needs_alias: bool, media: str
) -> None:
    """What tells of its sender in the SDP is left to RTPengine where the media goes through it."""
    ksr.headers.update({"Contact": "<sip:a@10.1.1.1>", "Content-Type": "application/sdp"})
    ksr.results.update(
        {"kx.get_msgbuf": "INFO sip:b@h SIP/2.0\r\nPrivacy: id\r\n\r\n", "kx.get_body": "v=0\r\ns=Ann\r\n"}
    )
    on_in_dialog_request(SEAL, mark(views, media=media), hides=hides, needs_alias=needs_alias)
    is_hidden = views is not None and hides
    assert len(ksr.called("uac.uac_replace_from")) == (views is not None)
    assert (("Privacy",) in ksr.called("hdr.remove")) is not is_hidden
    assert len(ksr.called("textops.remove_hf_exp")) == is_hidden
    assert len(ksr.called("textops.set_body")) == (is_hidden and not media)
    assert len(ksr.called("nathelper.add_contact_alias")) == (needs_alias and not is_hidden)
    shown = "sip:a@10.1.1.1;alias=127.0.0.2~5060~1" if needs_alias else "sip:a@10.1.1.1"
    assert contact_sent(ksr) == ([shown] if is_hidden else [])


@pytest.mark.parametrize(("method", "has_reply"), [("INFO", True), ("ACK", False)])
def test_a_request_to_the_caller_goes_where_its_contact_says(ksr: FakeKsr, method: str, has_reply: bool) -> None:
    """The caller's reply is hidden too; an ACK has none."""
    ksr.message(method)
    ksr.results["kx.get_ruri"] = hidden(SEAL, "contact\nsome-call-id\n1", "<sip:a@10.1.1.1>")
    on_request_to_caller(SEAL, mark(VIEWS, is_from_caller=False))
    assert ksr.called("seturi") == [("sip:a@10.1.1.1",)]
    assert ksr.called("tm.t_on_reply") == [(Route.IN_DIALOG_REPLIED,)] * has_reply
    assert transaction.hidden_tag == ("1" if has_reply else "")


def test_a_request_to_a_caller_that_was_not_hidden_goes_on_as_it_is(ksr: FakeKsr) -> None:
    on_request_to_caller(SEAL, mark(VIEWS, is_from_caller=False))
    assert not ksr.calls


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
