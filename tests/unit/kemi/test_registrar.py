"""Who may register, and who must prove to be an extension before calling (A14)."""

from __future__ import annotations

import pytest

from callinteractive.config import load_ivr_file, load_site
from callinteractive.numbers import Directory
from kemi.refusal import Answered
from kemi.registrar import REALM, Registrar
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.refusals import refused
from tests.unit.kemi.test_ingress import IVR
from tests.unit.kemi.test_transfer import SITE

DIRECTORY = Directory(load_site(SITE, "site.yaml"), load_ivr_file(IVR, "ivr.yaml"))


@pytest.mark.parametrize("user", ["000*306", "999", ""])
def test_no_password_no_registration(ksr: FakeKsr, user: str) -> None:
    ksr.results.update({"kx.get_tuser": user, "kx.get_fuser": user})
    with refused(403):
        Registrar(DIRECTORY).register()
    with refused(403):
        Registrar(DIRECTORY).find_caller()
    assert not ksr.called("auth.auth_challenge")


@pytest.mark.parametrize("user", ["000*307", "000%2A307", "307"])
def test_registration(ksr: FakeKsr, user: str) -> None:
    ksr.results.update({"kx.get_tuser": user, "auth.pv_auth_check": -1})
    with pytest.raises(Answered):
        Registrar(DIRECTORY).register()
    assert ksr.called("auth.auth_challenge") == [(REALM, 1)]
    assert not ksr.called("registrar.save_uri")
    ksr.results["auth.pv_auth_check"] = 1
    Registrar(DIRECTORY).register()
    assert ksr.called("auth.pv_auth_check")[-1] == (REALM, "secret", 0, 1)
    assert ksr.called("registrar.save_uri") == [("location", 0, "sip:000*307@callinteractive")]


def test_caller(ksr: FakeKsr) -> None:
    ksr.results.update({"kx.get_fuser": "307", "auth.pv_auth_check": -1})
    with pytest.raises(Answered):
        Registrar(DIRECTORY).find_caller()
    assert ksr.called("auth.auth_challenge")
    ksr.results["auth.pv_auth_check"] = 1
    assert Registrar(DIRECTORY).find_caller().number == "000*307"
    assert ksr.called("auth.consume_credentials")


def test_contacts(ksr: FakeKsr) -> None:
    registered, configured = (DIRECTORY.find_extension(number) for number in ("000*307", "000*306"))
    assert registered is not None
    assert configured is not None
    values = {"$(ulc(ci=>count))": 2, "$(ulc(ci=>addr)[0])": "sip:a@h", "$(ulc(ci=>addr)[1])": "sip:b@h"}
    ksr.results["pv.get"] = values.__getitem__
    assert Registrar(DIRECTORY).contacts_of(registered) == ["sip:a@h", "sip:b@h"]
    assert ksr.called("registrar.reg_free_contacts")
    assert Registrar(DIRECTORY).contacts_of(configured) == []
    ksr.results["registrar.reg_fetch_contacts"] = -1
    assert Registrar(DIRECTORY).contacts_of(registered) == []
