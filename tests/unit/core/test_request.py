"""The request to the web application (R1-R6)."""

from __future__ import annotations

import os
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive import request
from callinteractive.commands import Fetch, Hangup
from callinteractive.events import Fetched
from callinteractive.facts import CallFacts
from callinteractive.headers import AnsweredHeader, CallHeader
from callinteractive.request import (
    FORM,
    MASK,
    HttpRequest,
    build,
    check_url,
    decode_form,
    encode_form,
    hide,
)
from tests.unit.core.call import FACTS

PROTOCOL_EXAMPLE = (
    "http://mysite.com/myscript?CalledExtensionID=145&CalledNumber=332&CallID=5205dc5cc5a411e5ab9eb3691b90ea15"
    "&CallerIDNum=000%2A306&CallerExtensionID=134&CallerExtension=000%2A306&CallFlow=IN&CalledExtension=000%2A332"
    "&CallAPIID=3584705175%3A5205dc5cc5a411e5ab9eb3691b90ea15&CallerIDName=000%2A306&CallStatus=ANSWER"
)
"""As the protocol's description has it: its table says that EventType is always there, its example leaves it out."""

VALUES = st.text(max_size=40)
"""Anything a variable can hold, UTF-8."""


def parameters(facts: CallFacts = FACTS) -> dict[str, str]:
    return facts.parameters(facts.caller_name, facts.caller_number)


def query_of(request: HttpRequest) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=True)


def test_R1_get_adds_the_parameters_to_the_query_of_the_url():
    request = build("http://mysite.com/myscript?param1=value1&param2=value2", "GET", parameters(), {})
    assert request.url.startswith("http://mysite.com/myscript?param1=value1&param2=value2&EventType=call_interactive&")
    assert query_of(request)[2:] == list(parameters().items())
    assert (request.method, request.body, request.content_type) == ("GET", None, None)


@pytest.mark.parametrize("url", ["http://mysite.com", "http://mysite.com/", "http://mysite.com/a?"])
def test_R1_get_begins_a_query_where_the_url_has_none(url: str):
    request = build(url, "GET", parameters(), {})
    assert request.url.startswith(url.rstrip("?") + "?EventType=")
    assert query_of(request) == list(parameters().items())


def test_R1_post_sends_the_parameters_as_a_form_and_leaves_the_url_its_query():
    request = build("http://mysite.com/myscript?param1=$var", "POST", parameters(), {"var": "9 8"})
    assert request.url == "http://mysite.com/myscript?param1=9%208"
    assert request.content_type == FORM == "application/x-www-form-urlencoded"
    assert request.body is not None
    assert parse_qsl(request.body.decode("ascii")) == list(parameters().items())
    assert build("http://mysite.com/myscript", "POST", parameters(), {}).url == "http://mysite.com/myscript"


def test_R2_an_internal_call_has_every_parameter_but_the_did():
    assert parameters() == {
        "EventType": "call_interactive",
        "CallID": "5205dc5cc5a411e5ab9eb3691b90ea15",
        "CallerIDNum": "000*306",
        "CallerIDName": "000*306",
        "CalledExtension": "000*332",
        "CalledExtensionID": "145",
        "CallStatus": "ANSWER",
        "CallFlow": "IN",
        "CallerExtension": "000*306",
        "CallerExtensionID": "134",
        "CalledNumber": "332",
        "CallAPIID": "3584705175:5205dc5cc5a411e5ab9eb3691b90ea15",
    }


def test_R2_an_external_call_has_a_did_and_no_caller_extension():
    external = replace(FACTS, called_did="+78123210001", caller_extension=None, caller_extension_id=None)
    sent = parameters(external)
    assert sent["CalledDID"] == "+78123210001"
    assert not {"CallerExtension", "CallerExtensionID"} & sent.keys()


def test_R2_an_id_of_zero_is_present():
    assert parameters(replace(FACTS, caller_extension_id=0))["CallerExtensionID"] == "0"


def test_R3_the_example_of_the_protocol_decodes_to_the_same_parameters():
    example = dict(parse_qsl(urlsplit(PROTOCOL_EXAMPLE).query, strict_parsing=True))
    assert {"EventType": "call_interactive", **example} == parameters()


