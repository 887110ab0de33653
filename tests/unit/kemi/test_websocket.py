"""Which HTTP requests open a WebSocket, and what the others are told."""

from __future__ import annotations

import pytest

from callinteractive.config import load_site
from kemi.refusal_log import RefusalLog
from kemi.websocket import WebSockets
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.test_ingress import SITE

PORT = 8080


def ask(
    ksr: FakeKsr,
    *,
    method: str = "GET",
    upgrade: str = "websocket",
    origin: str = "",
    port: int = PORT,
    origins: str = "",
) -> list[int]:
    """Send a request; returns the codes that refuse it."""
    listen = 'listen: ["ws:127.0.0.1:8080", '
    site = load_site(SITE.replace("listen: [", listen) + f"web_origins: [{origins}]\n", "site.yaml")
    ksr.message(method)
    ksr.results |= {"kx.get_rcvip": "127.0.0.1", "kx.get_rcvport": port}
    ksr.headers |= {"Upgrade": upgrade, "Origin": origin}
    WebSockets(site, RefusalLog()).on_http_request()
    assert len(ksr.called("set_reply_close")) == 1
    return [arguments[0] for arguments in ksr.called("xhttp.xhttp_reply")]


def is_let_in(ksr: FakeKsr) -> bool:
    return bool(ksr.called("websocket.handle_handshake"))


def test_a_browser_is_let_in(ksr: FakeKsr) -> None:
    assert ask(ksr, upgrade="WebSocket", origin="https://anywhere.example") == []
    assert is_let_in(ksr)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"port": 5060}, 404),
        ({"upgrade": ""}, 426),
        ({"upgrade": "h2c"}, 426),
        ({"method": "POST"}, 426),
    ],
)
def test_other_requests(ksr: FakeKsr, request_: dict[str, object], code: int) -> None:
    assert ask(ksr, **request_) == [code]  # type: ignore[arg-type]
    assert not is_let_in(ksr)


@pytest.mark.parametrize(
    ("origin", "is_welcome"),
    [
        ("https://www.example.com", True),
        ("HTTPS://WWW.example.com", True),
        ("", True),  # no browser, which could say anything
        ("https://evil.example", False),
        ("https://www.example.com.evil.example", False),
        ("null", False),
    ],
)
def test_pages_of_other_origins_are_refused(ksr: FakeKsr, origin: str, is_welcome: bool) -> None:
    assert ask(ksr, origin=origin, origins='"https://www.example.com"') == ([] if is_welcome else [403])
    assert is_let_in(ksr) is is_welcome
