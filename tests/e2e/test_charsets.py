"""What web applications send as XML in practice: charsets and declarations that contradict each other (R9)."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import SCRIPTED_GET
from tests.support.webapp import FakeWebApp, Reply, actions

SET = '<Response><SetVar name="lang">Jürgen</SetVar></Response>'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (f'<?xml version="1.0" encoding="utf-16"?>{SET}'.encode(), "text/xml; charset=utf-8"),
        (f'\n<?xml version="1.0" encoding="utf-8"?>{SET}'.encode(), "text/xml"),
        (f'<?xml version="1.0"?>{SET}'.encode("latin-1"), 'text/xml; charset="ISO-8859-1"'),
        (SET.encode("utf-16"), "application/xml"),
    ],
)
async def test_P19_P20_an_answer_is_read_in_its_charset(
    call: PlaceCall, web: FakeWebApp, caller: str, body: bytes, content_type: str
) -> None:
    web.on(caller, Reply(body, headers={"Content-Type": content_type}), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["lang"] == "Jürgen"
