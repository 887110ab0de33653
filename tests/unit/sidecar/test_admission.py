"""New calls are refused while this sidecar or RTPengine is behind, and only then."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from callinteractive.limits import OVERLOAD_RETRY_S, OVERLOAD_WAIT_S
from callinteractive.model import Address
from sidecar import admission, sip
from sidecar.admission import MAX_MEDIA_COMMANDS, Admission, Unacknowledged

HOST = "127.9.0.3"
INVITE = (
    "INVITE sip:1@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
    "To: <sip:1@{host}>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{host}:{port}>\r\n\r\n"
)


def admission_of(waited_s, commands, on_refused=lambda _why: None, *, calls=0, unacknowledged=None) -> Admission:
    return Admission(
        waited_s if callable(waited_s) else lambda: waited_s,
        lambda: commands,
        on_refused,
        calls=lambda: calls,
        most_calls=10,
        unacknowledged=Unacknowledged(10) if unacknowledged is None else unacknowledged,
    )


@pytest.mark.parametrize(
    ("waited_s", "commands", "why"),
    [
        (0.0, 0, None),
        (OVERLOAD_WAIT_S, MAX_MEDIA_COMMANDS, None),
        (OVERLOAD_WAIT_S + 0.001, 0, "behind"),
        (0.0, MAX_MEDIA_COMMANDS + 1, "rtpengine_behind"),
    ],
)
def test_the_bounds(waited_s, commands, why):
    refused = []
    admit = admission_of(waited_s, commands, refused.append)
    assert admit() == (OVERLOAD_RETRY_S if why else None)
    assert refused == ([why] if why else [])
    assert sum(admit.waits.counts) == 1
    assert admit.waits.sum_s == waited_s


def test_overload_is_logged_now_and_then(monkeypatch):
    told = []
    monkeypatch.setattr(admission.LOG, "warning", lambda *_, **fields: told.append(fields), raising=False)
    now = [0.0]
    monkeypatch.setattr(admission.time, "monotonic", lambda: now[0])
    admit = admission_of(1.0, 2)
    for now[0] in (100.0, 101.0, 100.0 + admission.TELL_EVERY_S):
        admit()
    assert [(line["waited_ms"], line["media_commands"], line["code"]) for line in told] == [(1000, 2, 503)] * 2
    assert "sidecars.count" in told[0]["reason"]


@pytest.mark.parametrize(("calls", "verdict"), [(9, None), (10, OVERLOAD_RETRY_S), (11, OVERLOAD_RETRY_S)])
def test_a_sidecar_has_so_many_calls_at_the_most(calls, verdict):
    refused = []
    assert admission_of(0.0, 0, refused.append, calls=calls)() == verdict
    assert refused == (["max_calls"] if verdict else [])


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(admission.time, "monotonic", made)
    return made


async def waiting(unacknowledged: Unacknowledged) -> asyncio.Task[None]:
    """A call that is answered and waits for its ACK."""

    async def call() -> None:
        with unacknowledged.waiting():
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    return task


async def test_calls_without_ACK_are_few_and_the_oldest_makes_room_after_a_while(clock):
    unacknowledged = Unacknowledged(2)
    refused = []
    admit = admission_of(0.0, 0, refused.append, unacknowledged=unacknowledged)
    first = await waiting(unacknowledged)
    clock.now += 1
    assert (admit(), unacknowledged.make_room()) == (None, True)
    second = await waiting(unacknowledged)
    assert (admit(), unacknowledged.make_room()) == (OVERLOAD_RETRY_S, False)
    assert refused == ["max_unacknowledged"]
    clock.now += admission.PATIENCE_S - 0.5
    assert (admit(), unacknowledged.make_room()) == (None, True)
    await asyncio.wait([first])
    assert first.cancelled()
    assert not second.done()
    assert len(unacknowledged) == 1
    second.cancel()
    await asyncio.wait([second])
    assert len(unacknowledged) == 0


class Caller:
    """Sends INVITEs. It sends no ACK, so each refusal also comes again later (RFC 3261 17.2.1)."""

    def __init__(self, transport: sip.Transport, sock: socket.socket) -> None:
        self._transport = transport
        self._socket = sock
        self._calls = 0

    async def call(self, *, blocked_s: float = 0.0) -> str:
        """The answer to a new INVITE, after the event loop has been busy with something else for `blocked_s`."""
        self._calls += 1
        branch, call_id = f"branch=z9hG4bK{self._calls}", f"Call-ID: {self._calls}"
        invite = INVITE.format(host=HOST, port=self._socket.getsockname()[1])
        invite = invite.replace("branch=z9hG4bK1", branch).replace("Call-ID: 1", call_id)
        self._socket.sendto(invite.encode(), self._transport.address)
        time.sleep(blocked_s)  # noqa: ASYNC251  this is the busy event loop
        while True:
            answer = (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()
            if f"\r\n{call_id}\r\n" in answer:
                return answer


@pytest.fixture
async def caller():
    transport = await sip.Transport.open(Address(HOST, 0), lambda leg, _invite: leg.reject(486), sip.UaConfig())
    transport.agent.admit = admission_of(transport.waited_s, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        sock.setblocking(False)
        yield Caller(transport, sock)
    transport.close()


async def test_an_INVITE_that_waited_in_the_socket_gets_503_with_Retry_After(caller):
    """The bounds are long, since two things are not ours to decide. The kernel begins to keep times a while after it
    was first asked for one. On a busy machine the last INVITE may have waited too, and then 503 is right."""
    assert (await caller.call()).startswith("SIP/2.0 486 ")
    async with asyncio.timeout(20):
        while (refusal := await caller.call(blocked_s=OVERLOAD_WAIT_S + 0.05)).startswith("SIP/2.0 486 "):
            pass
    assert refusal.startswith("SIP/2.0 503 ")
    assert f"\r\nRetry-After: {OVERLOAD_RETRY_S}\r\n" in refusal
    async with asyncio.timeout(20):
        while not (await caller.call()).startswith("SIP/2.0 486 "):
            pass
