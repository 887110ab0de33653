"""Whom a sidecar believes. SIP is taken from Kamailio's addresses only, and a new call only with its signature.

Without both, whoever reaches the sidecar's port could name any script, URL and number to call.
"""

from __future__ import annotations

import time

from callinteractive.errors import HeaderError
from callinteractive.keys import VARIABLE
from callinteractive.signature import SIGNED, WINDOW_S, SignatureHeader
from sidecar import sip
from sidecar.edges import Edges

_SIGNED = tuple((name, name.lower()) for name in SIGNED)


class Trust:
    """Asked by the user agent about every message (`sip.Guard`)."""

    def __init__(self, edges: Edges, key: bytes, refusals: sip.RefusalLog) -> None:
        """`edges`: where this site's Kamailios listen, and therefore send from. `key`: `keys.SIGNATURES`."""
        self._key = key
        self._refusals = refusals
        self.takes_from = edges.knows
        self.leads_to = edges.is_way

    def takes(self, request: sip.Request) -> bool:
        """Whether to act on it. A refusal is logged."""
        if not self.takes_from(request.source):
            # A health check asks from anywhere, and learns nothing that a port scan does not tell.
            if request.method == "OPTIONS" and request.to.tag is None:
                return True
            self._refusals.note(
                request, 403, "not from our Kamailio",
                "the listen addresses in site.yaml must be those that Kamailio sends from; nobody else may send here",
            )  # fmt: skip
            return False
        if request.method != "INVITE" or request.to.tag is not None:
            return True
        reason = self._mistrust(request)
        if reason is None:
            return True
        self._refusals.note(request, 403, reason, f"give Kamailio and the sidecars the same {VARIABLE}")
        return False

    def _mistrust(self, invite: sip.Request) -> str | None:
        """What is wrong with the signature over the private headers of a new call."""
        text = invite.header(SignatureHeader.NAME)
        if text is None:
            return f"no {SignatureHeader.NAME} header: it does not come from Kamailio"
        index = invite.index
        values = {name: index.get(key, "") for name, key in _SIGNED}
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