def test_R3_the_example_of_the_protocol_is_made_again_octet_by_octet():
    made = build("http://mysite.com/myscript", "GET", parameters(), {})
    assert made.url.replace("EventType=call_interactive&", "") == PROTOCOL_EXAMPLE


def test_R3_encoding_is_utf8_with_star_and_colon_escaped():
    url = build("http://h/", "GET", {"a": "* :/?&=#%+", "b": "Иван"}, {}).url
    assert url == "http://h/?a=%2A+%3A%2F%3F%26%3D%23%25%2B&b=%D0%98%D0%B2%D0%B0%D0%BD"


@given(st.dictionaries(st.text(min_size=1, max_size=20), VALUES, min_size=1, max_size=5))
def test_R3_what_is_encoded_decodes_to_itself(values: dict[str, str]):
    get, post = (build("http://h/p", method, values, {}) for method in ("GET", "POST"))
    assert dict(query_of(get)) == values
    assert post.body is not None
    assert dict(parse_qsl(post.body.decode("ascii"), keep_blank_values=True)) == values


def test_R4_a_variable_in_the_query_is_replaced_by_its_value():
    request = build("http://mysite.com/myscript?param1=$var&param2=$var2", "POST", {}, {"var": "1&2=#", "var2": "Ж"})
    assert request.url == "http://mysite.com/myscript?param1=1%262%3D%23&param2=%D0%96"


def test_R4_an_unset_variable_is_the_empty_string():
    assert build("http://h/?a=$nothing&b=1", "POST", {}, {}).url == "http://h/?a=&b=1"


@pytest.mark.parametrize("text", ["$", "$$", "$1", "%24var", "$-x"])
def test_R4_a_dollar_that_names_no_variable_stays(text: str):
    assert build(f"http://h/?a={text}", "POST", {}, {"var": "x"}).url == f"http://h/?a={text}"


def test_R4_a_value_is_not_expanded_again():
    assert build("http://h/?a=$a", "POST", {}, {"a": "$b", "b": "secret"}).url == "http://h/?a=%24b"


@given(st.dictionaries(st.sampled_from(["a", "b", "_c"]), st.text(st.characters(exclude_categories=()), max_size=40)))
def test_R4_no_value_changes_where_a_request_goes_or_how_many_parameters_it_has(variables: dict[str, str]):
    """Lone surrogates included: they can come out of a header that is no UTF-8."""
    url = "http://user@127.0.0.1:8000/p/a?x=$a&$b=1&z=$_c$a"
    plain, filled = (urlsplit(build(url, "POST", {}, values).url) for values in ({}, variables))
    assert filled[:3] == plain[:3]
    assert filled.fragment == ""
    assert len(parse_qsl(filled.query, keep_blank_values=True)) == 3


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/menu?lang=$lang",
        "https://example.org",
        "http://[::1]:80/a?b",
        "http://u:p@h/%D0%96?x=%23",
        "http://h/?$name=1",
        "http://xn--e1afmkfd.xn--p1ai./",
        "http://my_app:65535/",
        "http://u:p@[::ffff:127.0.0.1]/",
        "http://" + "a" * 63 + ".example/",
        "http://h:/",
    ],
)
def test_a_good_url_has_nothing_wrong(url: str):
    assert check_url(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://h/", "must start with http:// or https://"),
        ("mysite.com/a", "must start with http:// or https://"),
        ("http:///a", "and a host"),
        ("", "must start with"),
        ("http://h:99999/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://h/a b", "percent-encode the rest: %20 for ' '"),
        ("http://h/\r\nX: y", "percent-encode"),
        ("http://h/\x7f", "percent-encode"),
        ("http://h/über", "percent-encode the rest: %C3%BC for 'ü'"),
        ("http://пример.рф/", "write the host as xn--e1afmkfd.xn--p1ai"),
        ("http://u:p@пример.рф:80/a?b", "write the host as xn--e1afmkfd.xn--p1ai"),
        ("http://h:0/", "a port is a number from 1 to 65535"),
        ("https://h:0/", "a port is a number from 1 to 65535"),
        ("http://256.1.1.1/", "no host has such a name"),
        ("http://10.0.0.01/", "no host has such a name"),
        ("http://a..b/", "no host has such a name"),
        ("http://.b/", "no host has such a name"),
        ("http://" + "a" * 64 + "/", "no host has such a name"),
        ("http://" + "a." * 127 + "a/", "no host has such a name"),
        ("http://*/", "no host has such a name"),
        ("http://%31/", "no host has such a name"),
        ("http://a\\b/", "no host has such a name"),
        ("http://u:p@a{b}/", "no host has such a name"),
        ("http://[fe80::1%25eth0]/", "no IPv6 address"),
        ("http://[v1.a]/", "no IPv6 address"),
        ("http://h/a#b", "write %23"),
        ("$scheme://h/", "in the query only"),
        ("http://$host/", "in the query only"),
        ("http://h:$port/", "in the query only"),
        ("http://h/$path?a=$b", "in the query only"),
        ("http://h/?a=" + "x" * 8000, "at most 8000 characters"),
    ],
)
def test_R4_a_bad_url_is_told_why(url: str, reason: str):
    assert reason in (check_url(url) or "")


