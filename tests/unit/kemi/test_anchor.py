"""Which message of an anchored dialog RTPengine is given, as what, and what becomes of those it refuses."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from callinteractive.config import load_ivr_file, load_site
from callinteractive.headers import AnchorHeader, CallHeader, TransferHeader
from callinteractive.media_sets import set_of
from callinteractive.model import RtpEngine
from callinteractive.numbers import Directory
from kemi.anchor import Anchoring, MediaAnchor
from kemi.challenge import Challenges
from kemi.engines import Engines
from kemi.fork import Forks
from kemi.ksr import Route
from kemi.limits import Limits
from kemi.names import NameFile
from kemi.places import Places
from kemi.record_route import RecordRoute
from kemi.transaction import transaction
from kemi.transfer import Transfer
from kemi.trunks import Trunks
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.refusals import refused
from tests.unit.kemi.test_ingress import IVR, KEY
from tests.unit.kemi.test_transfer import ALONE, CALLER, FACTS, SITE

SDP = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9 RTP/AVP 0\r\n"
NAMED = SDP.replace("192.0.2.1", "host.example")
ENGINE = RtpEngine()
NAME = f"anchored-{set_of(ENGINE):06x}000123456789abcdef"
LATE = NAME + "-late"
ANCHORING = SITE.replace('"000*306", id: 1,', '"000*306", id: 1, anchor_media: yes,').replace(
    "name: second,", "name: second, anchor_media: yes,"
)


@pytest.fixture
def media() -> MediaAnchor:
    return MediaAnchor(Engines([ENGINE]))


@pytest.fixture
def forks(media: MediaAnchor) -> Forks:
    routes = RecordRoute(KEY, KEY, Places(load_site(SITE, "site.yaml")))
    return Forks(media, routes, Challenges({}), Limits(), ALONE, Mock(), Mock())


def message(ksr: FakeKsr, method: str, body: str = SDP, status: int = 0, *, from_caller: bool = True) -> None:
    ksr.message(method)
    ksr.results.update(
        {
            "kx.get_body": body,
            "textops.has_body": 1 if body else -1,
            "kx.get_status": status,
            "rr.is_direction": 1 if from_caller else -1,
        }
    )


def told(ksr: FakeKsr) -> list[tuple[str, ...]]:
    """What RTPengine was told since the last time: command, call, and the tags in their order."""
    commands = [
        (name.removeprefix("rtpengine.").removeprefix("rtpengine_"), *str(arguments[0]).split())
        for name, arguments in ksr.calls
        if name.startswith("rtpengine.") and not name.endswith("_set")
    ]
    ksr.calls.clear()
    return [
        (
            words[0],
            *(
                word.partition("=")[2]
                for word in words[1:]
                if word.partition("=")[0] in ("call-id", "from-tag", "to-tag")
            ),
        )
        for words in commands
    ]


@pytest.mark.parametrize(
    ("method", "name", "from_caller", "expected"),
    [
        ("INVITE", NAME, True, ("offer", NAME, "side-a", "side-b")),
        ("INVITE", NAME, False, ("offer", NAME, "side-b", "side-a")),
        ("UPDATE", LATE, True, ("offer", LATE, "side-a", "side-b")),
        ("PRACK", NAME, True, ("offer", NAME, "side-a", "side-b")),
        ("PRACK", LATE, True, ("answer", LATE, "side-b", "side-a")),
        ("ACK", NAME, True, ("answer", NAME, "side-b", "side-a")),
        ("ACK", LATE, False, ("answer", LATE, "side-a", "side-b")),
        ("BYE", NAME, False, ("delete", NAME, "side-a")),
    ],
)
def test_request(
    media: MediaAnchor, ksr: FakeKsr, method: str, name: str, from_caller: bool, expected: tuple[str, ...]
) -> None:
    message(ksr, method, from_caller=from_caller)
    media.on_request(name)
    assert told(ksr) == [expected]


@pytest.mark.parametrize("method", ["INFO", "REFER", "MESSAGE", "NOTIFY"])
def test_what_has_no_session_description_passes(media: MediaAnchor, ksr: FakeKsr, method: str) -> None:
    message(ksr, method, "Signal=5")
    media.on_request(NAME)
    assert ksr.calls == []


@pytest.mark.parametrize(
    ("asked", "status", "body", "expected"),
    [
        (SDP, 200, SDP, [("answer", NAME, "side-a", "side-b")]),
        (SDP, 183, SDP, [("answer", NAME, "side-a", "side-b")]),
        ("", 200, SDP, [("offer", NAME, "side-b", "side-a")]),
        (SDP, 200, "", []),
    ],
)
def test_reply_in_the_dialog(
    media: MediaAnchor, ksr: FakeKsr, asked: str, status: int, body: str, expected: list[tuple[str, ...]]
) -> None:
    message(ksr, "INVITE", asked)
    media.on_request(NAME)
    assert ksr.called("tm.t_on_reply") == [(Route.IN_DIALOG_REPLIED,)]
    ksr.calls.clear()
    message(ksr, "INVITE", body, status)
    media.on_in_dialog_reply()
    assert not ksr.called("textopsx.remove_body")
    assert told(ksr) == expected


@pytest.mark.parametrize(("method", "ends"), [("INVITE", True), ("UPDATE", True), ("PRACK", False)])
def test_reply_of_a_side_that_has_hung_up(media: MediaAnchor, ksr: FakeKsr, method: str, ends: bool) -> None:
    """481 to a PRACK says only that there is nothing to acknowledge (RFC 3262 3)."""
    message(ksr, method)
    media.on_request(NAME)
    told(ksr)
    message(ksr, method, "", 481)
    media.on_in_dialog_reply()
    assert told(ksr) == ([("delete", NAME, "side-a")] if ends else [])


@pytest.mark.parametrize(("status", "body"), [(488, SDP), (200, NAMED)])
def test_reply_that_must_not_tell(media: MediaAnchor, ksr: FakeKsr, status: int, body: str) -> None:
    message(ksr, "INVITE")
    media.on_request(NAME)
    ksr.calls.clear()
    message(ksr, "INVITE", body, status)
    media.on_in_dialog_reply()
    assert ksr.called("textopsx.remove_body")
    assert told(ksr) == []


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "PRACK"])
def test_request_that_rtpengine_does_not_take(media: MediaAnchor, ksr: FakeKsr, method: str) -> None:
    message(ksr, method, NAMED)
    with refused(488):
        media.on_request(NAME)
    assert told(ksr) == []
    message(ksr, method)
    ksr.results["rtpengine.rtpengine_offer"] = -1
    with refused(503):
        media.on_request(NAME)


@pytest.mark.parametrize("body", [SDP, NAMED])
def test_ack_that_rtpengine_does_not_take_says_nothing(media: MediaAnchor, ksr: FakeKsr, body: str) -> None:
    message(ksr, "ACK", body)
    ksr.results["rtpengine.rtpengine_answer"] = -1
    media.on_request(NAME)
    assert ksr.called("textopsx.remove_body")


@pytest.mark.parametrize("early_media", [True, False])
def test_names_are_ours_and_never_the_same(media: MediaAnchor, ksr: FakeKsr, early_media: bool) -> None:
    message(ksr, "INVITE")
    names = {media.on_branch(early_media=early_media) for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("anchored-") and "some-call-id" not in name for name in names)
    assert len(ksr.called("rtpengine.block_media")) == (0 if early_media else 100)


def test_late_offer(media: MediaAnchor, ksr: FakeKsr) -> None:
    message(ksr, "INVITE", "")
    name = media.on_branch(early_media=False)
    assert told(ksr) == []
    message(ksr, "INVITE", SDP, 200)
    for on_success in (lambda: media.on_success(name, early_media=True), lambda: media.on_stray_success(name)):
        on_success()
        assert told(ksr) == [("offer", name, "side-b", "side-a")]


@pytest.mark.parametrize("refusing", ["rtpengine_offer", "block_media"])
def test_branch_that_cannot_be_anchored(media: MediaAnchor, ksr: FakeKsr, refusing: str) -> None:
    message(ksr, "INVITE")
    ksr.results[f"rtpengine.{refusing}"] = -1
    assert media.on_branch(early_media=False) == ""


def test_deletions_that_failed_are_made_up_for(media: MediaAnchor, ksr: FakeKsr) -> None:
    ksr.results.update({"rtpengine.rtpengine_delete": -1, "rtpengine.rtpengine_offer": -1})
    message(ksr, "INVITE")
    for number in range(20):
        media.release(f"{NAME[:-2]}{number:02}")
    media.on_branch(early_media=True)
    ksr.calls.clear()
    ksr.results["rtpengine.rtpengine_delete"] = 1
    media.release(NAME)
    assert [name for _, name, _ in told(ksr)] == [NAME, *(f"{NAME[:-2]}{number:02}" for number in range(16))]
    media.release(NAME)
    assert len(told(ksr)) == 1 + 5
    media.release(NAME)
    assert told(ksr) == [("delete", NAME, "side-a")]


# --- Which branches


def start(
    forks: Forks,
    ksr: FakeKsr,
    *numbers: str,
    anchoring: Anchoring = Anchoring.TARGETS,
    body: str = SDP,
    early_media: bool = False,
) -> None:
    site = load_site(ANCHORING, "site.yaml")
    message(ksr, "INVITE", body)
    for header in (CallHeader(FACTS), CALLER, TransferHeader(numbers, 5, early_media)):
        ksr.headers[header.NAME] = str(header)
    directory = Directory(site, load_ivr_file(IVR, "ivr.yaml"))
    names = NameFile(site, Path())
    transfer = Transfer(site, directory, lambda _: [], forks, Trunks(site, Limits(), names), names)
    transfer.start(anchoring, for_caller=anchoring is not Anchoring.NEVER)


def branch(forks: Forks, ksr: FakeKsr, index: int, uri: str) -> str:
    """Run a branch's route. Returns the name of its media."""
    ksr.results.update({"tm.t_get_branch_index": index, "kx.get_ruri": uri})
    forks.on_branch()
    return transaction.branches[index].media


