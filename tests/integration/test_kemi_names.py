"""Nobody can make Kamailio look up a name: no worker waits for a name server that is silent (S6)."""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from cli.process import ProcessSpec
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, RunningKamailio

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "slow.example.invalid"
SILENT = f"{sip.NET}.53"
WITHIN_S = 2.0
"""The look-up of one name would take 10 s and more."""


def with_silent_resolver(spec: ProcessSpec, folder: Path) -> ProcessSpec:
    """Start it with an /etc/resolv.conf that names a server which never answers."""
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {SILENT}\n")
    script = f"mount --bind {shlex.quote(str(resolver))} /etc/resolv.conf && exec {shlex.join(spec.argv)}"
    return replace(spec, argv=("/usr/bin/unshare", "--map-root-user", "--mount", "/bin/sh", "-c", script))


@pytest.fixture(scope="module")
def questions() -> socket.socket:
    """The socket of that name server. Port 53 needs root or a user namespace (`unshare -rn`)."""
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind((SILENT, 53))
    taken.setblocking(False)
    return taken


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(
    tmp_path_factory: pytest.TempPathFactory, questions: socket.socket
) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), wrap=with_silent_resolver) as running:
        yield running


async def answered(caller: Endpoint, sidecar: Endpoint, **headers: str) -> tuple[Dialog, Dialog]:
    invite = caller.invite("332", **headers)
    caller.send(invite)
    async with asyncio.timeout(WITHIN_S):
        while (got := await sidecar.receive("INVITE")).get("Call-ID") != invite.get("Call-ID"):
            pass  # belongs to an earlier call
    answer = sip.reply(got, "200 OK", tag="t", Contact=f"<sip:s@{sidecar.host}:{sidecar.port}>", body=sip.SDP)
    sidecar.send(answer)
    theirs = Dialog.of_caller(caller, invite, await caller.receive(200, timeout_s=WITHIN_S))
    caller.send(theirs.request("ACK"))
    await sidecar.receive("ACK", timeout_s=WITHIN_S)
    return theirs, Dialog.of_callee(sidecar, got, answer)


async def test_names_of_strangers_stop_nobody_s6(caller: Endpoint, sidecar: Endpoint, questions: socket.socket) -> None:
    """Names in Contact, Via, Route and Request-URI, in more calls than there are workers."""
    for _ in range(12):
        theirs, ours = await answered(caller, sidecar, Contact=f"<sip:7@{NAME}>")
        sidecar.send(ours.request("BYE"))
        caller.send(replace(theirs, target=f"sip:x@{NAME}").request("INFO"))
        caller.send(replace(theirs, routes=[*theirs.routes, f"<sip:{NAME};lr>"]).request("INFO"))
        caller.send(caller.invite("332", Via=f"SIP/2.0/UDP {NAME};branch=z9hG4bK{id(theirs)};rport"))
        caller.send(caller.invite("332", To=f"<sip:332@{NAME}>", From=f"<sip:7@{NAME}>;tag=x"))
    async with asyncio.timeout(WITHIN_S):
        await answered(caller, sidecar)
    with pytest.raises(BlockingIOError):
        questions.recv(1000)


@pytest.mark.parametrize("where", ["contact", "route"])
async def test_request_for_a_name_is_refused_s6(caller: Endpoint, sidecar: Endpoint, where: str) -> None:
    theirs, _ = await answered(caller, sidecar)
    if where == "contact":
        request = replace(theirs, target=f"sip:x@{NAME}").request("INFO")
    else:
        request = replace(theirs, routes=[*theirs.routes, f"<sip:{NAME};lr>"]).request("INFO")
    caller.send(request)
    assert (await caller.receive(478, timeout_s=WITHIN_S)).start == "SIP/2.0 478 Unresolvable Destination"
