"""SIPp as a test's phone: runs a scenario and shows its messages.

async with Sipp("caller", local="127.13.0.2", target=("127.13.0.1", 23060), service="000*100") as sipp:
    answer = await sipp.wait_for(200)
    sipp.nudge()                       # the scenario's next step, where it waits for a MESSAGE
    await sipp.finished()
"""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from types import TracebackType

from tests.support.timing import PATIENT_S

SCENARIOS = Path(__file__).parents[2] / "sipp-scenarios"
POLL_S = 0.01
_ENTRY = re.compile(
    rb"^-{10,} (?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})\n"
    rb"(?:UDP|TCP) message (?P<way>sent|received) [\[(](?P<size>\d+)[\]) a-z]*:\n\n",
    re.MULTILINE,
)
_SDP = re.compile(r"^ *v=0\n.*?\n(?= *\]\]>)", re.MULTILINE | re.DOTALL)

CROSSING = frozenset({"callee-refers", "caller-refers"})
"""Scenarios during which messages of both sides cross. SIPp can't take one while it is to send: it is as lost, not an
error, and comes again."""

ANSWERS_UPDATE = ("-aa",)
"""SIPp answers an UPDATE that its scenario does not name."""
IGNORES_MORE = ("-default_behaviors", "bye,pingreply")
"""SIPp goes on where it gets what its scenario does not expect, such as a nudge right after a CANCEL."""


@dataclass(frozen=True)
class SipMessage:
    """A message in SIPp's trace. `at_s` is seconds since the epoch. `sent` is True for SIPp's own messages."""

    at_s: float
    sent: bool
    text: str

    @property
    def start_line(self) -> str:
        return self.text.partition("\r\n")[0]

    @property
    def status(self) -> int | None:
        match = re.match(r"SIP/2\.0 (\d{3}) ", self.text)
        return int(match[1]) if match else None

    @property
    def method(self) -> str:
        """The method of a request, or of the request that a response answers."""
        return self.header("CSeq").split()[-1]

    def header(self, name: str) -> str:
        """The first value of a header; empty if there is none."""
        return next(iter(self.headers(name)), "")

    def headers(self, name: str) -> list[str]:
        head = self.text.partition("\r\n\r\n")[0]
        return re.findall(rf"^{name}\s*:\s*(.*?)\s*$", head, re.MULTILINE | re.IGNORECASE)

    @property
    def body(self) -> str:
        return self.text.partition("\r\n\r\n")[2]

    def is_response(self, status: int, method: str = "INVITE") -> bool:
        """Whether it is this response of the peer."""
        return not self.sent and self.status == status and self.method == method

    def is_request(self, method: str) -> bool:
        """Whether it is such a request of the peer."""
        return not self.sent and self.status is None and self.method == method


