"""A configuration that has been checked, for the parts that use it."""

from __future__ import annotations

import pytest

from callinteractive import prepared
from callinteractive.config import load_ivr_files, load_site
from callinteractive.errors import ConfigError
from callinteractive.prepared import Sources, pack, unpack

SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\nextensions: [{number: "000*306", id: 134, password: secret}]\n'
IVR = """\
ivrs: [{number: "000*332", id: 145, entry_context: 1}]
contexts: {1: {options: {start: [play_sound: {file: a.wav}, set_var: {name: x, value: y}, hangup]}}}
"""
KEY = bytes(16)
SOURCES = Sources("site.yaml", SITE, "ivr", {"ivr/a.yaml": IVR})
LOADED = (load_site(SITE, "site.yaml"), load_ivr_files({"ivr/a.yaml": IVR}))
PACKED = pack(SOURCES, LOADED, KEY)


def test_it_is_what_was_packed() -> None:
    found = unpack(PACKED, KEY)
    assert found
    assert (found.sources, found.site, found.ivr_file) == (SOURCES, *LOADED)
    assert found.ivr_file.generation == LOADED[1].generation != ""


def test_no_file_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "load_site", None)
    assert unpack(PACKED, KEY)


@pytest.mark.parametrize("at", [0, 31, 64, 70])
def test_no_octet_of_the_texts_may_be_changed(at: int) -> None:
    forged = bytearray(PACKED)
    forged[at] ^= 1
    assert unpack(bytes(forged), KEY) is None


@pytest.mark.parametrize("at", [32, 63, -1])
def test_what_was_read_is_not_believed_where_it_was_changed(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is unpacked. The texts are whole, so they are read."""
    forged = bytearray(PACKED)
    forged[at] ^= 1
    monkeypatch.setattr("pickle.loads", None)
    found = unpack(bytes(forged), KEY)
    assert found
    assert (found.site, found.ivr_file) == LOADED


@pytest.mark.parametrize("packed", [b"", PACKED[:40], PACKED[:70], bytes(100)])
def test_what_is_cut_or_empty_is_nothing(packed: bytes) -> None:
    assert unpack(packed, KEY) is None


def test_with_another_key_it_is_nothing() -> None:
    assert unpack(PACKED, b"another key of16") is None


def test_of_another_release_the_texts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "ACTIONS", ())
    monkeypatch.setattr("pickle.loads", None)
    found = unpack(PACKED, KEY)
    assert found
    assert found.ivr_file.ivrs[0].id == 145


def test_a_release_that_does_not_take_the_texts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources("site.yaml", "node: x", "ivr.yaml", {"ivr.yaml": IVR})
    old = pack(sources, LOADED, KEY)
    monkeypatch.setattr(prepared, "ACTIONS", ())
    with pytest.raises(ConfigError, match="node"):
        unpack(old, KEY)


def test_its_name_tells_what_the_files_say_and_not_where_they_are() -> None:
    elsewhere = Sources("/etc/site.yaml", SITE, "/etc/ivr.yaml", {"/etc/ivr.yaml": IVR})
    assert elsewhere.name == SOURCES.name
    for other in (Sources("", SITE + " ", "", {"": IVR}), Sources("", SITE, "", {"a": IVR, "b": ""})):
        assert other.name != SOURCES.name


def test_a_generation_is_what_callers_hear() -> None:
    def generation(text: str) -> str:
        return load_ivr_files({"x": text}).generation

    assert generation(IVR) == generation(f"# a comment\n{IVR}\n") != generation(IVR.replace("a.wav", "b.wav"))
