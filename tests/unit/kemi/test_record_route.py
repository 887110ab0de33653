"""What a signed Route proves: its dialog, how long it is valid, where it may lead, and its media (S9)."""

from __future__ import annotations

import re

import pytest

from callinteractive.config import load_ivr_file, load_site
from callinteractive.keys import ROUTES, derive
from callinteractive.model import Address
from kemi import record_route
from kemi.identity import ANONYMOUS
from kemi.main import compose
from kemi.places import Places
from kemi.record_route import LONGEST_S, MOST_REPORTED, RecordRoute
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.test_ingress import IVR
from tests.unit.kemi.test_ingress import KEY as SITE_KEY

KEY = derive(SITE_KEY, ROUTES)
MEDIA = "anchored-0123456789abcdef"
SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
trunks:
  - {name: carrier, from: ["127.0.0.2/32", "10.2.0.0/16"], to: "sip:10.1.0.1:5080"}
  - {name: other, to: "sip:gw.example.org"}
extensions: [{number: "000*306", id: 134, contact: "sip:306@127.0.0.3:5090"}]
"""
PLACES = Places(load_site(SITE, "site.yaml"))


@pytest.fixture
def route() -> RecordRoute:
    return RecordRoute(KEY, KEY, PLACES)


def written(ksr: FakeKsr, route: RecordRoute, target: str = "sip:127.0.0.1:5070", media: str = "") -> str:
    """The Record-Route that a branch to `target` gets, as a Route header returns it."""
    ksr.results["kx.get_ruri"] = target
    route.on_branch(media)
    [parameters] = ksr.called("rr.record_route_params")[-1]
    return f"<sip:h;lr=on{parameters};ftag=1>"


def tags(ksr: FakeKsr, from_tag: str, to_tag: str) -> None:
    ksr.tags = {"$ft": from_tag, "$tt": to_tag}


def leads(ksr: FakeKsr, route: RecordRoute, routes: str, from_tag: str, to_tag: str, *hosts: str) -> list[bool] | None:
    """For each host, whether a request with these tags may go there. None if the mark is not valid for it."""
    tags(ksr, from_tag, to_tag)
    mark = route.read(routes)
    return mark and [route.may_lead_to(mark, Address(host, 5070)) for host in hosts]


@pytest.mark.parametrize("media", ["", MEDIA, MEDIA + "-late"])
def test_both_sides_of_a_dialog(ksr: FakeKsr, route: RecordRoute, media: str) -> None:
    routes = written(ksr, route, media=media)
    for from_tag, to_tag, is_from_caller in (("1", "x", True), ("x", "1", False)):
        tags(ksr, from_tag, to_tag)
        for text in (routes, f"<sip:other;lr>, {routes}"):
            mark = route.read(text)
            assert mark
            assert (mark.media, mark.is_from_caller) == (media, is_from_caller)


def test_neither_left_out_nor_exchanged(ksr: FakeKsr, route: RecordRoute, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = written(ksr, route, media=MEDIA)
    tags(ksr, "1", "x")
    said = routes.partition("ci=")[2].partition(";")[0]
    until, callee, callers, signature, _ = said.split(".")
    later = f"{int(until, 16) + 60:08x}"
    for forged in (
        routes.replace("." + MEDIA, ""),
        routes.replace("cdef", "cdee"),
        routes.replace(MEDIA, MEDIA + "-late"),
        routes.replace(until, later),
        routes.replace(callee, callers[:8]),
        routes.replace(callers, callers + callee),
        routes.replace(signature, "0" * 16),
        f"<sip:h;lr;ci={signature}>",
        "",
    ):
        assert route.read(forged) is None, forged
    assert route.read(routes)
    tags(ksr, "2", "x")
    assert route.read(routes) is None
    tags(ksr, "1", "x")
    assert RecordRoute(b"another key", KEY, PLACES).read(routes) is None
    ksr.results["kx.get_callid"] = "another-call-id"
    assert route.read(routes) is None
    ksr.results["kx.get_callid"] = "some-call-id"
    now = record_route.time.time()
    monkeypatch.setattr(record_route.time, "time", lambda: now + LONGEST_S + 2)
    assert route.read(routes) is None


def test_a_callee_cannot_take_out_whom_the_other_side_shows(ksr: FakeKsr, route: RecordRoute) -> None:
    """It writes the Record-Route of its 200: without it the caller's BYE would show the caller's own From (A5)."""
    ksr.results["kx.get_ruri"] = "sip:7@10.1.0.1:5080"
    ksr.results["kx.get_furi"] = "sip:own@h"
    route.on_branch(MEDIA, shown=ANONYMOUS)
    [parameters] = ksr.called("rr.record_route_params")[-1]
    routes = f"<sip:h;lr=on{parameters};ftag=1>"
    tags(ksr, "1", "x")
    mark = route.read(routes)
    assert mark
    assert mark.views
    assert mark.views.shown == ANONYMOUS
    sealed = routes.partition(";cf=")[2].partition(";")[0]
    other = sealed[:-1] + ("A" if sealed[-1] != "A" else "B")
    for forged in ("", ";cf=A", f";cf={other}", f";CF={sealed}"):
        assert route.read(routes.replace(f";cf={sealed}", forged)) is None


def test_the_ends_of_several_calls(ksr: FakeKsr, route: RecordRoute) -> None:
    names = ("0a1b" + "5f" * 16) + ("0a1c" + "6a" * 16)
    ksr.results["kx.get_ruri"] = "sip:7@10.1.0.1:5080"
    route.on_branch(reported=names)
    [parameters] = ksr.called("rr.record_route_params")[-1]
    tags(ksr, "1", "x")
    mark = route.read(f"<sip:h;lr=on{parameters};ftag=1>")
    assert mark is not None
    assert mark.reported == names


WRITTEN = (
    ";ci=ee6c7980.96200d13.c364b6e9.s1.d5f66f3ba19dac33.anchored-0123456789abcdef"
    ";cf=M1o8UWDPQkjbpIW8pMiji0J_CR97LcGOdpho2o0RBdfhdws_ZIfWXRxBKsclo3hi7ryJafBCuZLrdtReWtzxTGuCpsSgacqH5F4s_7xFBQQ"
    ";ct=0a1b5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f.1b104cb6dc4dc639"
)


def test_the_form_stays(ksr: FakeKsr, route: RecordRoute, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one would end all dialogs that were made before an upgrade: their BYE would get 481."""
    monkeypatch.setattr(record_route.time, "time", lambda: 4e9)
    ksr.results.update({"kx.get_ruri": "sip:306@127.0.0.3:5090", "kx.get_furi": "sip:own@h"})
    route.on_branch(MEDIA, 1, ANONYMOUS, "0a1b" + "5f" * 16)
    assert ksr.called("rr.record_route_params")[-1] == (WRITTEN,)
    tags(ksr, "x", "1")
    mark = route.read(f"<sip:h;lr=on{WRITTEN};ftag=1>")
    assert mark
    assert mark.views
    assert (mark.media, mark.shift, mark.views.shown, mark.is_from_caller) == (MEDIA, 1, ANONYMOUS, False)


