"""ivr.yaml from a web server: fetched within bounds, checked, and kept as the last good one."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from cli import source
from cli.files import read_ivr_file
from cli.main import main
from cli.provisioning import provide
from cli.source import Mark, SourceError, fetch

IVR = """\
ivrs: [{number: "000*332", id: 145, entry_context: 1}]
contexts: {1: {options: {start: [hangup]}}}
"""
NEWER = IVR.replace("145", "146")
WRONG = IVR.replace("hangup", "hang_up")
SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n'


@dataclass
class WebServer:
    """Answers with `text`, and with 304 to whom has its ETag. `speak` takes the connection instead."""

    text: str = IVR
    status: int = 200
    etag: str = '"1"'
    headers: dict[str, str] = field(default_factory=dict)
    speak: Callable[[Any], None] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(dict(handler.headers.items()))
        if self.speak is not None:
            with suppress(OSError):
                self.speak(handler.wfile)
            return
        is_known = self.status == 200 and handler.headers.get("If-None-Match") == self.etag
        body = b"" if is_known else self.text.encode()
        handler.send_response(304 if is_known else self.status)
        for name, value in {"ETag": self.etag, "Content-Length": str(len(body)), **self.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}/ivr.yaml"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ivr.yaml"


@pytest.fixture
def told() -> list[str]:
    return []


def id_in(file: Path) -> int:
    ivr_file, findings = read_ivr_file(file)
    assert ivr_file, findings
    return ivr_file.ivrs[0].id


# --- The last good one


def test_it_is_fetched_checked_and_kept(web: WebServer, file: Path, told: list[str]) -> None:
    assert provide(web.url, file, told.append) == []
    assert id_in(file) == 145
    assert "in order" in told[-1]
    assert file.stat().st_mode & 0o077 == 0


def test_who_could_read_the_file_before_can_read_the_new_one(web: WebServer, file: Path, told: list[str]) -> None:
    file.parent.mkdir()
    file.write_text("that of the package")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12345, 12346)
    before = file.stat()
    assert provide(web.url, file, told.append) == []
    assert id_in(file) == 145
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_an_unchanged_one_is_not_sent_again(web: WebServer, file: Path, told: list[str]) -> None:
    web.headers = {"Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT"}
    provide(web.url, file, told.append)
    assert provide(web.url, file, told.append) == []
    assert "has not changed" in told[-1]
    assert (web.asked[1]["If-None-Match"], web.asked[1]["If-Modified-Since"]) == ('"1"', web.headers["Last-Modified"])
    web.text, web.etag = NEWER, '"2"'
    assert provide(web.url, file, told.append) == []
    assert id_in(file) == 146


@pytest.mark.parametrize("damage", ["down", "wrong", "no UTF-8", "empty"])
def test_the_last_good_one_goes_on(web: WebServer, file: Path, told: list[str], damage: str) -> None:
    provide(web.url, file, told.append)
    before = file.read_bytes()
    if damage == "down":
        web.status = 503
    elif damage == "no UTF-8":
        web.speak = lambda out: out.write(b"HTTP/1.0 200 OK\r\n\r\nivrs: \xff")
    else:
        web.text, web.etag = WRONG if damage == "wrong" else "", '"2"'
    assert provide(web.url, file, told.append) == []
    assert file.read_bytes() == before
    assert "the last good one is used" in told[-1]
    assert any(line.startswith(web.url + ":") for line in told)
    if damage == "wrong":
        assert any(f"{web.url}:2: contexts.1.options.start[0]" in line for line in told)


@pytest.mark.parametrize("status", [404, 500])
def test_without_a_good_one_it_says_why(web: WebServer, file: Path, told: list[str], status: int) -> None:
    web.status = status
    [finding] = provide(web.url, file, told.append)
    assert f"the server answers {status}" in str(finding)
    web.status, web.text = 200, WRONG
    assert "hang_up" in str(provide(web.url, file, told.append))
    assert not file.exists()


def test_that_of_another_source_is_not_used(web: WebServer, file: Path, told: list[str]) -> None:
    provide(web.url, file, told.append)
    web.status = 503
    assert provide(web.url + "?other", file, told.append)
    assert "If-None-Match" not in web.asked[-1]


def test_one_that_was_changed_by_hand_is_fetched_again(web: WebServer, file: Path, told: list[str]) -> None:
    provide(web.url, file, told.append)
    file.write_bytes(file.read_bytes().replace(b"145", b"999"))
    assert provide(web.url, file, told.append) == []
    assert id_in(file) == 145


@pytest.mark.parametrize("cut", [0, 1, 50])
def test_half_a_file_is_no_good_one(web: WebServer, file: Path, told: list[str], cut: int) -> None:
    provide(web.url, file, told.append)
    file.write_bytes(file.read_bytes()[:cut])
    web.status = 503
    assert provide(web.url, file, told.append)


def test_a_disk_that_takes_nothing(web: WebServer, file: Path, told: list[str]) -> None:
    file.parent.write_text("no folder")
    [finding] = provide(web.url, file, told.append)
    assert "can't be kept" in str(finding)


# --- The bounds


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": 302, "headers": {"Location": "https://elsewhere.example/"}}, "'https://elsewhere.example/' now"),
        ({"status": 401}, "set CALLINTERACTIVE_IVR_TOKEN"),
        ({"status": 304}, "answers 304"),
        ({"status": 206}, "answers 206"),
        ({"headers": {"Content-Encoding": "gzip"}}, "compressed"),
        ({"text": "x" * 2000}, "longer than 1,000 octets"),
        ({"speak": lambda out: out.write(b"SSH-2.0-x\r\n\r\n")}, "RemoteProtocolError"),
        ({"speak": lambda out: out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")}, "RemoteProtocolError"),
        ({"speak": lambda _out: None}, "RemoteProtocolError"),
    ],
)
def test_what_a_server_may_not_do(web: WebServer, change: dict[str, Any], reason: str) -> None:
    for name, value in change.items():
        setattr(web, name, value)
    with pytest.raises(SourceError, match=reason):
        fetch(web.url, environment={}, most_bytes=1000)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_drip_has_an_end(web: WebServer, start: bytes) -> None:
    stop = threading.Event()

    def drip(out: Any) -> None:
        out.write(start)
        while not stop.wait(0.02):
            out.write(b"a")

    web.speak = drip
    try:
        with pytest.raises(SourceError, match=r"no whole answer within 0.3 s"):
            fetch(web.url, environment={}, timeout_s=0.3)
    finally:
        stop.set()


def test_nobody_there(web: WebServer) -> None:
    with pytest.raises(SourceError, match=r"no connection .*: is the address right, and does its server run"):
        fetch("http://127.0.0.1:9/ivr.yaml", environment={})


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate",
            "SSL_CERT_FILE can name",
        ),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch", ""),
    ],
)
def test_a_certificate_that_is_not_believed(monkeypatch: pytest.MonkeyPatch, said: str, advice: str) -> None:
    async def fail(*_: object) -> None:
        raise httpx.ConnectError(said)

    monkeypatch.setattr(source, "_exchange", fail)
    with pytest.raises(SourceError, match=r"no connection") as caught:
        fetch("https://127.0.0.1:9/ivr.yaml", environment={})
    assert str(caught.value).partition("): ")[2].startswith(advice)
    assert bool(advice) == ("SSL_CERT_FILE" in str(caught.value))


# --- What the server asks for


def basic(credentials: bytes) -> str:
    return "Basic " + base64.b64encode(credentials).decode()


@pytest.mark.parametrize(
    ("environment", "sent"),
    [
        ({}, None),
        ({source.TOKEN: "abc"}, "Bearer abc"),
        ({source.USER: "ivr", source.PASSWORD: "a:b"}, basic(b"ivr:a:b")),
        ({source.TOKEN + "_FILE": "secret"}, "Bearer from-a-file"),
        ({source.USER: "ivr", source.PASSWORD + "_FILE": "secret"}, basic(b"ivr:from-a-file")),
    ],
)
def test_who_asks(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sent: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_text("from-a-file\n")
    assert fetch(web.url, environment=environment) == source.Fetched(IVR.encode(), Mark('"1"'))
    assert web.asked[0].get("Authorization") == sent


@pytest.mark.parametrize(
    ("url", "environment", "reason"),
    [
        ("http://config.example.com/ivr.yaml", {source.TOKEN: "abc"}, "https:// only"),
        ("http://user:secret@127.0.0.1/", {}, "seen by all users"),
        ("http://127.0.0.1/$name", {}, "variables"),
        ("http://", {}, "host"),
        ("http://127.0.0.1/", {source.TOKEN: "abc", source.USER: "ivr"}, "not both"),
        ("http://127.0.0.1/", {source.USER: "a:b"}, "colon"),
        ("http://127.0.0.1/", {source.TOKEN: "a\r\nb"}, "one line"),
        ("http://127.0.0.1/", {source.TOKEN + "_FILE": "/nowhere"}, "TOKEN_FILE: /nowhere"),
    ],
)
def test_what_an_operator_may_not_do(url: str, environment: dict[str, str], reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        fetch(url, environment=environment)


# --- The commands


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def test_check_tells_what_is_there_now(web: WebServer) -> None:
    assert f"{web.url}: 1 IVR, 1 context" in run("check", web.url).stdout
    web.text = WRONG
    result = run("check", web.url)
    assert (result.exit_code, f"{web.url}:2:" in result.output) == (1, True)
    web.status = 404
    result = run("check", web.url)
    assert (result.exit_code, "answers 404" in result.output) == (1, True)


def test_simulate_calls_it(web: WebServer) -> None:
    result = run("simulate", "--ivr", web.url, "--digits", "1")
    assert result.exit_code == 0, result.output


def test_fetch_brings_it_for_services(web: WebServer, file: Path) -> None:
    assert run("fetch", web.url, str(file)).exit_code == 0
    web.status = 500
    result = run("fetch", web.url, str(file))
    assert (result.exit_code, "last good one" in result.output) == (0, True)
    file.unlink()
    assert run("fetch", web.url, str(file)).exit_code == 1


@pytest.mark.parametrize(
    "command",
    [("exec", "kamailio", "--run-dir", "run"), ("serve", "--index", "0"), ("run", "--only", "kamailio")],
)
def test_a_service_of_its_own_wants_a_file(web: WebServer, tmp_path: Path, command: tuple[str, ...]) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    result = run(*command, "--site", str(site), "--ivr", web.url)
    assert result.exit_code != 0
    assert f"`callinteractive fetch {web.url} FILE`" in " ".join(result.output.split())
    assert not web.asked


def test_run_says_why_it_cannot(web: WebServer, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    web.text = WRONG
    result = run("run", "--site", str(site), "--ivr", web.url, "--state-dir", str(tmp_path / "state"))
    assert (result.exit_code, f"{web.url}:2:" in result.output) == (1, True)


def test_the_kept_file_is_the_fetched_one_with_a_comment(web: WebServer, file: Path, told: list[str]) -> None:
    """Lines keep their numbers, so that findings are right for both."""
    provide(web.url, file, told.append)
    text, _, comment = file.read_text().rpartition("\n# callinteractive: ")
    assert text == IVR
    assert json.loads(comment)["url"] == web.url
