"""A real softphone: baresip, without a sound card. It speaks a tone of its own and writes down what it hears.

async with Baresip("000*308", "secret", stack.net.sip, host=stack.net.stranger) as phone:
    await phone.registered()
    await phone.dials("000*100")
    await phone.connected()
    await phone.hears_tone(440)
    await phone.presses("1")
    await phone.call_ended()
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import random
import re
import socket
import subprocess
import tempfile
import threading
import time
import wave
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tests.support.audio import level, pitch, tone
from tests.support.stack import POLL_S, until
from tests.support.timing import PATIENT_S

MODULES = Path("/usr/lib/baresip/modules")
SPEAKS_HZ = 1000
"""The tone that it says all the time."""
RATE = 8000
_FRAME = RATE // 50
_WAV_HEADER = 44
_ANSWER = re.compile(r"^SIP/2\.0 (\d{3}) .*\n(?:[^\n]+\n)*", re.MULTILINE)
_CSEQ = re.compile(r"^CSeq: \d+ (\w+)$", re.MULTILINE)
_OWN = re.compile(r"^Server: baresip", re.MULTILINE)
_CLONE_NEWNET = 0x40000000
# No player: the `aubridge` of nobody takes all sound, and sndfile writes down what is heard. The player of `aufile`
# crashes baresip 1.x if it is stopped while it starts (baresip issue 1727), as a ringing tone is by a quick 200.
_CONFIG = """\
poll_method epoll
sip_listen {host}:{sip_port}
net_interface {interface}
audio_player aubridge,nobody
audio_source aufile,{folder}/tone.wav
audio_alert aubridge,nobody
audio_channels 1-1
module_path {modules}
module g711.so
module g722.so
module srtp.so
module aubridge.so
module aufile.so
module sndfile.so
module stdio.so
module_tmp uuid.so
module_tmp account.so
module_app ctrl_tcp.so
module_app menu.so
ctrl_tcp_listen 127.0.0.1:{control_port}
snd_path {folder}
call_max_calls 4
{more}"""


class Baresip:
    """One phone with one account. `namespace` is the pid of a process in the network namespace where it lives."""

    def __init__(
        self,
        number: str,
        password: str,
        target: tuple[str, int],
        *,
        host: str,
        transport: str = "udp",
        interface: str = "lo",
        port: int | None = None,
        namespace: int | None = None,
        account: str = "",
        config: str = "",
    ) -> None:
        """`account` is more of the account's parameters, for example ``;mediaenc=srtp-mand``; `config` more lines."""
        self._target = f"{target[0]}:{target[1]}"
        self._namespace = namespace
        self._directory = tempfile.TemporaryDirectory(prefix="baresip-")
        self.folder = Path(self._directory.name)
        self.port = port or _free_port()
        self._control_port = _free_port()
        (self.folder / "config").write_text(
            _CONFIG.format(
                host=host,
                sip_port=self.port,
                interface=host if interface == "lo" else interface,
                folder=self.folder,
                modules=MODULES,
                control_port=self._control_port,
                more=config,
            )
        )
        (self.folder / "accounts").write_text(
            f"<sip:{number}@{self._target};transport={transport}>;auth_user={number};auth_pass={password};"
            f"answermode=manual;regint=60;audio_codecs=PCMU/8000/1,PCMA/8000/1{account}\n"
        )
        _write_wav(self.folder / "tone.wav", SPEAKS_HZ, 60)
        self.transport = transport
        self.events: list[dict[str, Any]] = []
        self._output = bytearray()
        self._tokens = 0

    async def __aenter__(self) -> Baresip:
        self._terminal, theirs = os.openpty()
        os.set_blocking(self._terminal, False)
        inside = ("nsenter", "-t", str(self._namespace), "-n", "--") if self._namespace else ()
        self._process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", *inside, "baresip", "-s", "-f", str(self.folder)),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.folder,
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._terminal, self._read_terminal)
        try:
            reader, self._control = await self._connect()
        except BaseException:
            await self._end()
            raise
        self._reading = asyncio.create_task(self._read_events(reader))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        self._control.close()
        await self._end()
        if error is not None:
            error.add_note(f"baresip:\n{self.trace()[-6000:]}")
        self._directory.cleanup()

    def trace(self) -> str:
        """What it printed, and with it every SIP message."""
        return self._output.decode("utf-8", "replace")

    # --- What a person does

    async def dials(self, number: str) -> None:
        await self._command("dial", f"sip:{number}@{self._target};transport={self.transport}")

    async def transfers(self, number: str) -> None:
        await self._command("transfer", f"sip:{number}@{self._target};transport={self.transport}")

    async def picks_up(self) -> None:
        await self._command("accept")

    async def hangs_up(self) -> None:
        await self._command("hangup")
        await self.call_ended()

    async def presses(self, digit: str) -> None:
        await self._command("sndcode", digit)

    def holds(self) -> None:
        self._types_key("x")

    def resumes(self) -> None:
        self._types_key("X")

    def _types_key(self, key: str) -> None:
        os.write(self._terminal, key.encode())

    # --- What a person sees and hears

    async def registered(self, within_s: float = PATIENT_S) -> None:
        # Not by the event: it may come before our control connection.
        await until(lambda: 200 in self.answers("REGISTER"), within_s, "baresip's registration")

    def answers(self, method: str) -> list[int]:
        """The status of each answer that it got to requests of this method. The trace has its own answers too."""
        received = (found for found in _ANSWER.finditer(self.trace().replace("\r", "")) if not _OWN.search(found[0]))
        return [int(found[1]) for found in received if _CSEQ.findall(found[0]) == [method]]

    async def sees(self, event: str, within_s: float = PATIENT_S, nth: int = 1) -> dict[str, Any]:
        """Wait for the `nth` event of that type."""

        def seen() -> list[dict[str, Any]]:
            return [entry for entry in self.events if entry.get("type") == event]

        await until(lambda: len(seen()) >= nth, within_s, f"baresip's {event} among {self._types()}")
        return seen()[nth - 1]

    async def rings(self, within_s: float = PATIENT_S, nth: int = 1) -> dict[str, Any]:
        return await self.sees("CALL_INCOMING", within_s, nth)

    async def connected(self, within_s: float = PATIENT_S, nth: int = 1) -> None:
        await self.sees("CALL_ESTABLISHED", within_s, nth)

    async def call_ended(self, within_s: float = PATIENT_S, nth: int = 1) -> str:
        """Wait until the call is over; returns why, as the phone shows it."""
        return str((await self.sees("CALL_CLOSED", within_s, nth)).get("param", ""))

    async def hears_tone(self, frequency: float, within_s: float = PATIENT_S, for_s: float = 0.2) -> None:
        """Wait until it has heard that much of the tone, in all its calls."""
        deadline = time.monotonic() + within_s
        while (heard := self.heard_s(frequency)) < for_s:
            assert time.monotonic() < deadline, f"heard {heard} s of {frequency} Hz within {within_s} s"
            await asyncio.sleep(POLL_S)

    def heard_s(self, frequency: float) -> float:
        """Seconds of that tone in what it has written down."""
        frames = 0
        for path in self.folder.glob("dump-*-dec.wav"):
            data = path.read_bytes()[_WAV_HEADER:]
            samples = np.frombuffer(data[: len(data) // 2 * 2], np.int16)
            for start in range(0, len(samples) - _FRAME, _FRAME):
                frame = samples[start : start + _FRAME]
                frames += level(frame) > 500 and abs(pitch(frame, RATE) - frequency) < 40
        return frames * _FRAME / RATE

    # --- Its control connection: netstrings of JSON

    async def _command(self, command: str, parameters: str = "") -> None:
        self._tokens += 1
        token = str(self._tokens)
        data = json.dumps({"command": command, "params": parameters, "token": token}).encode()
        self._control.write(b"%d:%b," % (len(data), data))

        def answers() -> list[dict[str, Any]]:
            return [entry for entry in self.events if entry.get("token") == token]

        await until(lambda: bool(answers()), PATIENT_S, f"baresip's answer to {command}")
        assert answers()[0]["ok"], answers()[0]

    async def _read_events(self, reader: asyncio.StreamReader) -> None:
        while size := (await reader.readuntil(b":"))[:-1]:
            self.events.append(json.loads(await reader.readexactly(int(size))))
            await reader.readexactly(1)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        deadline = time.monotonic() + 10
        while True:
            try:
                sock = await asyncio.to_thread(_connected, self._control_port, self._namespace)
                return await asyncio.open_connection(sock=sock)
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, f"baresip does not answer:\n{self.trace()}"
                assert self._process.returncode is None, f"baresip ended:\n{self.trace()}"
                await asyncio.sleep(POLL_S)

    def _read_terminal(self) -> None:
        try:
            self._output += os.read(self._terminal, 65536)
        except OSError:  # it has ended
            asyncio.get_running_loop().remove_reader(self._terminal)

    async def _end(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(5):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._terminal)
        os.close(self._terminal)

    def _types(self) -> list[str]:
        return [str(entry.get("type")) for entry in self.events if "type" in entry]


def takes_new_keys() -> bool:
    """Whether this release decrypts with the keys of a later description (RFC 4568 7.1.4): from 3.12 on."""
    told = subprocess.run(["baresip", "-h"], capture_output=True, text=True, check=False, timeout=PATIENT_S).stdout
    found = re.search(r"baresip v(\d+)\.(\d+)", told)
    assert found, told
    return (int(found[1]), int(found[2])) >= (3, 12)


def _connected(port: int, namespace: int | None) -> socket.socket:
    """A connection to that port of the loopback of the process's network namespace."""
    found: list[socket.socket | OSError] = []

    def connect() -> None:
        # A thread of its own: it never comes back from the namespace.
        try:
            if namespace:
                with open(f"/proc/{namespace}/ns/net") as place:
                    if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
            found.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    found[0].setblocking(False)
    return found[0]


def _free_port() -> int:
    """A port that is free for TCP and UDP. It is below those that the kernel gives to other connections meanwhile."""
    for _ in range(100):
        port = random.randrange(16_000, 32_000)
        with (
            suppress(OSError),
            socket.socket() as tcp,
            socket.socket(type=socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def _write_wav(path: Path, frequency: float, duration_s: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(tone((frequency,), duration_s, RATE).tobytes())