PHONE, OTHER = "sip:306@127.0.0.4:5090", "sip:306@127.0.0.5:5090"
FIRST, SECOND = "sip:+7495@127.0.0.2:5080", "sip:+7495@127.0.0.3:5080;transport=tcp"


@pytest.mark.parametrize(
    ("anchoring", "anchored"),
    [
        (Anchoring.NEVER, [False, False, False, False]),
        (Anchoring.TARGETS, [True, False, False, True]),
        (Anchoring.ALL, [True, True, True, True]),
    ],
)
def test_which_branches_are_anchored(forks: Forks, ksr: FakeKsr, anchoring: Anchoring, anchored: list[bool]) -> None:
    start(forks, ksr, "306", "001*306", "+7495", anchoring=anchoring)
    names = [branch(forks, ksr, index, uri) for index, uri in enumerate((PHONE, OTHER, FIRST, SECOND))]
    assert [bool(name) for name in names] == anchored
    assert transaction.is_anchored is any(anchored)
    written = [parameter for (parameter,) in ksr.called("rr.record_route_params")]
    assert [name in parameter for name, parameter in zip(names, written, strict=True)] == [True] * 4


@pytest.mark.parametrize("number", ["306", "001*306"])
@pytest.mark.parametrize("status", [101, 180, 181, 183, 199])
def test_without_early_media_a_description_before_the_answer_becomes_a_plain_180(
    forks: Forks, ksr: FakeKsr, number: str, status: int
) -> None:
    """A12, in a branch that is anchored and in one that is not. The caller hears ringing, RTPengine gets no answer."""
    start(forks, ksr, number, early_media=False)
    branch(forks, ksr, 0, PHONE if number == "306" else OTHER)
    told(ksr)
    message(ksr, "INVITE", SDP, status)
    forks.on_reply()
    assert ksr.called("textopsx.change_reply_status") == [(180, "Ringing")]
    assert ksr.called("textopsx.remove_body")
    assert told(ksr) == []