@pytest.mark.parametrize(
    "url", [f"http://name:se{mark}cret@h/" for mark in "/?#@:"] + ["http://name:secret@a..b/", "http://se[cret@h/"]
)
def test_W2_what_is_wrong_with_a_url_shows_no_password(url: str):
    reason = check_url(url) or ""
    assert "secret" not in reason
    assert "'se" not in reason


def test_a_surrogate_from_a_header_that_was_no_utf8_does_not_break_a_request():
    assert build("http://h/", "GET", {"CallerIDName": "a\udce9"}, {}).url == "http://h/?CallerIDName=a%3F"


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=100)))
def test_form_is_encoded_as_the_standard_library_does(values: dict[str, str]) -> None:
    assert encode_form(values) == urlencode(values, errors="replace")


@given(st.dictionaries(st.text(), st.text(), min_size=1))
def test_form_comes_back_as_it_was(values: dict[str, str]):
    assert decode_form(encode_form(values)) == values


@given(st.text("ab=&%+0Cffé"))
def test_form_is_decoded_as_the_standard_library_does(text: str):
    try:
        expected = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict")
        is_form = bool(text) and len(dict(expected)) == len(expected)
    except ValueError:
        is_form = False
    if is_form:
        assert decode_form(text) == dict(expected)
    else:
        with pytest.raises(ValueError, match=r"field|twice|decode"):
            decode_form(text)


def test_what_is_remembered_of_form_values_is_bounded() -> None:
    values = {f"caller{number}": f"+7 {number}" for number in range(3 * request._MOST_REMEMBERED)}
    assert encode_form(values) == urlencode(values)
    assert len(request._QUOTED) <= request._MOST_REMEMBERED


def test_E3_a_hidden_text_that_is_a_part_of_another_leaves_nothing_of_that():
    assert request.hide("12 12345 123", ("12", "12345")) == "*** *** ***3"


def test_E3_what_is_hidden_in_a_text():
    assert hide("a 1234 b 123 c 1", ["1", "123", "1234"]) == f"a {MASK} b {MASK} c 1"
    assert hide(1234, ["1234"]) == 1234


@pytest.mark.skipif("CALLINTERACTIVE_TEST_COMPILED" not in os.environ, reason="in the sources mypy sees to it")
@pytest.mark.parametrize(
    ("made", "field"),
    [
        (HttpRequest("GET", "http://h/"), "url"),
        (FACTS, "caller_number"),
        (Fetched(200, b""), "body"),
        (Fetch(HttpRequest("GET", "http://h/")), "request"),
        (Hangup(""), "code"),
        (CallHeader(FACTS), "facts"),
        (AnsweredHeader("1", True), "number"),
    ],
)
def test_what_is_final_does_not_change(made: object, field: str):
    with pytest.raises(AttributeError, match="not writable"):
        setattr(made, field, None)