def test_whose_end_is_reported(ksr: FakeKsr, route: RecordRoute) -> None:
    """An edge of an earlier release reads all but that. Who forges it has no report, and a dialog all the same."""
    reported = "0a1b" + "5f" * 16
    ksr.results["kx.get_ruri"] = "sip:7@10.1.0.1:5080"
    route.on_branch(MEDIA, shown=ANONYMOUS, reported=reported)
    [parameters] = ksr.called("rr.record_route_params")[-1]
    routes = f"<sip:h;lr=on{parameters};ftag=1>"
    before, _, name = parameters.rpartition(";ct=")
    tags(ksr, "1", "x")
    for text, expected in (
        (routes, reported),
        (routes.replace(reported, "0a1b" + "5e" * 16), ""),
        (routes.replace(name, reported), ""),
        (f"<sip:h;lr=on{before};ftag=1>", ""),
    ):
        mark = route.read(text)
        assert mark
        assert (mark.reported, mark.media, bool(mark.views)) == (expected, MEDIA, True)


def test_the_end_of_a_second_dialog_is_not_reported(ksr: FakeKsr, route: RecordRoute) -> None:
    ksr.results["kx.get_ruri"] = "sip:7@10.1.0.1:5080"
    route.on_branch(MEDIA, shown=ANONYMOUS, reported=("0a1b" + "5f" * 16) * MOST_REPORTED)
    [parameters] = ksr.called("rr.record_route_params")[-1]
    route.report_nothing()
    [(name, expression, _)] = ksr.called("textops.subst_hf")
    _, pattern, new, _ = expression.split("/")
    assert (name, re.sub(pattern, new, parameters)) == ("Record-Route", parameters.partition(";ct=")[0])