@pytest.mark.parametrize("anchoring", [Anchoring.TARGETS, Anchoring.ALL])
def test_branch_to_ourselves_tells_that_the_caller_anchors(forks: Forks, ksr: FakeKsr, anchoring: Anchoring) -> None:
    start(forks, ksr, "332", anchoring=anchoring)
    [(uri,)] = ksr.called("seturi")
    assert branch(forks, ksr, 0, uri) == ""
    assert not ksr.called("rr.record_route_params")  # the INVITE that comes back adds it
    assert told_in_headers(ksr) is (anchoring is Anchoring.ALL)
    assert told(ksr) == []


def told_in_headers(ksr: FakeKsr) -> bool:
    [(lines,)] = ksr.called("hdr.append")
    return f"{AnchorHeader.NAME}: {AnchorHeader(True)}\r\n" in lines


@pytest.mark.parametrize(("number", "is_refused"), [("306", True), ("001*306", False)])
def test_description_of_a_stranger(forks: Forks, ksr: FakeKsr, number: str, is_refused: bool) -> None:
    if is_refused:
        with refused(488):
            start(forks, ksr, number, body=NAMED)
    else:
        start(forks, ksr, number, body=NAMED)
    assert bool(ksr.called("tm.t_relay")) is not is_refused


def test_branch_that_cannot_be_anchored_is_not_sent(forks: Forks, ksr: FakeKsr) -> None:
    start(forks, ksr, "306")
    ksr.results["rtpengine.rtpengine_offer"] = -1
    assert branch(forks, ksr, 0, PHONE) == ""
    assert ksr.called("set_drop")
    assert not ksr.called("hdr.append")


