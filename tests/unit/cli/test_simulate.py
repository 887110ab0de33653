"""`callinteractive simulate` against a real web application."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from callinteractive.events import Fetched
from cli.main import main
from examples.demo.webapp import PizzaLine
from sidecar.webhook import Webhook

DEMO = Path(__file__).parents[3] / "examples" / "demo"
HOST = "127.13.202.1"


@pytest.fixture
def ivr(tmp_path: Path) -> Iterator[Path]:
    """The demo's ivr.yaml with a transfer that is not final, asking the demo's web application on a port of our own."""
    with ThreadingHTTPServer((HOST, 0), PizzaLine) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        text = (DEMO / "ivr.yaml").read_text().replace("127.0.0.1:18000", f"{HOST}:{server.server_port}")
        transfer, more = 'to: ["000*306"]}\n', 'to: ["000*306"], timeout: 20, final: no}\n        - hangup\n'
        assert transfer in text
        path = tmp_path / "ivr.yaml"
        path.write_text(text.replace(transfer, more))
        yield path
        server.shutdown()
        thread.join()


def simulate(ivr: Path, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["simulate", "--ivr", str(ivr), *arguments], input=stdin)


def story(result: Result) -> list[str]:
    """Each line less its time."""
    assert result.exit_code == 0, result.output
    return [re.sub(r" +", " ", line.partition(" s  ")[2]) for line in result.stdout.splitlines()[1:]]


def test_a_folder_of_files_is_called_like_one_file(ivr: Path) -> None:
    folder = ivr.parent / "ivr.d"
    folder.mkdir()
    numbers, contexts = ivr.read_text().split("contexts:\n")
    (folder / "1.yaml").write_text(numbers)
    (folder / "2.yaml").write_text("contexts:\n" + contexts)
    heard = [line for line in story(simulate(ivr, "--digits", "11234#")) if line.startswith("hears")]
    assert heard
    assert [line for line in story(simulate(folder, "--digits", "11234#")) if line.startswith("hears")] == heard


def test_a_whole_call_by_digits_on_the_command_line(ivr: Path) -> None:
    told = story(simulate(ivr, "--digits", "11234#"))
    heard = [line for line in told if line.startswith("hears")]
    assert heard == [
        "hears welcome.wav (a digit stops it)",
        "hears enter-order.wav (a digit stops it)",
        "hears order-in-the-oven.wav",
        "hears goodbye.wav",
    ]
    assert any(re.fullmatch(r"request POST http://\S+/order\?number=1234", line) for line in told)
    assert any(line.startswith("answer 200") for line in told)
    assert told[-1].startswith("call hung up")


def test_lines_of_stdin_are_dialled_and_its_end_hangs_up(ivr: Path) -> None:
    told = story(simulate(ivr, stdin="9\n"))
    assert "hears try-again.wav" in told
    assert told[-1] == "caller hangs up"


def test_an_empty_line_lets_the_time_run_out(ivr: Path) -> None:
    result = simulate(ivr, stdin="\n\n")
    assert "caller dials nothing for 4 s" in story(result)
    assert "menu main menu: timeout" in story(result)
    assert "    4.0 s  " in result.stdout  # nobody had to wait for them


def test_a_number_ends_where_its_line_ends(ivr: Path) -> None:
    told = story(simulate(ivr, stdin="1\n12\n"))
    assert "caller dials nothing more for 2 s" in told
    assert any(line.endswith("/order?number=12") for line in told)


def test_keys_that_no_phone_has_are_refused_kindly(ivr: Path) -> None:
    assert "no such key: x" in simulate(ivr, stdin="1x\n2\n").stdout
    result = simulate(ivr, "--digits", "1x")
    assert (result.exit_code, result.stdout) == (1, "")  # no call: nobody is there to type something else
    assert "--digits: no such key: x" in result.stderr


@pytest.mark.parametrize(
    ("outcome", "ends"), [("busy", "call hung up"), ("no_answer", "call hung up"), ("answered", "rings answered")]
)
def test_a_transfer_ends_as_told(ivr: Path, outcome: str, ends: str) -> None:
    told = story(simulate(ivr, "--digits", "0", "--transfer", outcome))
    assert "action SimpleTransfer numbers=000*306 timeout_s=20" in told
    assert "rings 000*306 for <+15550100>, for at most 20 s" in told
    assert told[-1].startswith(ends)


def test_nobody_to_ask_about_a_transfer_means_answered(ivr: Path) -> None:
    assert story(simulate(ivr, stdin="0\n"))[-1] == "rings answered"


@pytest.mark.parametrize(
    ("numbers", "says", "ends"),
    [
        ('"000*306"', [], "rings answered"),
        ('"306"', [], "rings answered"),
        ('"999", "000*306"', ["999"], "rings answered"),
        ('"+15550123", "999"', ["+15550123", "999"], "call hung up"),
    ],
)
def test_a_transfer_that_leads_nowhere_is_said(ivr: Path, numbers: str, says: list[str], ends: str) -> None:
    """Where no number leads anywhere nobody rings: so the transfer fails, as in a call."""
    ivr.write_text(ivr.read_text().replace('to: ["000*306"]', f"to: [{numbers}]"))
    site = ivr.with_name("other.yaml")
    text = (DEMO / "site.yaml").read_text().replace("sounds: ./sounds", f"sounds: {DEMO / 'sounds'}")
    site.write_text(text.replace(', to: "sip:127.0.0.2:15080"', ""))
    told = story(simulate(ivr, "--site", str(site), stdin="0\n"))
    wrong = [line for line in told if line.startswith("error ")]
    assert wrong == [f"error {number} is no extension, no IVR, and no trunk has a `to`" for number in says]
    assert told[-1].startswith(ends)
    assert not [line for line in story(simulate(ivr, stdin="0\n")) if line.startswith("error ")], "no site, no numbers"


def _interrupted(child: subprocess.Popen[bytes]) -> int:
    """Its exit status. What comes just before `input` reads counts with the next signal or key."""
    for _ in range(20):
        child.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=1)
    raise AssertionError("it goes on")


@pytest.mark.parametrize(("keys", "asked"), [(b"", b"dial>"), (b"0\n", b"how does it end?")])
def test_ctrl_c_hangs_up_whatever_is_asked(ivr: Path, keys: bytes, asked: bytes) -> None:
    terminal, end = pty.openpty()
    command = [sys.executable, "-P", "-m", "callinteractive", "simulate", "--ivr", str(ivr)]
    paths = {**os.environ, "PYTHONPATH": str(DEMO.parents[1])}
    try:
        with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=paths, cwd=ivr.parent) as child:
            os.write(terminal, keys)
            said = b""
            while asked not in said:
                said += os.read(terminal, 4096)
            status = _interrupted(child)
            os.write(end, b"<the end>")  # else there may be nothing to read
            while not said.endswith(b"<the end>"):
                said += os.read(terminal, 4096)
    finally:
        os.close(terminal)
        os.close(end)
    assert (status, b"hangs up" in said, b"Unclosed" in said) == (0, True, False), said


def test_an_internal_caller_by_the_site(ivr: Path) -> None:
    result = simulate(
        ivr, "--site", str(DEMO / "site.yaml"), "--caller", "000*306", "--number", "332", "--digits", "11#"
    )
    told = [line.strip() for line in story(result)]
    assert "CallerExtension=000*306" in told
    assert "CallerExtensionID=134" in told
    assert "CalledNumber=332" in told


def test_a_sound_that_the_site_does_not_have_is_not_heard(ivr: Path) -> None:
    site = ivr.with_name("site.yaml")
    site.write_text((DEMO / "site.yaml").read_text().replace("sounds: ./sounds", f"sounds: {DEMO / 'sounds'}"))
    ivr.write_text(ivr.read_text().replace("welcome.wav", "welcom.wav"))
    meant = "welcom.wav (did you mean 'welcome.wav'?)"
    for named in (("--site", str(site)), ()):  # that beside ivr.yaml counts unless another one is named
        told = story(simulate(ivr, *named, "--digits", "2"))
        (error,) = {line for line in told if line.startswith("error")}
        assert error == f"error there is no {meant} in {DEMO / 'sounds'}: the caller does not hear it"
        assert "hears opening-hours.wav" in told
    (tmp := ivr.parent / "sounds").mkdir()
    (tmp / "welcom.wav").write_text("<html>404</html>")
    site.write_text(site.read_text().replace(str(DEMO / "sounds"), "sounds"))
    heard = story(simulate(ivr, "--digits", "2"))
    assert any(line.startswith("error welcom.wav: not readable as wav") for line in heard), "it is no sound"
    site.unlink()
    assert "hears welcom.wav (a digit stops it)" in story(simulate(ivr, "--digits", "2")), "no site, no folder"


@pytest.mark.parametrize(
    ("status", "body", "begin"),
    [
        (500, b"<!doctype html>\n<title>500 Internal Server Error</title>", "<!doctype html> <title>500 Internal"),
        (200, b"<br />\n<b>Warning</b>:  Undefined\x1b[2J" + b"x" * 500, "<br /> <b>Warning</b>: Undefined"),
        (200, b"<Response>\n<Hangup/></Response>", None),
        (500, b"", None),
    ],
    ids=["its error page", "a warning of PHP", "an answer", "nothing"],
)
def test_how_an_answer_begins_that_cannot_be_used(
    ivr: Path, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, begin: str | None
) -> None:
    async def fetch(*_: object) -> Fetched:
        return Fetched(status, body)

    monkeypatch.setattr(Webhook, "fetch", fetch)
    told = story(simulate(ivr, "--digits", "11#"))
    after = told[told.index(f"answer {status}, {len(body)} bytes") + 1]
    assert begin is None or after.strip().startswith(begin), after
    assert len(after.strip()) <= 160 + len("\\u001b")
    assert "\x1b" not in after
    assert begin is not None or after.partition(" ")[0] in ("action", "error")


def test_a_did_is_told_as_such(ivr: Path) -> None:
    told = [line.strip() for line in story(simulate(ivr, "--number", "+15550199", "--digits", "11#"))]
    assert "CalledDID=+15550199" in told


@pytest.mark.parametrize(("rule", "ends"), [("", 100), ("{pause: {length: 1}}, ", 600)], ids=["sounds", "with pauses"])
def test_music_that_goes_on_until_somebody_hangs_up(tmp_path: Path, rule: str, ends: int) -> None:
    path = tmp_path / "ivr.yaml"
    path.write_text(
        'ivrs: [{number: "000*332", id: 332, entry_context: 1, lifetime: 600}]\n'
        f"contexts: {{1: {{options: {{start: [{{play_sound: {{file: a.wav}}}}, {rule}{{jump: {{context: 1}}}}]}}}}}}\n"
    )
    told = story(simulate(path, "--digits", "1"))
    assert told.count("hears a.wav") == ends
    assert told[-1] in ("caller hangs up", "call hung up: the call has lasted 600 s, its IVR's lifetime")


def test_nothing_steers_the_terminal_or_writes_a_line_of_its_own(ivr: Path) -> None:
    lines = simulate(ivr, "--name", "Eve\x9b2J\n 0.0 s  call", "--digits", "11234#").stdout.split("\n")
    assert any(line.endswith("CallerIDName=Eve\\u009b2J\\n 0.0 s  call") for line in lines)
    assert all(line.isprintable() for line in lines)


def test_a_web_application_that_is_down_is_said_and_the_call_goes_on(ivr: Path) -> None:
    ivr.write_text(re.sub(r"http://[0-9.]+:\d+", f"http://{HOST}:9", ivr.read_text()))
    told = story(simulate(ivr, "--digits", "11234#"))
    assert any(line.startswith("error ") for line in told)
    assert "hears sorry.wav" in told


def test_a_number_that_leads_nowhere(ivr: Path) -> None:
    result = simulate(ivr, "--number", "999", "--digits", "1")
    assert result.exit_code == 1
    assert "999 leads to no IVR" in result.stderr
    assert "000*332, +15550199" in result.stderr


def test_a_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "ivr.yaml").write_text("ivrs: 1\n")
    result = simulate(tmp_path / "ivr.yaml")
    assert result.exit_code == 1
    assert "ivr.yaml:1:" in result.stderr
