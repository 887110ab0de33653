"""What is written down of an INVITE that rings, and the CANCEL that is made of it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from callinteractive.model import Address
from kemi.ksr import From, Route
from kemi.outcome import note_ringing
from kemi.ringing import FILE, FOLDER, OLD_S, Ringing, _name
from kemi.slots import Slots
from tests.unit.kemi.fake_ksr import FakeKsr

SHOWN = From('"Shown"', "sip:1@h")


@pytest.fixture
def ringing(tmp_path: Path, ksr: FakeKsr) -> Ringing:
    ksr.headers["CSeq"] = "1 INVITE"
    made = Ringing(tmp_path)
    made.tidy()
    return made


def files(folder: Path) -> list[Path]:
    """Those of what had no room in the file for all."""
    return list((folder / FOLDER).iterdir())


def rings(folder: Path) -> int:
    """How many INVITEs have a text in the file for all."""
    return len(list(Slots(folder / FILE, OLD_S).names()))


@pytest.fixture(params=[True, False], ids=["shared file", "own files"])
def has_room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file for all has room."""
    if not request.param:
        monkeypatch.setattr("kemi.slots.LONGEST", 0)
    return bool(request.param)


def cancel(ringing: Ringing, ksr: FakeKsr) -> bool:
    ksr.headers["CSeq"] = "1 CANCEL"
    ksr.results["tm.t_relay"] = 1
    return ringing.cancel()


def test_a_cancel_goes_where_the_invite_went(ringing: Ringing, ksr: FakeKsr, tmp_path: Path, has_room: bool) -> None:
    ringing.on_branch(1, "sip:a@h", "", SHOWN)
    ringing.on_branch(3, "sip:b@h;alias=1.2.3.4~5~1", "sip:edge", None)
    assert (rings(tmp_path), len(files(tmp_path))) == ((1, 0) if has_room else (0, 1))
    after_restart = Ringing(tmp_path)
    after_restart.tidy()
    ringing = after_restart
    assert cancel(ringing, ksr)
    assert ksr.called("tm.t_on_branch") == [(Route.TO_CANCELLED,)]
    assert ksr.called("seturi") == [("sip:a@h",)]  # number 0 was a sidecar's
    appended = [uri for (uri,) in ksr.called("corex.append_branch_uri")]
    assert appended == ["sip:a@h", "sip:a@h", "sip:b@h;alias=1.2.3.4~5~1"]
    for index, froms, destinations in ((1, 1, 0), (3, 1, 1)):
        ksr.results["tm.t_get_branch_index"] = index
        ringing.on_cancel_branch()
        assert (len(ksr.called("uac.uac_replace_from")), len(ksr.called("setdsturi"))) == (froms, destinations)
    assert (rings(tmp_path), files(tmp_path)) == (0, [])
    assert not cancel(ringing, ksr)


@pytest.mark.usefixtures("has_room")
def test_a_reply_to_what_rings_is_known(ringing: Ringing, ksr: FakeKsr) -> None:
    ksr.results["pv.get"] = {"$sel(via[1].branch)": "caller", "$ft": "1"}.get
    ringing.on_branch(0, "sip:a@h", "", None)
    ksr.results["pv.get"] = {"$sel(via[1].branch)": "ours", "$sel(via[2].branch)": "caller", "$ft": "1"}.get
    assert ringing.is_answer_to_ringing()
    ksr.results["pv.get"] = {"$sel(via[1].branch)": "caller", "$sel(via[2].branch)": "another", "$ft": "1"}.get
    assert not ringing.is_answer_to_ringing()


