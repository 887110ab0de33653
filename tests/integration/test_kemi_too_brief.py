"""A carrier calls our registration too brief: we register again, for as long as it says (`kemi.too_brief`)."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message
from tests.support.timing import PATIENT_S

SAYS = {"usable": "120", "none": "", "zero": "0", "years": "2147483647", "wraps": "4294967296", "words": "soon"}
"""Its Min-Expires, by the user of our Contact."""
SITE = (
    sip.SITE.partition("trunks:")[0]
    + "trunks:\n"
    + "".join(
        f"  - {{name: {user}, to: 'sip:{sip.TRUNK_GATEWAYS[0][0]}:22080', username: {user}, password: secret,"
        f" register: {{expires: 60, contact_user: {user}, number: '1{number}'}}}}\n"
        for number, user in enumerate(SAYS)
    )
    + f"sidecars: {{count: 2, host: {sip.SIDECAR}, base_port: 22070}}\n"
)


class Carrier(Endpoint):
    """Answers each REGISTER with 423. `asked`: for how long they asked, by the user of the Contact."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, list[str]] = {user: [] for user in SAYS}

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        message = Message.parse(data)
        if message.method != "REGISTER":
            super().datagram_received(data, addr)
            return
        user = re.findall("sip:(.*)@", message.get("Contact"))[0]
        self.asked[user].append(message.get("Expires"))
        says = {"Min_Expires": SAYS[user]} if SAYS[user] else {}
        self.send(sip.reply(message, "423 Interval Too Brief", tag="r", **says))


@pytest.mark.asyncio
async def test_we_register_again(tmp_path: Path) -> None:
    async with Carrier.at(*sip.TRUNK_GATEWAYS[0]) as carrier, sip.running_kamailio(tmp_path, SITE):
        async with asyncio.timeout(4 * PATIENT_S):
            while any(len(asked) < 2 for asked in carrier.asked.values()):
                await asyncio.sleep(0.1)
        second = {user: asked[1] for user, asked in carrier.asked.items()}
        assert second == {user: "120" if user == "usable" else "3600" for user in SAYS}
