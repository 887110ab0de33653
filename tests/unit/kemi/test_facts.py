"""Facts of a call from what a SIP request says (R2)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callinteractive.identity import Identity
from kemi import facts
from kemi.facts import UnreadableError, decode_user, find_identity, parse_address, parse_dialled
from tests.unit.kemi.refusals import refused


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("332", "332"),
        ("000%2A332", "000*332"),
        ("+7812;phone-context=example.org", "+7812"),
        ("alice:secret", "alice"),
        ("%D0%98%3B", "И;"),
        ("", ""),
    ],
)
def test_user_part(text: str, user: str) -> None:
    assert decode_user(text) == user


def test_user_part_that_is_not_utf8() -> None:
    with pytest.raises(UnreadableError):
        decode_user("%FF")


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("<sip:7@h>", "", "7"),
        ("  <sip:7@h>", "", "7"),
        ("sip:7@h;tag=1", "", "7"),
        ("Bob <sip:7@h>;tag=1", "Bob", "7"),
        ("Bob J. Smith<sip:7@h>", "Bob J. Smith", "7"),
        ('"Bob, \\"J\\" <x>" <SIP:7@h>', 'Bob, "J" <x>', "7"),
        ('"" <sips:7@h:5061;user=phone>', "", "7"),
        ("<tel:+7-812;phone-context=x>", "", "+7-812"),
        ("tel:+7812", "", "+7812"),
        ("<sip:gateway.example>", "", ""),
        ('"A\r\n B" <sip:7@h>', "A B", "7"),
        ('"A" <sip:1@h>, "B" <sip:2@h>', "A", "1"),
        ("sip:7@h, <sip:8@h>", "", "7"),
        ("WIRELESS CALLER (US) <sip:7@h>", "WIRELESS CALLER (US)", "7"),
        ("a(b)&c@d/e:f, g <sip:7@h>", "a(b)&c@d/e:f, g", "7"),
        ("sip:7@h <sip:8@h>", "sip:7@h", "8"),
        ('"A" B <sip:7@h>', "A", "7"),
        ('"A" sip:7@h', "A", "7"),
    ],
)
def test_address(text: str, name: str, number: str) -> None:
    assert parse_address(text) == Identity(name, number)


@pytest.mark.parametrize("text", ["", "7", "<mailto:x@y>", '"unclosed <sip:7@h>', "<http://x>"])
def test_unreadable_address(text: str) -> None:
    with pytest.raises(UnreadableError):
        parse_address(text)


@pytest.mark.parametrize(
    ("uri", "number", "telephone"),
    [
        ("sip:332@h", "332", "332"),
        ("sip:0199;phone-context=+1555@h;user=phone", "0199", "+15550199"),
        ("sips:0199;Phone-Context=%2B1-555:secret@h", "0199", "+15550199"),
        ("sip:0199;phone-context=example.org@h", "0199", "0199"),
        ("sip:+15550199;phone-context=+7@h", "+15550199", "+15550199"),
        ("sip:0199?;phone-context=+1555@h?x=y", "0199?", "+15550199?"),
        ("tel:+1-555-0199", "+1-555-0199", "+15550199"),
        ("Tel:(555).0199;isub=1;phone-context=+1", "(555).0199", "+15550199"),
        ("sip:h", "", ""),
        ("", "", ""),
    ],
)
def test_dialled_p12(uri: str, number: str, telephone: str) -> None:
    got = parse_dialled(uri)
    assert (got.number, got.telephone) == (number, telephone)


def test_no_tel_uri_makes_a_sip_uri_with_another_host() -> None:
    assert parse_dialled("tel:332;phone-context=x@y?a=b").user == "332;phone-context=x%40y"


@pytest.mark.parametrize("user", ["332;a=\r\n X-Evil: 1", "332;a= b", "332\t", "tel:332;a=\x00"])
def test_a_header_s_number_ends_no_line(user: str) -> None:
    """A header may be folded (RFC 3261 7.3.1); a Request-URI may not."""
    with refused(400):
        parse_dialled(user if ":332" in user else f"sip:{user}@h")


def test_long_texts_are_refused() -> None:
    with refused(414):
        parse_dialled("sip:" + "1" * 3000 + "@h")
    with refused(400):
        parse_address(" " * 5000 + "<sip:7@h>")


@pytest.mark.parametrize(
    "text", ['"a>" sip:7@h', '"a>b" <sip:7@h>;x=">"', "sip:7@h;x=>", "a> <sip:7@h", '<sip:7@h>;x="<sip:8@h>"']
)
def test_a_bracket_elsewhere_is_not_the_end_of_the_uri(text: str) -> None:
    assert parse_address(text).number == "7"


@given(st.text(alphabet='"\\<>;,=sip:7@h ', max_size=30))
def test_what_is_behind_the_uri_never_says_who_calls(text: str) -> None:
    """A tag is new in each call; without it the caller is remembered."""

    def read(text: str) -> Identity | None:
        try:
            return facts._identity_in(text)
        except UnreadableError:
            return None

    assert read(facts._without_parameters(text)) == read(text)


@given(st.text() | st.builds('"{}" <sip:{}@h>{}'.format, st.text(), st.text(), st.text()))
@example('"A" <sip:1@h>')
def test_any_text_is_an_address_or_unreadable(text: str) -> None:
    try:
        caller = parse_address(text)
    except UnreadableError:
        return
    assert not set(caller.name + caller.number) & set("\r\n\0")


def test_asserted_identity_only_where_from_is_anonymous() -> None:
    asserted = '"Petr" <sip:2@h>'
    assert find_identity("<sip:1@h>", lambda: asserted) == Identity("", "1")
    assert find_identity("<sip:anonymous@anonymous.invalid>", lambda: asserted) == Identity("Petr", "2")
    assert find_identity('"Anonymous" <sip:anonymous@h>', lambda: "") == Identity("Anonymous", "anonymous")
