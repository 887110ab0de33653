"""Where the numbers of a plan lead, and what a log says of one that leads nowhere (A10, A14)."""

from __future__ import annotations

from pathlib import Path

import pytest

from callinteractive.config import load_ivr_file, load_site
from callinteractive.digest import Credentials
from callinteractive.errors import HeaderError
from callinteractive.facts import CallFacts
from callinteractive.headers import CallerHeader, CallHeader, TransferHeader
from callinteractive.model import Extension, RtpEngine
from callinteractive.numbers import Directory
from kemi import breadth
from kemi.anchor import Anchoring, MediaAnchor
from kemi.branch_spec import BranchSpec
from kemi.challenge import Challenges
from kemi.edges import Edges, Way
from kemi.engines import Engines
from kemi.fork import Forks
from kemi.limits import Limits
from kemi.names import NameFile
from kemi.places import Places
from kemi.record_route import RecordRoute
from kemi.reports import Reports
from kemi.ringing import Ringing
from kemi.transaction import transaction
from kemi.transfer import NoRoute, Transfer
from kemi.trunks import Trunks
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.refusals import refused
from tests.unit.kemi.test_ingress import IVR, KEY

SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
trunks:
  - {name: first, to: "sip:127.0.0.2:5080"}
  - {name: incoming_only, from: ["127.0.0.9/32"]}
  - {name: second, to: "sip:gw@127.0.0.3:5080;transport=tcp"}
extensions:
  - {number: "000*306", id: 1, contact: "sip:306@127.0.0.4:5090"}
  - {number: "001*306", id: 2, contact: "sip:306@127.0.0.5:5090"}
  - {number: "000*307", id: 3, password: secret}
