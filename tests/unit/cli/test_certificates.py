"""What is wrong with a certificate is said before Kamailio starts, with what to do."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import cast
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from callinteractive.config import load_site
from callinteractive.fleet import Tls
from cli import certificates, tls, versions
from cli.certificates import Files
from cli.kamailio import kamailio_spec, tls_files
from cli.main import main
from tests.support.certificates import Authority, Pair

SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060", "tls:127.0.0.1:5061"]}
tls: {certificate: edge.pem, private_key: edge.key, ca: ca.pem}
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("edge", "DNS:sip.example", "DNS:*.phones.example")


def files(pair: Pair, authority: Authority, **changes: Path) -> Files:
    return Files(
        **{
            "certificate": pair.certificate,
            "private_key": pair.private_key,
            "ca": authority.pair.certificate,
            **changes,
        }
    )


def test_good_ones(pair: Pair, authority: Authority) -> None:
    assert certificates.problems(files(pair, authority)) == []
    hosts = ("sip.example", "SIP.example", "a.phones.example", "192.0.2.1")
    assert list(certificates.warnings(files(pair, authority), hosts)) == []


def test_paths_are_relative_to_site_yaml(tmp_path: Path) -> None:
    found = Files.of(Tls("a.pem", "/etc/b.key"), tmp_path)
    assert found == Files(tmp_path / "a.pem", Path("/etc/b.key"), certificates.SYSTEM_CA)


def test_missing(pair: Pair, authority: Authority, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    assert certificates.problems(files(pair, authority, certificate=gone, ca=gone)) == [
        f"tls.certificate: there is no file {gone}",
        f"tls.ca: there is no file {gone}",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(pair: Pair, authority: Authority, tmp_path: Path) -> None:
    secret = tmp_path / "secret.key"
    secret.write_text("")
    secret.chmod(0)
    [line] = certificates.problems(files(pair, authority, private_key=secret))
    assert "can't be read by the user" in line


def test_the_words_for_what_may_not_be_read(pair: Pair, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    lines = certificates.problems(files(pair, authority))
    assert len(lines) == 3
    assert all("can't be read by the user" in line for line in lines)


def test_another_key(pair: Pair, authority: Authority) -> None:
    other = authority.issue("other", "DNS:other.example")
    [line] = certificates.problems(files(pair, authority, private_key=other.private_key))
    assert "does not belong to the certificate" in line


def test_no_pem(pair: Pair, authority: Authority, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("hello")
    assert "holds no certificate" in certificates.problems(files(pair, authority, certificate=text))[0]
    assert "holds no usable private key" in certificates.problems(files(pair, authority, private_key=text))[0]
    assert certificates.problems(files(pair, authority, ca=text)) == [
        f"tls.ca: {text} holds no certificate in PEM form"
    ]
    assert certificates.problems(files(pair, authority, certificate=tmp_path))  # a folder


def test_a_key_with_a_password(pair: Pair, authority: Authority, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.key"
    command = ("openssl", "ec", "-in", str(pair.private_key), "-out", str(encrypted), "-aes128", "-passout", "pass:x")
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    [line] = certificates.problems(files(pair, authority, private_key=encrypted))
    assert "has a password" in line


def test_dates(authority: Authority) -> None:
    expired = files(authority.issue("expired", "DNS:sip.example", days=0), authority)
    assert "expired on 20" in certificates.problems(expired)[0]
    soon = files(authority.issue("soon", "DNS:sip.example", days=13), authority)
    assert certificates.problems(soon) == []
    assert "renew it in time" in next(certificates.warnings(soon, ()))


@pytest.mark.parametrize(
    ("names", "host", "warned"),
    [
        (("DNS:sip.example",), "other.example", "is for sip.example, not for other.example"),
        (("DNS:*.example",), "a.b.example", "not for a.b.example"),
        (("DNS:sip.example",), "192.0.2.1", ""),
        (("IP:192.0.2.1", "IP:2001:db8::1"), "2001:db8:0::1", ""),
        (("IP:192.0.2.1",), "192.0.2.2", "not for 192.0.2.2"),
        ((), "192.0.2.2", "names no host"),
    ],
)
def test_names(authority: Authority, names: tuple[str, ...], host: str, warned: str) -> None:
    told = list(certificates.warnings(files(authority.issue("named", *names), authority), (host,)))
    assert (len(told), warned in "".join(told)) == (bool(warned), True)


@pytest.mark.parametrize(("version", "children"), [((5, 6, 3), "1"), ((6, 0, 1), "4"), ((), "1")])
def test_what_kamailio_is_told(
    version: tuple[int, ...], children: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "kamailio_version", lambda: version)
    site, path = load_site(SITE + "kamailio: {workers: 4}", "site.yaml"), tmp_path / "site.yaml"
    spec = kamailio_spec(site, path, path, tmp_path)
    assert f"-n 4 -N {children} " in " ".join(spec.argv)
    assert "-l tls:127.0.0.1:5061" in " ".join(spec.argv)
    assert spec.env["CALLINTERACTIVE_TLS"] == "1"
    written = (tmp_path / tls.CONFIG).read_text()
    assert f'certificate = "{tmp_path}/edge.pem"' in written
    assert f'ca_list = "{tmp_path}/ca.pem"' in written


def test_without_an_address_of_tls_nothing_is_written(tmp_path: Path) -> None:
    site, path = load_site(SITE.replace(', "tls:127.0.0.1:5061"', ""), "site.yaml"), tmp_path / "site.yaml"
    assert tls_files(site.edges[0], path) is None
    assert "CALLINTERACTIVE_TLS" not in kamailio_spec(site, path, path, tmp_path).env
    assert not (tmp_path / tls.CONFIG).exists()


def test_check_tells(authority: Authority, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site.yaml").write_text(SITE)
    result = CliRunner().invoke(main, ["check", "site.yaml"])
    assert result.exit_code == 1
    assert f"site.yaml:0: tls.certificate: there is no file {tmp_path}/edge.pem" in result.output
    for name, source in (
        ("edge.pem", pair.certificate),
        ("edge.key", pair.private_key),
        ("ca.pem", authority.pair.certificate),
    ):
        Path(name).write_bytes(source.read_bytes())
    assert CliRunner().invoke(main, ["check", "site.yaml"]).exit_code == 0


def test_reload_tells_why_not(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SITE)
    command = ["reload", "--site", str(tmp_path / "site.yaml"), "--run-dir", str(tmp_path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "the old certificate stays in use: tls.certificate: there is no file" in result.output
    (tmp_path / "site.yaml").write_text(SITE.replace(', "tls:127.0.0.1:5061"', ""))
    assert CliRunner().invoke(main, command).exit_code == os.EX_CONFIG


def test_reload_of_a_kamailio_that_is_not_there(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    assert "Kamailio refused it" in tls.reload(files(pair, authority), tmp_path, asks=False)[0]


def test_a_full_disk_stops_nothing(
    pair: Pair, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor that has noticed new files goes on, and Kamailio's file stays whole."""
    mine = files(pair, authority)
    tls.write_config(mine, tmp_path, asks=False)
    before = (tmp_path / tls.CONFIG).read_text()

    def full(path: Path, *_arguments: object, **_options: object) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    (reason,) = tls.reload(mine, tmp_path, asks=True)
    assert "No space left" in reason
    assert (tmp_path / tls.CONFIG).read_text() == before