@pytest.mark.parametrize(
    ("method", "source", "match", "is_of_a_dialog", "is_dropped"),
    [
        ("INVITE", "192.0.2.9", -1, False, True),
        ("INVITE", "192.0.2.9", -1, True, False),
        ("INVITE", "192.0.2.9", 1, False, False),  # tm knows its request
        ("INVITE", "127.0.0.2", -1, False, False),
        ("INVITE", "127.0.0.3", -1, False, False),
        ("BYE", "192.0.2.9", -1, False, True),
        ("BYE", "127.0.0.2", -1, True, True),
        ("BYE", "127.0.0.2", 1, False, False),
    ],
)
def test_a_reply_of_no_transaction(
    ksr: FakeKsr, route: RecordRoute, method: str, source: str, match: int, is_of_a_dialog: bool, is_dropped: bool
) -> None:
    """After a restart of Kamailio an INVITE's reply is of none. Other requests are sent again."""
    routes = written(ksr, route) if is_of_a_dialog else "<sip:127.0.0.1;lr>"
    ksr.results.update({"kx.get_msgbuf": f"SIP/2.0 200 OK\r\nRecord-Route: {routes}\r\n", "kx.get_srcip": source})
    ksr.results.update({"tm.t_check_trans": match, "htable.sht_get": None, "kx.get_method": method})
    tags(ksr, "1", "x")
    assert route.is_stray_reply() is is_dropped


def test_each_side_may_reach_the_other_only(ksr: FakeKsr, route: RecordRoute) -> None:
    """A call from a carrier to a phone: the phone's address, and the carrier's networks, gateway and Contact."""
    ksr.headers["Contact"] = "<sip:a@192.0.2.9:5060>"
    routes = written(ksr, route, "sip:306@127.0.0.3:5090")
    assert leads(ksr, route, routes, "1", "x", "127.0.0.3", "127.0.0.2", "127.0.0.1", "8.8.8.8") == [
        True,
        *[False] * 3,
    ]
    hosts = ("127.0.0.2", "10.2.3.4", "10.1.0.1", "192.0.2.9", "127.0.0.3", "8.8.8.8", "gw.example.org")
    assert leads(ksr, route, routes, "x", "1", *hosts) == [True] * 4 + [False] * 3


def test_where_the_invite_came_from_before_it_passed_us_again(ksr: FakeKsr, route: RecordRoute) -> None:
    ksr.headers["Contact"] = "<sip:a@192.0.2.9;alias=192.0.2.8~5061~1>"
    routes = written(ksr, route, "sip:306@127.0.0.3:5090")
    assert leads(ksr, route, routes, "x", "1", "192.0.2.8", "192.0.2.9", "192.0.2.7") == [True, True, False]


@pytest.mark.parametrize("contact", ["<sip:+900@gw.example.org>", "<sip:306@127.0.0.3:5090>", "sip:x@127.0.0.1:5070"])
def test_a_contact_cannot_name_another_party_of_ours(ksr: FakeKsr, route: RecordRoute, contact: str) -> None:
    ksr.headers["Contact"] = contact
    routes = written(ksr, route, "sip:10.9.9.9")
    host = contact.partition("@")[2].rstrip(">").partition(":")[0]
    assert leads(ksr, route, routes, "x", "1", host) == [False]


def test_proxies_before_and_behind_us_are_the_next_hop(ksr: FakeKsr, route: RecordRoute) -> None:
    ksr.headers["Record-Route"] = "<sip:192.0.2.1;lr>, <sip:192.0.2.2;lr>"
    routes = written(ksr, route, "sip:7@10.1.0.1:5080")
    assert leads(ksr, route, routes, "x", "1", "192.0.2.1", "192.0.2.2") == [True, False]
    del ksr.headers["Record-Route"]
    ksr.results["kx.get_msgbuf"] = f"SIP/2.0 200 OK\r\nRecord-Route: <sip:9.9.9.9;lr>,<sip:192.0.2.7;lr>, {routes}\r\n"
    ksr.results["kx.get_srcip"] = "10.1.0.1"
    tags(ksr, "1", "x")
    route.on_reply()
    [(_, expression, _)] = ksr.called("textops.subst_hf")
    assert leads(ksr, route, substituted(routes, expression), "1", "x", "192.0.2.7", "9.9.9.9") == [True, False]


