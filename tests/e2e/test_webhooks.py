"""Signed webhooks that are tried again, the fallback, and what the caller hears meanwhile (W1, W2, R7, R8)."""

from __future__ import annotations

from callinteractive.webhook_signature import key_of, sign
from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import GUARDED, MENU_HZ, NEXT_RULE_HZ
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, Reply

SECRET = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
API_KEY = "known-to-both-only"


async def test_a_bad_day_of_a_web_application(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    since = len(stack.log)
    web.on(caller, Reply(status=503), Reply(status=503), Reply(delay_s=3))
    async with call(GUARDED) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ, within_s=10)  # the wait_sound, while the fallback thinks
        await phone.sound.hear_tone(NEXT_RULE_HZ, within_s=10)
        await phone.hung_up()
    first, second, fallback = web.requests[caller]
    assert [request.path for request in (first, second, fallback)] == ["/guarded", "/guarded", "/backup"]
    assert first.body == second.body
    assert (fallback.form["ErrorCode"], fallback.form["ErrorUrl"]) == ("503", f"{web.url}/guarded?lang=$lang")
    for request in (first, second, fallback):
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert headers["webhook-id"] == f"{first.form['CallID']}-1"
        expected = sign([key_of(SECRET)], headers["webhook-id"], int(headers["webhook-timestamp"]), request.body)
        assert headers["webhook-signature"] == expected["webhook-signature"]
        assert headers["x-api-key"] == API_KEY
    await stack.logged(since=since, event="webhook_fallback", outcome="status", reason="HTTP status 503")
    assert not [line for line in stack.log[since:] if API_KEY in str(line) or SECRET in str(line)]