"""
FACTS = CallFacts("a" * 32, "1:" + "a" * 32, "7", "Ivan", "332", "000*332", 145)
CALLER = CallerHeader("Petr", "8")
CREDENTIALS = {"first": Credentials("we", "secret")}
MEDIA = MediaAnchor(Engines([RtpEngine()]))
ALONE = Edges(load_site(SITE, "site.yaml"), load_site(SITE, "site.yaml").edges[0], KEY)
"""The only edge."""
ROUTES = RecordRoute(KEY, KEY, Places(load_site(SITE, "site.yaml")))
FORKS = Forks(MEDIA, ROUTES, Challenges(CREDENTIALS), Limits(), ALONE, Ringing(Path()), Reports((), KEY))


def start(
    ksr: FakeKsr,
    *numbers: str,
    site: str = SITE,
    contacts: tuple[str, ...] = (),
    timeout_s: int | None = None,
    early_media: bool = False,
    ivrs: str = IVR,
) -> list[str]:
    """Start a transfer. Returns the URIs of its branches."""
    loaded = load_site(site, "site.yaml")
    directory = Directory(loaded, load_ivr_file(ivrs, "ivr.yaml"))

    def ways_to(extension: Extension) -> list[tuple[Way, ...]]:
        return [(Way(uri),) for uri in contacts] if extension.password else []

    for header in (CallHeader(FACTS), CALLER, TransferHeader(numbers, timeout_s, early_media)):
        ksr.headers[header.NAME] = str(header)
    names = NameFile(loaded, Path())
    transfer = Transfer(loaded, directory, ways_to, FORKS, Trunks(loaded, Limits(loaded.trunks), names), names)
    transfer.start(Anchoring.NEVER, for_caller=False)
    return [uri for (uri,) in ksr.called("seturi") + ksr.called("corex.append_branch_uri")]


@pytest.mark.parametrize(
    ("number", "uri"),
    [
        ("000*306", "sip:306@127.0.0.4:5090"),
        ("306", "sip:306@127.0.0.4:5090"),  # the IVR's own prefix before the other
        ("001*306", "sip:306@127.0.0.5:5090"),
        ("+7495", "sip:+7495@127.0.0.2:5080"),
        ("#31#", "sip:%2331%23@127.0.0.2:5080"),
    ],
)
def test_number_leads_to(ksr: FakeKsr, number: str, uri: str) -> None:
    assert start(ksr, number) == [uri]
    assert ksr.replies == []


def test_all_numbers_ring_at_once_each_target_once(ksr: FakeKsr) -> None:
    uris = start(ksr, "306", "+7495", "307", "000*306", contacts=("sip:a@h", "sip:b@h"))
    assert uris == ["sip:306@127.0.0.4:5090", "sip:+7495@127.0.0.2:5080", "sip:a@h", "sip:b@h"]
    assert len(ksr.called("tm.t_relay")) == 1


def test_numbers_of_one_transfer_do_not_overfill_a_trunk(ksr: FakeKsr) -> None:
    """They are all sent at once, before any of them counts."""
    ksr.results["htable.sht_get"] = None
    ksr.results["htable.sht_iterator_next"] = -1
    site = SITE.replace("name: first,", "name: first, max_calls_out: 2,")
    uris = start(ksr, "+1", "+2", "+3", "+4", site=site)
    assert sorted(uri.partition("@")[2][:9] for uri in uris) == ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"]


def test_what_needs_a_connection_is_sent_first(ksr: FakeKsr) -> None:
    """Else tm may wait for ever: it learns that one is closed when the others have refused."""
    ksr.results["htable.sht_get"] = None
    ksr.results["htable.sht_iterator_next"] = -1
    site = SITE.replace("name: first,", "name: first, max_calls_out: 1,")
    assert [":5080;" in uri for uri in start(ksr, "+1", "+2", site=site)] == [True, False]
    over_udp = ("sip:a@h", "sip:a@h;transport=UDP;x", "sip:a@h;alias=h~5~1", "sip:a@h;alias=[::1]~5~1;ob")
    others = ("sip:a@h;x;transport=TCP", "sips:a@h", "sip:a@h;alias=h~5~2", "sip:a@h;alias=[::1]~5~6;ob")
    assert [BranchSpec(uri).needs_connection for uri in (*over_udp, *others)] == [False] * 4 + [True] * 4
    assert not BranchSpec(others[0], via="sip:edge").needs_connection


def test_of_two_accounts_at_one_gateway_the_first_gets_the_call(ksr: FakeKsr) -> None:
    ksr.results["htable.sht_get"] = None
    twin = '  - {name: twin, to: "sip:127.0.0.2:5080", max_calls_out: 1}\nextensions:'
    [uri] = start(ksr, "+7495", site=SITE.replace("extensions:", twin))
    plan = transaction.plans[uri]
    assert (plan.trunk, plan.next_uri) == ("first", "sip:+7495@127.0.0.3:5080;transport=tcp")
    assert transaction.plans[plan.next_uri].next_uri == ""


def test_no_route_is_404(ksr: FakeKsr) -> None:
    with pytest.raises(NoRoute) as caught:
        start(ksr, "307")
    assert (caught.value.code, "ivr.yaml" in caught.value.advice) == (404, False), "no IVR is missing"
    with refused(404):
        start(ksr, "+7495", site=SITE.partition("trunks:")[0])
    assert not ksr.called("tm.t_relay")


def test_more_targets_than_tm_can_fork_to(ksr: FakeKsr) -> None:
    assert len(start(ksr, "307", contacts=tuple(f"sip:{n}@h" for n in range(40)))) == 30
    with pytest.raises(HeaderError):
        start(ksr, *(str(1000 + n) for n in range(31)))


def enter_branch(ksr: FakeKsr, index: int, uri: str) -> list[tuple[str]]:
    """Run the branch route; returns what it appended."""
    before = len(ksr.called("hdr.append"))
    ksr.results.update({"tm.t_get_branch_index": index, "kx.get_ruri": uri})
    FORKS.on_branch()
    return ksr.called("hdr.append")[before:]


def test_ivr_s_headers_are_its_branch_s_only(ksr: FakeKsr) -> None:
    phone, ivr = start(ksr, "306", "332")
    assert "X-CI" not in str(enter_branch(ksr, 0, phone))
    [(lines,)] = enter_branch(ksr, 1, ivr)
    facts = CallHeader.parse(lines.split("\r\n")[0].removeprefix("X-CI-Call: ")).facts
    assert (facts.call_api_id, facts.caller_number, facts.called_number) == (FACTS.call_api_id, "8", "332")
    assert facts.call_id != FACTS.call_id


def breadths(ksr: FakeKsr) -> list[str]:
    """What the IVRs get that were rung since the last time."""
    uris = [uri for (uri,) in ksr.called("seturi") + ksr.called("corex.append_branch_uri")]
    ksr.calls.clear()
    lines = "".join([transaction.plans[uri].lines for uri in uris])
    return [line.partition(": ")[2] for line in lines.split("\r\n") if line.startswith("X-CI-Breadth")]


def test_rfc_5393_ivrs_share_the_breadth_of_an_invite(ksr: FakeKsr) -> None:
    """IVRs that transfer to each other would double the INVITE at each step, until the machine stands still."""
    start(ksr, "332", "+332", "306")  # an external number, an IVR, a phone
    assert breadths(ksr) == ["most=58"]
    ksr.headers["X-CI-Breadth"] = "most=2"
    breadth.take_over()
    start(ksr, "332", "306")
    assert breadths(ksr) == ["most=1"]
    transaction.breadth = 1
    start(ksr, "332", "306")
    assert breadths(ksr) == []
    start(ksr, "332")
    assert breadths(ksr) == ["most=1"], "one IVR after the other: Max-Forwards bounds that"


def test_rfc_5393_an_ivr_that_would_be_one_too_many_is_440(ksr: FakeKsr) -> None:
    transaction.breadth = 1
    ivrs = IVR.replace("}]\ncontexts", '}, {number: "000*333", id: 9, entry_context: 1}]\ncontexts')
    with refused(440):
        start(ksr, "332", "333", ivrs=ivrs)
    assert not ksr.called("tm.t_relay")
    [(text,)] = ksr.called("warn")
    assert "IVRs that transfer to each other" in text


def test_dead_trunk_comes_not_first(ksr: FakeKsr) -> None:
    ksr.results["dispatcher.ds_is_active_uri"] = lambda _group, uri: 1 if "127.0.0.3" in uri else -1
    assert start(ksr, "+7495") == ["sip:+7495@127.0.0.3:5080;transport=tcp"]
    ksr.results["dispatcher.ds_is_active_uri"] = -1
    ksr.calls.clear()
    assert start(ksr, "+7495") == ["sip:+7495@127.0.0.2:5080"]  # no trunk answers probes: some carriers never do


def test_a_number_that_leads_nowhere_is_a_line_of_the_log(ksr: FakeKsr) -> None:
    with refused(404):
        start(ksr, "000*307", "+15550100", site=SITE.replace(", to:", ', from: ["127.0.0.8/32"]} #'))
    told = [text for (text,) in ksr.called("notice")]
    assert ["is not registered" in text for text in told] == [True, False]
    assert "no trunk in site.yaml has a `to`" in told[1]