def substituted(routes: str, expression: str) -> str:
    _, pattern, new, _ = expression.split("/")
    begin = pattern.strip("()").removesuffix("[.0-9a-z-]*").replace(r"\.", ".")
    assert begin in routes
    before, _, behind = routes.partition(begin)
    parameter, _, rest = behind.partition(";")
    return f"{before}{begin}{parameter}{new.removeprefix(chr(92) + '1')};{rest}"


@pytest.mark.parametrize(
    ("source", "contact", "is_added"),
    [
        ("10.1.0.1", "<sip:x@192.0.2.7:5061>", True),
        ("10.1.0.1", "sip:x@192.0.2.7:5061", True),
        ("10.1.0.1", "<sip:x@10.2.0.7>", False),
        ("10.1.0.1", "<sip:306@127.0.0.3>", False),
        ("127.0.0.3", "<sip:x@192.0.2.7>", False),
        ("10.1.0.1", "", False),
    ],
)
def test_carrier_s_contact_elsewhere(
    ksr: FakeKsr, route: RecordRoute, source: str, contact: str, is_added: bool
) -> None:
    routes = written(ksr, route, "sip:7@10.1.0.1:5080", MEDIA)
    ksr.results.update({"kx.get_msgbuf": f"SIP/2.0 200 OK\r\nRecord-Route: {routes}\r\n", "kx.get_srcip": source})
    ksr.headers["Contact"] = contact
    tags(ksr, "1", "x")
    route.on_reply()
    assert bool(ksr.called("textops.subst_hf")) is is_added
    if is_added:
        [(_, expression, _)] = ksr.called("textops.subst_hf")
        more = substituted(routes, expression)
        for again in (more, routes.replace(MEDIA, "other")):  # it has been added, or is not ours
            ksr.results["kx.get_msgbuf"] = f"SIP/2.0 200 OK\r\nRecord-Route: {again}\r\n"
            assert route.on_reply() is None
        assert leads(ksr, route, more, "1", "x", "192.0.2.7", "10.1.0.1", "8.8.8.8") == [True, True, False]
        other = written(ksr, route, "sip:7@10.1.0.1:5080")
        taken = other.replace(";ftag", more[more.index(";cx=") :].partition(";ftag")[0] + ";ftag")
        assert leads(ksr, route, taken, "1", "x", "192.0.2.7") == [other == routes]


@pytest.mark.parametrize(
    "after", [SITE.replace("name: carrier", "name: renamed"), re.sub(r"  - \{name: carrier.*\n", "", SITE)]
)
def test_a_dialog_keeps_its_parties_after_a_reload(ksr: FakeKsr, route: RecordRoute, after: str) -> None:
    """Else a BYE to a carrier that was renamed or taken out would be refused, and its side would go on."""
    routes = written(ksr, route, "sip:7@10.1.0.1:5080")
    now = Places(load_site(after, "site.yaml"))
    assert leads(ksr, RecordRoute(KEY, KEY, now), routes, "1", "x", "10.1.0.1") == [False]
    later = RecordRoute(KEY, KEY, now, RecordRoute(KEY, KEY, now, route))
    assert leads(ksr, later, routes, "1", "x", "10.1.0.1", "8.8.8.8") == [True, False]


def test_a_worker_that_takes_up_another_configuration_knows_the_one_before(ksr: FakeKsr) -> None:
    ivr_file = load_ivr_file(IVR, "ivr.yaml")
    before = compose(load_site(SITE, "site.yaml"), ivr_file, SITE_KEY)
    routes = written(ksr, before.record_route, "sip:7@10.1.0.1:5080")
    renamed = load_site(SITE.replace("name: carrier", "name: renamed"), "site.yaml")
    after = compose(renamed, ivr_file, SITE_KEY, before=before)
    assert leads(ksr, after.record_route, routes, "1", "x", "10.1.0.1") == [True]


def test_call_id_cannot_be_written_so_that_it_names_media(ksr: FakeKsr, route: RecordRoute) -> None:
    """The Call-ID ends with the text that the signature of an anchored dialog covers."""
    ksr.results["kx.get_callid"] = f"some-call-id.{MEDIA}"
    plain = written(ksr, route)
    ksr.results["kx.get_callid"] = "some-call-id"
    tags(ksr, "1", "x")
    assert route.read(plain.replace(";ftag", f".{MEDIA};ftag")) is None