def reply(forks: Forks, ksr: FakeKsr, index: int, status: int, body: str = SDP) -> list[tuple[str, ...]]:
    message(ksr, "INVITE", body, status)
    ksr.results["tm.t_get_branch_index"] = index
    ksr.calls.clear()
    forks.on_reply()
    return told(ksr)


def test_replies(forks: Forks, ksr: FakeKsr) -> None:
    start(forks, ksr, "306", "001*306", "+7495", anchoring=Anchoring.ALL)
    first, second, third = (branch(forks, ksr, index, uri) for index, uri in enumerate((PHONE, OTHER, FIRST)))
    assert reply(forks, ksr, 0, 100, "") == []
    assert reply(forks, ksr, 0, 183) == []  # early media is off
    assert reply(forks, ksr, 2, 486, "") == [("delete", third, "side-a")]
    later = [("delete", second, "side-a")]
    answered = [("unblock_media", first), ("answer", first, "side-a", "side-b")]
    assert reply(forks, ksr, 0, 200) == later + answered
    assert reply(forks, ksr, 0, 200) == answered
    assert reply(forks, ksr, 1, 200) == [("unblock_media", second), ("answer", second, "side-a", "side-b")]
    forks.on_all_failed()
    assert told(ksr) == [("delete", first, "side-a"), ("delete", second, "side-a")]


def test_early_media_that_comes_after_the_answer_does_not_undo_it(forks: Forks, ksr: FakeKsr) -> None:
    start(forks, ksr, "306", anchoring=Anchoring.ALL, early_media=True)
    name = branch(forks, ksr, 0, PHONE)
    assert reply(forks, ksr, 0, 183) == [("answer", name, "side-a", "side-b")]
    assert reply(forks, ksr, 0, 200) == [("answer", name, "side-a", "side-b")]
    assert reply(forks, ksr, 0, 183) == []


def test_silent_branch(forks: Forks, ksr: FakeKsr) -> None:
    start(forks, ksr, "306", "+7495", anchoring=Anchoring.ALL)
    branch(forks, ksr, 0, PHONE)
    name = branch(forks, ksr, 1, FIRST)
    ksr.calls.clear()
    ksr.results.update({"tm.t_branch_timeout": 1, "tm.t_branch_replied": -1, "tm.t_get_branch_index": 1})
    forks.on_branch_failure()
    assert ksr.called("seturi") == [(SECOND,)]
    assert ksr.called("tm.t_on_reply") == [(Route.TARGET_REPLIED,)]
    assert told(ksr) == [("delete", name, "side-a")]


def test_without_early_media_a_provisional_reply_becomes_ringing(forks: Forks, ksr: FakeKsr) -> None:
    start(forks, ksr, "306", anchoring=Anchoring.ALL)
    branch(forks, ksr, 0, PHONE)
    for status in (101, 183, 199):
        message(ksr, "INVITE", SDP, status)
        ksr.calls.clear()
        forks.on_reply()
        assert ksr.called("textopsx.remove_body")
        assert ksr.called("textopsx.change_reply_status") == [(180, "Ringing")]
