"""`callinteractive new`: the folder is complete, without findings, and keeps its passwords to itself."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from callinteractive.config import load_site
from cli.main import main
from cli.new import KINDS

ADDRESS = "127.0.0.1"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


@pytest.mark.parametrize("template", KINDS)
def test_check_has_nothing_to_say_about_it(template: str) -> None:
    result = invoke("new", "pizza", "--template", template)
    assert (result.exit_code, result.stderr) == (0, "")
    checked = invoke("check", "pizza/site.yaml", "pizza/ivr.yaml")
    assert (checked.exit_code, checked.stderr) == (0, ""), checked.output
    assert [name for name in KINDS[template].files if not Path("pizza", name).is_file()] == []


@pytest.mark.parametrize("template", KINDS)
def test_what_it_prints_is_what_is_in_it(template: str) -> None:
    printed = invoke("new", "my pizza", "--template", template).stdout
    site = yaml.safe_load(Path("my pizza/site.yaml").read_text())
    first, second = (extension["password"] for extension in site["extensions"])
    readme = Path("my pizza/README.md").read_text()
    assert re.search(rf"password +{first}$", printed, re.MULTILINE)
    assert first in readme
    assert second in readme
    assert first != second
    assert "cd 'my pizza'" in printed
    command = KINDS[template].command
    assert (f"callinteractive run --app '{command}'" if command else "callinteractive run\n") in printed
    assert Path("my pizza/softphone/accounts").read_text() == f"<sip:101@{ADDRESS}>;auth_pass={first}\n"
    entries = [f"`{path.name}{'/' * path.is_dir()}`" for path in Path("my pizza").iterdir() if path.name != "README.md"]
    unexplained = [entry for entry in entries if entry not in readme and entry != "`requirements.txt`"]
    assert unexplained == []
    left = [
        path.name
        for path in Path("my pizza").iterdir()
        if path.is_file() and re.search("@[A-Z_0-9]+@", path.read_text())
    ]
    assert left == [], "something was not filled in"


def test_two_folders_have_other_passwords() -> None:
    for name in ("one", "two"):
        invoke("new", name, "--template", "none")
    assert Path("one/site.yaml").read_text() != Path("two/site.yaml").read_text()


def test_passwords_are_not_for_others() -> None:
    invoke("new", "pizza")
    holding = [path for path in Path("pizza").rglob("*") if path.is_file() and path.suffix != ".wav"]
    password = yaml.safe_load(Path("pizza/site.yaml").read_text())["extensions"][0]["password"]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in holding if password in path.read_text()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(("address", "shown"), [("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "[2001:db8::7]")])
def test_for_phones_on_other_devices(address: str, shown: str) -> None:
    result = invoke("new", "pizza", "--address", address)
    assert result.exit_code == 0
    assert f"this machine has no address {address}" in result.stderr
    assert f"registrar  {shown}, port 5060" in result.stdout
    site = load_site(Path("pizza/site.yaml").read_text(), "site.yaml")
    assert [listen.host for listen in site.listen] == [address, address]
    assert site.rtpengines[0].interfaces[0].address == address
    assert "another device" not in Path("pizza/README.md").read_text()


@pytest.mark.parametrize("address", ["localhost", "0.0.0.0.0", "", "x y"])
def test_an_address_must_be_one(address: str) -> None:
    result = invoke("new", "pizza", "--address", address)
    assert result.exit_code == 1
    assert f"--address {address}: must be an IP address" in result.stderr
    assert not Path("pizza").exists()


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_an_address_is_no_all_of_them(address: str) -> None:
    result = invoke("new", "pizza", "--address", address)
    assert result.exit_code == 1
    assert f"{address} means every address" in result.stderr
    assert not Path("pizza").exists()


def test_nothing_is_overwritten() -> None:
    Path("pizza").mkdir()
    Path("pizza/mine").write_text("x")
    Path("file").write_text("x")
    for name in ("pizza", "file"):
        result = invoke("new", name)
        assert result.exit_code == 1
        assert "is there already" in result.stderr
    assert [path.name for path in Path("pizza").iterdir()] == ["mine"]


def test_an_empty_folder_will_do() -> None:
    Path("pizza").mkdir()
    assert invoke("new", "pizza").exit_code == 0


def test_a_folder_that_cannot_be_made() -> None:
    Path("file").write_text("x")
    result = invoke("new", "file/pizza")
    assert (result.exit_code, result.stderr) == (1, "file/pizza: Not a directory\n")


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    result = invoke("new", "pizza")
    assert (result.exit_code, result.stderr) == (1, "pizza: No space left on device\n")
    assert not Path("pizza").exists(), "the next try would find it there already"
