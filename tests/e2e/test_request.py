"""What the web application gets (R1-R3), in real calls from a carrier and from an extension."""

from __future__ import annotations

import re

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import DID, SCRIPTED_GET, SCRIPTED_POST
from tests.support.webapp import FakeWebApp, actions

NODE = "3584705175"


def parameters_of_every_call(call_id: str) -> dict[str, str]:
    return {
        "EventType": "call_interactive",
        "CallID": call_id,
        "CallAPIID": f"{NODE}:{call_id}",
        "CallStatus": "ANSWER",
        "CallFlow": "IN",
    }


@pytest.mark.parametrize(("method", "number", "ivr_id"), [("GET", SCRIPTED_GET, "200"), ("POST", SCRIPTED_POST, "201")])
async def test_external_caller_dials_the_extended_number(
    call: PlaceCall, web: FakeWebApp, caller: str, method: str, number: str, ivr_id: str
) -> None:
    web.on(caller, actions("<Hangup/>"))
    async with call(number, name='Anna "Anka" Иванова') as phone:
        request = await web.request(caller)
        await phone.hung_up()
    assert request.method == method
    call_id = request.parameters["CallID"]
    assert re.fullmatch(r"[0-9a-f]{32}", call_id)
    told = dict(request.parameters)
    assert told.pop("own", "a b") == "a b"
    assert told == parameters_of_every_call(call_id) | {
        "CallerIDNum": caller,
        "CallerIDName": 'Anna "Anka" Иванова',
        "CalledNumber": number,
        "CalledExtension": number,
        "CalledExtensionID": ivr_id,
    }


@pytest.mark.parametrize("number", [SCRIPTED_GET, SCRIPTED_POST])
async def test_internal_caller_is_named(call: PlaceCall, web: FakeWebApp, number: str) -> None:
    web.on("306", actions("<Hangup/>"))
    seen = len(web.requests["306"])
    async with call(number, is_internal=True) as phone:
        request = await web.request("306", nth=seen + 1)
        await phone.hung_up()
    assert request.parameters["CallerExtension"] == "000*306"
    assert request.parameters["CallerExtensionID"] == "134"
    assert "CalledDID" not in request.parameters


async def test_external_number_is_told_as_dialled(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions("<Hangup/>"))
    async with call(DID) as phone:
        request = await web.request(caller)
        await phone.hung_up()
    assert request.parameters["CalledDID"] == DID
    assert request.parameters["CalledNumber"] == DID
    assert request.parameters["CalledExtension"] == SCRIPTED_GET
    assert "CallerExtension" not in request.parameters


async def test_short_number_of_an_extension_stays_short_in_called_number(call: PlaceCall, web: FakeWebApp) -> None:
    web.on("306", actions("<Hangup/>"))
    seen = len(web.requests["306"])
    async with call("100", is_internal=True) as phone:
        request = await web.request("306", nth=seen + 1)
        await phone.hung_up()
    assert request.parameters["CalledNumber"] == "100"
    assert request.parameters["CalledExtension"] == SCRIPTED_GET


async def test_get_keeps_the_urls_own_query_and_encodes_as_the_source_does(
    call: PlaceCall, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        request = await web.request(caller)
        await phone.hung_up()
    assert request.raw_path.startswith("/get?own=a%20b&EventType=call_interactive&")
    assert "CalledExtension=000%2A100" in request.raw_path
    assert f"CallAPIID={NODE}%3A" in request.raw_path
    assert "CallerIDNum=%2B1555" in request.raw_path
    assert request.body == b""


async def test_post_puts_parameters_into_a_form_and_leaves_the_url_alone(
    call: PlaceCall, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, actions("<Hangup/>"))
    async with call(SCRIPTED_POST) as phone:
        request = await web.request(caller)
        await phone.hung_up()
    assert request.raw_path == "/post?own=a%20b&lang="
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert b"CalledExtension=000%2A101" in request.body


async def test_ids_stay_for_a_call_and_differ_between_calls(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions('<Jump context="post"/>'), actions("<Hangup/>"))
    for _ in range(2):
        web.on(caller, actions('<Jump context="post"/>'), actions("<Hangup/>"))
        async with call(SCRIPTED_GET) as phone:
            await phone.hung_up()
    first, jumped, second, _ = [request.parameters["CallID"] for request in web.requests[caller]]
    assert first == jumped
    assert first != second
