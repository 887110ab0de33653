"""Browsers connect by WebSocket (RFC 6455, RFC 7118): the HTTP request that opens one, and what else is sent there."""

from __future__ import annotations

from callinteractive.model import Address, Site
from kemi import ksr
from kemi.refusal_log import RefusalLog

_ELSEWHERE = "browsers connect to an address that sip.listen in site.yaml names ws:"
_FOREIGN = "the web page's origin must be in web_origins in site.yaml"


class WebSockets:
    """Answers the HTTP requests of a worker."""

    def __init__(self, site: Site, refusals: RefusalLog) -> None:
        self._addresses = {listen.address for listen in site.listen if listen.is_websocket}
        self._origins = frozenset(site.web_origins)
        self._refusals = refusals

    def on_http_request(self) -> None:
        """Let a browser in, or say why not. The connection ends then."""
        ksr.close_after_reply()
        if Address(ksr.received_at(), ksr.received_at_port()) not in self._addresses:
            self._refuse(404, "Not Found", _ELSEWHERE)
        elif ksr.method() != "GET" or ksr.header("Upgrade").lower() != "websocket":
            ksr.reply_by_http(426, "Upgrade Required", "Upgrade: websocket\r\n")  # RFC 9110 15.5.22
        elif not self._is_welcome(ksr.header("Origin")):
            self._refuse(403, "Forbidden", _FOREIGN)
        else:
            ksr.open_websocket()

    def _is_welcome(self, origin: str) -> bool:
        """Browsers say which page asks, so that it can't act for its reader elsewhere (RFC 6455 10.2).

        Others need not say it, and could say anything.
        """
        return not self._origins or not origin or origin.lower() in self._origins

    def _refuse(self, code: int, reason: str, advice: str) -> None:
        ksr.reply_by_http(code, reason)
        self._refusals.write(code, reason, advice)