async def test_a_machine_without_processes_or_threads_stops_nothing(
    pair: Pair, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor of all parts waits for new certificates in the same place: it tells, and tries again."""
    mine = files(pair, authority)
    told: list[str] = []
    monkeypatch.setattr(subprocess, "run", Mock(side_effect=BlockingIOError(11, "Resource temporarily unavailable")))
    monkeypatch.setattr(asyncio, "to_thread", Mock(side_effect=RuntimeError("can't start new thread")))
    watching = asyncio.create_task(tls.keep_current(mine, tmp_path, told.append, asks=False, every_s=0.01))
    try:
        await asyncio.sleep(0)
        os.utime(mine.certificate)
        async with asyncio.timeout(5):
            while cast("Mock", asyncio.to_thread).call_count < 3 and not watching.done():
                await asyncio.sleep(0.01)
    finally:
        watching.cancel()
    assert told == ["new certificate refused, the old one stays in use: can't start new thread"]
    assert "kamcmd can't be started" in tls.reload(mine, tmp_path, asks=False)[0]


async def test_what_kamailio_refused_is_tried_again(
    pair: Pair, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL 3 in Kamailio may refuse a good key. The old certificate would be in use until it expires."""
    mine = files(pair, authority)
    told: list[str] = []
    results = iter([["Kamailio refused it: error: 500"], ["Kamailio refused it: error: 500"], []])
    monkeypatch.setattr(tls, "reload", lambda *_arguments, **_options: next(results))
    watching = asyncio.create_task(tls.keep_current(mine, tmp_path, told.append, asks=False, every_s=0.01))
    try:
        await asyncio.sleep(0)
        os.utime(mine.certificate)
        async with asyncio.timeout(5):
            while len(told) < 2 and not watching.done():
                await asyncio.sleep(0.01)
    finally:
        watching.cancel()
    assert told == [
        "new certificate refused, the old one stays in use: Kamailio refused it: error: 500",
        f"new connections get the new certificate of {mine.certificate}",
    ]
