"""Requests within a call, through Record-Route, both ways; forged ones lead nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, RunningKamailio

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


async def answered_call(caller: Endpoint, sidecar: Endpoint) -> tuple[Dialog, Dialog]:
    """A call up to its ACK: the caller's side and the sidecar's."""
    invite = caller.invite("332")
    caller.send(invite)
    got = await sidecar.receive("INVITE")
    contact = f"<sip:s@{sidecar.host}:{sidecar.port}>"
    answer = sip.reply(got, "200 OK", tag="t", Contact=contact, body=sip.SDP)
    sidecar.send(answer)
    theirs = Dialog.of_caller(caller, invite, await caller.receive(200))
    caller.send(theirs.request("ACK"))
    ack = await sidecar.receive_only("ACK")
    assert ack.uri == f"sip:s@{sidecar.host}:{sidecar.port}"
    return theirs, Dialog.of_callee(sidecar, got, answer)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO", "PRACK", "REFER", "NOTIFY", "BYE"])
@pytest.mark.parametrize("from_caller", [True, False])
async def test_request_passes(caller: Endpoint, sidecar: Endpoint, method: str, from_caller: bool) -> None:
    theirs, ours = await answered_call(caller, sidecar)
    sender, receiver = (theirs, ours) if from_caller else (ours, theirs)
    request = sender.request(method, X_CI_Forged="1")
    sender.endpoint.send(request)
    got = await receiver.endpoint.receive_only(method)
    assert not got.private()
    assert not got.all("Route")
    assert (got.uri, got.get("CSeq")) == (sender.target, request.get("CSeq"))
    receiver.endpoint.send(sip.reply(got, "200 OK", x_ci_secret="1", Contact=f"<{ours.target}>"))
    answer = await sender.endpoint.receive(200)
    assert not answer.private()
    if method == "INVITE":
        ack = sender.request("ACK", CSeq=request.get("CSeq").replace("INVITE", "ACK"))
        sender.endpoint.send(ack)
        await receiver.endpoint.receive_only("ACK")


@pytest.mark.parametrize("from_caller", [True, False])
async def test_rfc_3261_16_4_a_strict_router_s_request_passes(
    caller: Endpoint, sidecar: Endpoint, from_caller: bool
) -> None:
    """It sends our own URI as the Request-URI, and where the request should go as the last Route."""
    theirs, ours = await answered_call(caller, sidecar)
    sender, receiver = (theirs, ours) if from_caller else (ours, theirs)
    request = sender.request("BYE")
    request.start = f"BYE {request.get('Route').strip('<>')} SIP/2.0"
    request.set("Route", f"<{sender.target}>")
    sender.endpoint.send(request)
    got = await receiver.endpoint.receive_only("BYE")
    assert (got.uri, got.get("Route")) == (sender.target, "")
    receiver.endpoint.send(sip.reply(got, "200 OK"))
    await sender.endpoint.receive_only(200)


@pytest.mark.parametrize("target", ["sip:+900@{gateway}", "sip:{stranger}"])
async def test_a_strict_router_s_request_leads_to_nobody_else_s9(
    caller: Endpoint, sidecar: Endpoint, target: str
) -> None:
    theirs, _ = await answered_call(caller, sidecar)
    request = theirs.request("INVITE")
    request.start = f"INVITE {request.get('Route').strip('<>')} SIP/2.0"
    gateway, stranger = (f"{host}:{port}" for host, port in (sip.TRUNK_GATEWAYS[1], (sip.STRANGER, 22099)))
    request.set("Route", f"<{target.format(gateway=gateway, stranger=stranger)}>")
    caller.send(request)
    assert (await caller.receive_only(403)).get("Call-ID") == request.get("Call-ID")


async def test_retransmitted_200_and_ack_pass(caller: Endpoint, sidecar: Endpoint) -> None:
    invite = caller.invite("332")
    caller.send(invite)
    got = await sidecar.receive("INVITE")
    answer = sip.reply(got, "200 OK", tag="t", X_CI_Secret="1", Contact=f"<sip:s@{sidecar.host}:{sidecar.port}>")
    for _ in range(3):
        sidecar.send(answer)
        passed = await caller.receive(200)
        assert not passed.private()
    theirs = Dialog.of_caller(caller, invite, passed)
    for _ in range(3):
        caller.send(theirs.request("ACK"))
        await sidecar.receive_only("ACK")


async def test_max_forwards_holds_in_a_dialog(caller: Endpoint, sidecar: Endpoint) -> None:
    theirs, _ = await answered_call(caller, sidecar)
    caller.send(theirs.request("INFO", Max_Forwards="0"))
    assert (await caller.receive()).status == 483


async def test_rfc_3261_9_2_a_cancel_of_nothing_in_a_dialog_gets_481(caller: Endpoint, sidecar: Endpoint) -> None:
    """Of a re-INVITE that is over, or still on its way: so it gets 481 only when it comes again."""
    theirs, _ = await answered_call(caller, sidecar)
    cancel = theirs.request("CANCEL")
    caller.send(cancel)
    await caller.expect_silence(0.3)
    caller.send(cancel)
    assert (await caller.receive()).status == 481
    await sidecar.expect_silence(0.1)


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO"])
async def test_forged_dialog_gets_481_and_leads_nowhere(caller: Endpoint, method: str) -> None:
    """A Route with our address but without our mark, or with another call's mark, is refused: we are no open relay."""
    async with Endpoint.at(f"{sip.NET}.96", 22080) as victim:
        for mark in ("", ";ci=0123456789abcdef"):
            request = caller.request(
                method,
                f"sip:victim@{victim.host}:{victim.port}",
                To="<sip:x@y>;tag=1",
                Route=f"<sip:{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]};lr=on{mark}>",
            )
            caller.send(request)
            answer = await caller.receive()
            assert answer.status == 481
            if method == "INVITE":
                caller.send(sip.ack_of_failure(request, answer))
        await victim.expect_silence(0.2)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "BYE", "REFER"])