@pytest.mark.usefixtures("has_room")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_phone_whose_connection_has_gone_is_answered_for(ringing: Ringing, ksr: FakeKsr, host: str) -> None:
    alive = {7: True, 8: True}
    ksr.results["tcpops.tcp_conid_alive"] = lambda connection: 1 if alive[connection] else -1
    for index, connection, protocol in ((0, 7, 2), (1, 8, 5), (2, 9, 1)):  # TCP, WebSocket, UDP
        ksr.results |= {"pv.get": {"$sel(via[1].branch)": "caller", "$ft": "1"}.get, "kx.get_protoid": 1}
        ringing.on_branch(index, f"sip:{index}@h", "", None)
        ksr.results |= {"pv.get": {"$conid": connection, "$sel(via[1].branch)": f"ours.{index}"}.get}
        ksr.results["kx.get_protoid"] = protocol
        for _ in range(2):  # it says so again
            ringing.on_provisional(index)
            note_ringing(index, rings=True)
    ksr.results["pv.get"] = {"$sel(via[1].branch)": "caller", "$ft": "1"}.get
    ksr.headers["CSeq"] = "1 CANCEL"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as edge:
        edge.bind((host, 0))
        edge.settimeout(5)
        address = Address(host, edge.getsockname()[1])
        ringing.answer_for_lost(address)
        alive[8] = False
        ringing.answer_for_lost(address)
        told, source = edge.recvfrom(9999)
        assert source[0] == host
        lines = told.decode().split("\r\n")
        assert lines[0].startswith("SIP/2.0 480 ")
        assert {f"Via: SIP/2.0/UDP {address};branch=ours.1", "Call-ID: some-call-id", "CSeq: 1 INVITE"} < {*lines}
        edge.setblocking(False)
        with pytest.raises(BlockingIOError):
            edge.recv(9999)
    assert cancel(ringing, ksr)  # Kamailio was started anew: it goes to all
    assert len(ksr.called("corex.append_branch_uri")) == 2


@pytest.mark.usefixtures("has_room")
def test_who_says_100_without_end_is_written_down_once(ringing: Ringing, ksr: FakeKsr) -> None:
    ksr.results |= {"pv.get": {"$sel(via[1].branch)": "caller", "$ft": "1"}.get, "kx.get_protoid": 2}
    ringing.on_branch(0, "sip:a@h", "", None)
    ksr.results |= {"pv.get": {"$conid": 7, "$sel(via[1].branch)": "caller", "$ft": "1"}.get}
    for _ in range(3):
        ringing.on_provisional(0)
    assert ringing._lines(_name(), 3) == [[0, 7, "caller"]]


@pytest.mark.usefixtures("has_room")
def test_what_has_ended_is_forgotten(ringing: Ringing, ksr: FakeKsr, tmp_path: Path) -> None:
    ringing.on_branch(0, "sip:a@h", "", None)
    ringing.on_end()
    ringing.on_end()
    assert (rings(tmp_path), files(tmp_path)) == (0, [])
    assert not cancel(ringing, ksr)


def test_an_invite_with_many_branches_is_in_both(ringing: Ringing, ksr: FakeKsr, tmp_path: Path) -> None:
    uris = [f"sip:{'a' * 100}{number}@h" for number in range(29)]
    open_before = os.listdir("/proc/self/fd")
    for index, uri in enumerate(uris):
        ringing.on_branch(index, uri, "", None)
    assert os.listdir("/proc/self/fd") == open_before
    assert (rings(tmp_path), len(files(tmp_path))) == (1, 1)
    assert cancel(ringing, ksr)
    assert [*ksr.called("seturi"), *ksr.called("corex.append_branch_uri")] == [(uri,) for uri in uris]
    assert (rings(tmp_path), files(tmp_path)) == (0, [])


def test_many_branches_are_forgotten_too(ringing: Ringing, tmp_path: Path) -> None:
    for index in range(29):
        ringing.on_branch(index, f"sip:{'a' * 100}{index}@h", "", None)
    ringing.on_end()
    assert (rings(tmp_path), files(tmp_path)) == (0, [])


def test_without_a_disk_calls_go_on(ksr: FakeKsr, tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("")
    (tmp_path / FILE).mkdir()
    ringing = Ringing(tmp_path)
    ringing.tidy()
    ringing.on_branch(0, "sip:a@h", "", None)
    ringing.on_end()
    assert not cancel(ringing, ksr)


@pytest.mark.parametrize("content", [b"", b"rubbish\n", b"\xff", b"[1,", b"1\n", b'[0,"sip:a@h","",5]\n'])
def test_a_file_cut_short_or_of_another_release_is_none(
    ringing: Ringing, ksr: FakeKsr, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kemi.slots.LONGEST", 0)
    ringing.on_branch(0, "sip:a@h", "", None)
    files(tmp_path)[0].write_bytes(content)
    ksr.results |= {"pv.get": {"$conid": 7, "$sel(via[1].branch)": "ours"}.get, "kx.get_protoid": 2}
    ringing.on_provisional(0)
    del ksr.results["pv.get"]
    assert not cancel(ringing, ksr)


def test_old_ones_are_removed_at_the_start(ringing: Ringing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kemi.slots.LONGEST", 0)
    ringing.on_branch(0, "sip:a@h", "", None)
    ringing.tidy()
    [file] = files(tmp_path)
    then = file.stat().st_mtime - OLD_S - 9
    os.utime(file, (then, then))
    ringing.tidy()
    assert files(tmp_path) == []