class Sipp:
    """One SIPp process with its scenario; an async context manager that leaves no process behind."""

    _numbers = count(1)

    def __init__(
        self,
        scenario: str,
        *,
        local: str,
        target: tuple[str, int],
        service: str,
        port: int | None = None,
        from_: str = "<sip:sipp@localhost>",
        sdp: str | None = None,
        keys: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        replace: Mapping[str, str] | None = None,
    ) -> None:
        """`scenario` is a name in sipp-scenarios/. `port` is any free port by default. `sdp` replaces each SDP of the
        scenario, but version and direction stay as they are. `replace` changes other pieces of the text; `keys` become
        SIPp's keywords [name]."""
        self.local = (local, port or free_udp_port(local))
        self.call_id = f"{next(self._numbers)}-{time.time_ns()}"
        self._target = target
        self._service = service
        self._from = from_
        self._keys = dict(keys or {})
        self._arguments = arguments
        self._crosses = scenario in CROSSING
        self._text = _edited((SCENARIOS / f"{scenario}.xml").read_text(), sdp, replace or {})
        self._directory = tempfile.TemporaryDirectory(prefix="sipp-")
        self._path = Path(self._directory.name)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Sipp:
        (self._path / "scenario.xml").write_text(self._text)
        keys = [part for name, value in self._keys.items() for part in ("-key", name, value)]
        self._process = await asyncio.create_subprocess_exec(
            "sipp",
            *("-sf", "scenario.xml", "-i", self.local[0], "-p", str(self.local[1]), "-s", self._service),
            *("-key", "from", self._from, "-cid_str", f"%u-{self.call_id}", "-m", "1", "-nostdin"),
            *("-trace_msg", "-message_file", "messages.log", "-trace_err", "-error_file", "errors.log"),
            *keys,
            *(("-default_behaviors", "all,-abortunexp") if self._crosses else ()),
            *self._arguments,
            f"{self._target[0]}:{self._target[1]}",
            cwd=self._path,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if error is not None:
            error.add_note(self.report())
        self._directory.cleanup()

    @property
    def has_ended(self) -> bool:
        assert self._process is not None
        return self._process.returncode is not None

    def messages(self) -> list[SipMessage]:
        """All messages sent and received so far, in order."""
        path = self._path / "messages.log"
        return list(_parse_trace(path.read_bytes())) if path.exists() else []

    async def wait_for(
        self, wanted: int | str | Callable[[SipMessage], bool], within_s: float = PATIENT_S, nth: int = 1
    ) -> SipMessage:
        """Wait for the `nth` message of the peer that is `wanted`.

        A number means that response to an INVITE, a word that request; a function decides by itself.
        """
        if isinstance(wanted, int):
            matches: Callable[[SipMessage], bool] = lambda message: message.is_response(wanted)  # noqa: E731
        elif isinstance(wanted, str):
            matches = lambda message: message.is_request(wanted)  # noqa: E731
        else:
            matches = wanted
        deadline = time.monotonic() + within_s
        while True:
            ended = self.has_ended  # ask before reading: its last messages count too
            found = [message for message in self.messages() if matches(message)]
            if len(found) >= nth:
                return found[nth - 1]
            assert time.monotonic() < deadline, f"no {wanted} within {within_s} s"
            assert not ended, f"SIPp ended without {wanted}"
            await asyncio.sleep(POLL_S)

    def nudge(self, call_id: str = "") -> None:
        """Send the MESSAGE that the scenario waits for, so that it goes on.

        For a phone that is called, `call_id` is the Call-ID of the peer's INVITE.
        """
        call_id = call_id or f"1-{self.call_id}"
        lines = (
            "MESSAGE sip:nudge SIP/2.0",
            f"Via: SIP/2.0/UDP {self.local[0]}:9;branch=z9hG4bK{time.time_ns()}",
            "From: <sip:test@localhost>;tag=nudge",
            "To: <sip:sipp@localhost>",
            f"Call-ID: {call_id}",
            f"CSeq: {next(self._numbers)} MESSAGE",
            "Content-Length: 0",
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((self.local[0], 0))
            sender.sendto("\r\n".join((*lines, "", "")).encode(), self.local)

    async def finished(self, within_s: float = PATIENT_S) -> None:
        """Wait until the scenario has ended; fails unless each call went as the scenario says."""
        assert self._process is not None
        try:
            async with asyncio.timeout(within_s):
                status = await self._process.wait()
        except TimeoutError:
            raise AssertionError(f"the scenario is still running after {within_s} s") from None
        assert status == 0, f"SIPp's exit status is {status}"

    def report(self) -> str:
        """SIPp's errors and messages, for a failed test. If there were many calls, only the unfinished ones."""
        calls: dict[str, list[SipMessage]] = {}
        for message in self.messages():
            calls.setdefault(message.header("Call-ID"), []).append(message)
        if len(calls) > 1:
            calls = {call_id: entries for call_id, entries in calls.items() if entries[-1].method != "BYE"}
        lines = [
            f"{call_id} {entry.at_s:.3f} {'>' if entry.sent else '<'} {entry.start_line}"
            for call_id, entries in calls.items()
            for entry in entries
        ]
        errors = self._path / "errors.log"
        complaints = errors.read_text(errors="replace")[:2000] if errors.exists() else ""
        return "\n".join(("SIPp:", *lines[:100], complaints))


def free_udp_port(host: str) -> int:
    """A port that was free a moment ago. SIPp does not tell which port it chose itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _edited(text: str, sdp: str | None, replace: Mapping[str, str]) -> str:
    for old, new in replace.items():
        assert old in text, f"{old!r} is not in the scenario"
        text = text.replace(old, new)
    return text if sdp is None else _SDP.sub(lambda written: _in_place_of(written[0], sdp), text)


def _in_place_of(written: str, sdp: str) -> str:
    """The phone's own SDP, with the version and the direction of the scenario's SDP."""
    for line in (r"^ *o=\S+ \S+ (\d+)", r"^ *(a=(?:sendrecv|sendonly|recvonly|inactive))"):
        if scenario := re.search(line, written, re.MULTILINE):
            own = re.search(line, sdp, re.MULTILINE)
            sdp = sdp[: own.start(1)] + scenario[1] + sdp[own.end(1) :] if own else sdp
    return "".join(f"      {line}\n" for line in sdp.splitlines()) + "\n"


def _parse_trace(data: bytes) -> list[SipMessage]:
    messages = []
    for entry in _ENTRY.finditer(data):
        text = data[entry.end() : entry.end() + int(entry["size"])]
        if len(text) < int(entry["size"]):
            break  # SIPp is still writing it
        at = datetime.strptime(entry["time"].decode(), "%Y-%m-%d %H:%M:%S.%f").timestamp()
        messages.append(SipMessage(at, entry["way"] == b"sent", text.decode("utf-8", "replace")))
    return messages