async def test_route_of_an_own_call_leads_to_nobody_else_s9(caller: Endpoint, sidecar: Endpoint, method: str) -> None:
    """During the call and after it; with the call's own tags, and with any To tag."""
    theirs, _ = await answered_call(caller, sidecar)
    async with Endpoint.at(*sip.TRUNK_GATEWAYS[1]) as carrier, Endpoint.at(f"{sip.NET}.96", 22080) as victim:
        for is_over in (False, True):
            if is_over:
                caller.send(theirs.request("BYE"))
                sidecar.send(sip.reply(await sidecar.receive("BYE"), "200 OK"))
                await caller.receive(200)
            for target in (carrier, victim):
                for to in (theirs.remote, "<sip:x@y>;tag=any"):
                    forged = replace(theirs, target=f"sip:+900@{target.host}:{target.port}", remote=to)
                    request = forged.request(method)
                    caller.send(request)
                    answer = await caller.receive()
                    assert answer.status == (405 if method == "MESSAGE" else 403), answer
                    if method == "INVITE":
                        caller.send(sip.ack_of_failure(request, answer))
        await carrier.expect_silence(0.1)
        await victim.expect_silence(0.1)


async def test_stray_ack_is_not_answered(caller: Endpoint, sidecar: Endpoint) -> None:
    caller.send(caller.request("ACK", f"sip:332@{sip.KAMAILIO[0]}", To="<sip:x@y>;tag=1"))
    await caller.expect_silence(0.2)
    assert sidecar.inbox.empty()


async def test_nothing_is_left_after_calls(kamailio: RunningKamailio, caller: Endpoint, sidecar: Endpoint) -> None:
    theirs, _ = await answered_call(caller, sidecar)
    caller.send(theirs.request("BYE"))
    sidecar.send(sip.reply(await sidecar.receive_only("BYE"), "200 OK"))
    await caller.receive(200)
    await kamailio.rpc("dispatcher.ping_active", "0")  # the probes are transactions too
    await kamailio.until("tm.stats", shows=lambda out: "current: 0" in out, timeout_s=20)
