"""The key `web` of ivr.yaml, and what requests become by it (W1, W2, R7, R8)."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import pytest

from callinteractive.commands import Fetch
from callinteractive.config import load_ivr_file
from callinteractive.errors import ConfigError
from callinteractive.model import Ivr
from callinteractive.request import HttpRequest, redirected, with_error_code
from callinteractive.secret import Secret
from callinteractive.urls import split_login, without_logins
from callinteractive.web import Web
from tests.unit.core.call import Call, ivr_file

KEY = base64.b64encode(b"k" * 32).decode()
WHOLE = f"""
  secrets: [{{file: web.key}}, {{env: OLD_KEY}}, {KEY}]
  headers: {{X-Api-Key: {{env: API_KEY}}, X-Tenant: blue}}
  retries: 2
  fallback_url: http://backup.example.com/ivr
  deadline_s: 12
  wait_sound: wait.wav
  allow_hosts: [ivr.example.com, "*.Example.com", 192.0.2.1]
  private_addresses: no
  breaker: no
"""


def ivrs(top: str = "", own: Iterable[str] = ("",)) -> tuple[Ivr, ...]:
    numbers = "".join(
        f'  - {{number: "000*{index}", id: {index}, entry_context: 1{", " if keys else ""}{keys}}}\n'
        for index, keys in enumerate(own, 1)
    )
    head = f"web:{top}\n" if top else ""
    return load_ivr_file(f"{head}ivrs:\n{numbers}contexts: {{1: {{options: {{start: [hangup]}}}}}}", "ivr.yaml").ivrs


def test_everything_that_web_can_say():
    assert ivrs(WHOLE)[0].web == Web(
        secrets=(Secret(file="web.key"), Secret(variable="OLD_KEY"), Secret(KEY)),
        headers=(("X-Api-Key", Secret(variable="API_KEY")), ("X-Tenant", Secret("blue"))),
        retries=2,
        fallback_url="http://backup.example.com/ivr",
        deadline_s=12,
        wait_sound="wait.wav",
        allow_hosts=("ivr.example.com", "*.example.com", "192.0.2.1"),
        allows_private=False,
        breaks=False,
    )


def test_an_ivr_says_it_for_itself_key_by_key():
    first, second = ivrs(
        " {retries: 1, headers: {A: b}, wait_sound: a.wav}", ("web: {retries: 0, headers: {C: d}}", "")
    )
    assert first.web == Web(retries=0, headers=(("C", Secret("d")),), wait_sound="a.wav")
    assert second.web == Web(retries=1, headers=(("A", Secret("b")),), wait_sound="a.wav")
    assert ivrs()[0].web == Web()


def test_one_secret_needs_no_list():
    assert ivrs(" {secrets: {file: k}}")[0].web.secrets == (Secret(file="k"),)


def test_W2_no_secret_is_shown():
    assert KEY not in repr(ivrs(WHOLE))


@pytest.mark.parametrize(
    ("web", "reason"),
    [
        ("{secrets: [hush!]}", "secrets[0]: is not base64, with or without whsec_ before it; make one with: openssl"),
        (f"{{secrets: [{KEY[:16]}]}}", "must be from 24 to 64 octets in base64, not 12"),
        ("{secrets: [{}]}", "write the password, or {file: NAME}, or {env: NAME}"),
        ('{secrets: [""]}', "secrets[0]: is empty"),
        (f"{{secrets: [{', '.join([KEY] * 9)}]}}", "secrets: more than 8 secrets"),
        (f"{{headers: {{{', '.join(f'X-{n}: a' for n in range(33))}}}}}", "headers: more than 32 headers"),
        ("{headers: {Host: x}}", "headers.Host: Host is written by this software itself"),
        ("{headers: {webhook-ID: x}}", "webhook-ID is written by this software itself"),
        ('{headers: {"a b": x}}', "a header's name is letters, digits and -"),
        ("{headers: {A: x, a: y}}", "is given twice"),
        ("{headers: {A: }}", "headers.A: is empty"),
        ('{headers: {A: "\u00fc"}}', "a header's value is printable ASCII"),
        ('{headers: {A: "x\\ny"}}', "must be one line"),
        ("{headers: [a]}", "must be a mapping"),
        ("{retries: 6}", "retries: must be a number from 0 to 5"),
        ("{fallback_url: backup}", "fallback_url: must start with http:// or https://"),
        ('{fallback_url: "http://$host/"}', "variables may stand in the query only"),
        ("{fallback_url: http://a/, deadline_s: 10}", "deadline_s: a request may take 10 s (request_timeout_s), so no"),
        ("{fallback_url: http://a/, allow_hosts: [b]}", "fallback_url: its host is not in allow_hosts"),
        ("{deadline_s: soon}", "deadline_s: must be a number"),
        ("{wait_sound: ../a.wav}", "wait_sound: is no name in the sound library"),
        ('{allow_hosts: ["http://a/"]}', "allow_hosts[0]: must be a host's name or address"),
        ("{allow_hosts: []}", "allows no host; leave allow_hosts out to allow all"),
        ("{private_addresses: never}", "must be yes or no"),
        ("{secret: x}", "unknown key 'secret' (did you mean 'secrets'?); known here: allow_hosts, breaker"),
        ("yes", "must be a mapping"),
    ],
)
def test_what_is_wrong_with_web(web: str, reason: str):
    for place in ({"own": [f"web: {web}"]}, {"top": f" {web}"}):
        if "deadline_s: 10" in web and "top" in place:
            continue  # only an IVR has a request_timeout_s
        with pytest.raises(ConfigError) as raised:
            ivrs(**place)
        told = [str(finding) for finding in raised.value.findings]
        assert len(told) == 1, told
        assert reason in told[0]
        assert "hush" not in told[0]


def asked(rule: str, web: str, call_keys: str = "") -> HttpRequest:
    command = Call(ivr_file(f"1: {{options: {{start: [{rule}]}}}}", f"web: {web}{call_keys}")).start()
    assert isinstance(command, Fetch)
    return command.request


def test_R8_the_fallback_is_told_which_url_has_failed():
    request = asked(
        '{set_var: {name: a, value: "4711"}}, {call_interactive: {url: "http://u:p@h/x?a=$a", method: POST}}',
        "{fallback_url: 'http://b/y?k=$a'}",
    )
    assert (request.url, request.authorization) == ("http://h/x?a=4711", "Basic dTpw")
    fallback = request.fallback
    assert fallback is not None
    assert (fallback.method, fallback.url, fallback.id) == ("POST", "http://b/y?k=4711", request.id)
    sent = with_error_code(fallback, "500")
    assert sent.body == (request.body or b"") + b"&ErrorUrl=http%3A%2F%2Fh%2Fx%3Fa%3D%24a&ErrorCode=500"
    assert sent.fallback is None


@pytest.mark.parametrize(
    ("web", "deadline_s"),
    [("{}", 10), ("{retries: 1}", 20), ("{fallback_url: http://a/}", 20), ("{retries: 1, deadline_s: 7}", 7)],
)
def test_R7_the_deadline(web: str, deadline_s: float):
    assert asked('{call_interactive: {url: "http://h/"}}', web).deadline_s == deadline_s


def test_W2_the_password_of_a_url_is_in_no_note_and_no_repr():
    call = Call(ivr_file('1: {options: {start: [{call_interactive: {url: "http://user:hush@h:1/a@b?c@d"}}]}}'))
    command = call.start()
    assert isinstance(command, Fetch)
    assert command.request.url.startswith("http://h:1/a@b?c@d&")
    assert command.request.authorization == "Basic dXNlcjpodXNo"
    assert "hush" not in repr(call.notes) + repr(command)
    assert "dXNlcjpodXNo" not in repr(command)


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://a%3Ab:c@h/", "a user name has no colon"), ("http://a:b%0Ac@h/", "no control characters")],
)
def test_W2_a_login_that_cannot_be_sent(url: str, reason: str):
    with pytest.raises(ConfigError, match=reason):
        asked(f'{{call_interactive: {{url: "{url}"}}}}', "{}")


def test_an_allowed_host():
    web = Web(allow_hosts=("a.example", "*.b.example"))
    assert [
        host for host in ("a.example", "A.example.", "x.b.example", "b.example", "xb.example") if web.allows(host)
    ] == [
        "a.example",
        "A.example.",
        "x.b.example",
    ]


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b", "http://h:1/b"),
        ("b?x=1#f", "http://h:1/a/b?x=1"),
        ("//other/b", "http://other/b"),
        ("https://h:1/%2A", "https://h:1/%2A"),
        ("/\xfc b", "http://h:1/%FC%20b"),
        ("?$x", "http://h:1/a/c?$x"),
    ],
)
def test_where_a_redirect_leads(location: str, url: str):
    assert redirected(HttpRequest("GET", "http://h:1/a/c?y"), 302, location).url == url


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "http://[::", "javascript:1", "http://h:99999/", "http://h:0/", "http://a..b/", "//b{}/"],
)
def test_where_no_redirect_leads(location: str):
    with pytest.raises(ValueError, match=r"no web address|IPv6|[Pp]ort"):
        redirected(HttpRequest("GET", "http://h:1/a/c?y"), 302, location)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("asked http://u:p@h/x, then HTTPS://u@h", "asked http://h/x, then HTTPS://h"),
        ("<a href='http://u:p@ss@h'>http://@h</a>", "<a href='http://h'>http://h</a>"),
        ("http://h/u:p@x?a@b and mail@example.com", "http://h/u:p@x?a@b and mail@example.com"),
    ],
)
def test_W2_no_text_shows_the_logins_of_urls(text: str, shown: str):
    assert without_logins(text) == shown


def test_an_at_sign_behind_the_server_is_no_login():
    assert split_login("http://h/a@b") == ("http://h/a@b", None)
