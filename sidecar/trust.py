"""Whom a sidecar believes. SIP is taken from Kamailio's addresses only, and a new call only with its signature.

Without both, whoever reaches the sidecar's port could name any script, URL and number to call.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from callinteractive.errors import HeaderError
from callinteractive.keys import VARIABLE
from callinteractive.model import Address, Listen
from callinteractive.signature import SIGNED, WINDOW_S, SignatureHeader
from sidecar import sip

LOG = structlog.get_logger()
TOLD_AT_ONCE = 10
TOLD_EVERY_S = 5.0
"""A stranger can cause so many log lines in a row; from then on one in this time, which counts those left out."""
_ANY = ("0.0.0.0", "::")


class Refusals:
    """Log lines about refused requests, as many as a stranger may cause."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._allowed = float(TOLD_AT_ONCE)
        self._since = clock()
        self._left_out = 0

    def tell(self, code: int, request: sip.Request, reason: str, change: str) -> None:
        """Log one refusal: who sent it, which number it asks for, why it is refused and what to change."""
        now = self._clock()
        self._allowed = min(TOLD_AT_ONCE, self._allowed + (now - self._since) / TOLD_EVERY_S)
        self._since = now
        if self._allowed < 1:
            self._left_out += 1
            return
        self._allowed -= 1
        more = {"not_logged": self._left_out} if self._left_out else {}
        self._left_out = 0
        LOG.warning(
            "refused", code=code, method=request.method, source=str(request.source), number=request.uri[:128],
            reason=reason, change=change, **more,
        )  # fmt: skip


class Trust:
    """Asked by the user agent about every message (`sip.Guard`)."""

    def __init__(self, listens: Iterable[Listen], key: bytes, refusals: Refusals) -> None:
        """`listens`: where this site's Kamailio listens, and therefore sends from. `key`: `keys.SIGNATURES`."""
        self._key = key
        self._refusals = refusals
        self._sources = {address for listen in listens if listen.transport == "udp" for address in _addresses(listen)}
        self._ports = {listen.port for listen in listens if listen.transport == "udp" and listen.host in _ANY}
        """Where Kamailio listens on all addresses, it may send from any: then the signature alone decides."""

    def takes_from(self, source: Address) -> bool:
        return source in self._sources or source.port in self._ports

    def takes(self, request: sip.Request) -> bool:
        """Whether to act on it. A refusal is logged."""
        if not self.takes_from(request.source):
            # A health check asks from anywhere, and learns nothing that a port scan does not tell.
            if request.method == "OPTIONS" and request.to.tag is None:
                return True
            self._refusals.tell(
                403, request, "not from our Kamailio",
                "sip.listen in site.yaml must be the addresses that Kamailio sends from; nobody else may send here",
            )  # fmt: skip
            return False
        if request.method != "INVITE" or request.to.tag is not None:
            return True
        reason = self._mistrust(request)
        if reason is None:
            return True
        self._refusals.tell(403, request, reason, f"give Kamailio and the sidecars the same {VARIABLE}")
        return False

    def _mistrust(self, invite: sip.Request) -> str | None:
        """What is wrong with the signature over the private headers of a new call."""
        text = invite.header(SignatureHeader.NAME)
        if text is None:
            return f"no {SignatureHeader.NAME} header: it does not come from Kamailio"
        values = {name: invite.header(name) or "" for name in SIGNED}
        try:
            signature = SignatureHeader.parse(text)
        except HeaderError as error:
            return str(error)
        now = time.time()
        if signature.is_valid(self._key, now, invite.call_id, values):
            return None
        if abs(now - signature.time_s) > WINDOW_S:
            return f"{SignatureHeader.NAME} has expired, or the clocks of two hosts are more than {WINDOW_S} s apart"
        return f"{SignatureHeader.NAME} is wrong: forged, or made with another key"


def _addresses(listen: Listen) -> set[Address]:
    """A name counts as all its addresses now."""
    found = {listen.address}
    with suppress(OSError):
        for *_, address in socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_DGRAM):
            found.add(Address(str(address[0]), int(address[1])))
    return found
