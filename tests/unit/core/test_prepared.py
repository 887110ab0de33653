"""What `run` has read, for the parts that it starts."""

from __future__ import annotations

import pytest

from callinteractive.config import load_ivr_files, load_site
from callinteractive.errors import ConfigError
from callinteractive.prepared import load, pack, unpack

SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\nextensions: [{number: "000*306", id: 134, password: secret}]\n'
IVR = """\
ivrs: [{number: "000*332", id: 145, entry_context: 1}]
contexts: {1: {options: {start: [play_sound: {file: a.wav}, set_var: {name: x, value: y}, hangup]}}}
"""
KEY = bytes(16)
TEXTS = (SITE, IVR)
LOADED = (load_site(SITE, "site.yaml"), load_ivr_files({"ivr.yaml": IVR}))
PACKED = pack(LOADED, KEY, TEXTS)


def test_it_is_what_was_packed() -> None:
    assert unpack(PACKED, KEY, TEXTS) == LOADED


@pytest.mark.parametrize("at", [0, 31, 32, -1])
def test_no_octet_may_be_changed(at: int) -> None:
    forged = bytearray(PACKED)
    forged[at] ^= 1
    assert unpack(bytes(forged), KEY, TEXTS) is None


@pytest.mark.parametrize(
    ("packed", "key", "texts"),
    [
        (b"", KEY, TEXTS),
        (PACKED[:40], KEY, TEXTS),
        (PACKED, b"another key of16", TEXTS),
        (PACKED, KEY, (SITE + " ", IVR)),
        (PACKED, KEY, (SITE, IVR, "")),
        (PACKED, KEY, (SITE + IVR[:1], IVR[1:])),
    ],
)
def test_that_of_others_is_not_unpacked(packed: bytes, key: bytes, texts: tuple[str, ...]) -> None:
    assert unpack(packed, key, texts) is None


def test_of_another_release_it_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callinteractive.prepared.ACTIONS", ())
    assert unpack(PACKED, KEY, TEXTS) is None


def test_the_files_count_where_it_does_not() -> None:
    newer = IVR.replace("145", "146")
    several: tuple[tuple[bytes | None, bytes], ...] = ((None, b""), (KEY, b""), (KEY, PACKED))
    for key, prepared in several:
        site, ivr_file = load((SITE, "site.yaml"), {"ivr.yaml": newer}, key, prepared)
        assert (site, ivr_file.ivrs[0].id) == (LOADED[0], 146)
    with pytest.raises(ConfigError, match=r"ivr\.yaml:1"):
        load((SITE, "site.yaml"), {"ivr.yaml": "ivrs: []"}, KEY, PACKED)


def test_no_file_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callinteractive.prepared.load_site", None)
    monkeypatch.setattr("callinteractive.prepared.load_ivr_files", None)
    assert load((SITE, "site.yaml"), {"ivr.yaml": IVR}, KEY, PACKED) == LOADED
