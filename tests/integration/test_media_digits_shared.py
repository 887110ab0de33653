"""One RTPengine, one DTMF port, several sidecars: each gets the digits of its own calls, and no others."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sidecar.media.call_media import CallMedia
from sidecar.media.dtmf import DigitEvent, DtmfReceiver, open_dtmf_sockets
from sidecar.media.rtpengine import NgClient
from tests.integration.media_support import ENGINE, PHONES
from tests.support.rtp import RtpEndpoint
from tests.support.rtpengine import RunningRtpEngine

SIDECARS = 3


class Sidecar:
    """What one sidecar process has: a receiver of its own, and calls named by its index."""

    def __init__(self, index: int, receiver: DtmfReceiver, ng: NgClient, phone: RtpEndpoint) -> None:
        self.media = CallMedia(ng, f"{index}call")
        self.receiver = receiver
        self.phone = phone
        self.digits = ""
        receiver.open()
        receiver.subscribe(self.media.media_id, self._on_digit)

    def _on_digit(self, digit: DigitEvent) -> None:
        self.digits += digit.digit


async def test_digits_find_their_sidecar(tmp_path: Path) -> None:
    sockets = open_dtmf_sockets(ENGINE.ng.host, ENGINE.dtmf_port, SIDECARS)
    async with RunningRtpEngine(ENGINE, tmp_path):
        ng = NgClient(*ENGINE.ng)
        await ng.open()
        sidecars = [
            Sidecar(index, DtmfReceiver(receiving), ng, await RtpEndpoint(PHONES).__aenter__())
            for index, receiving in enumerate(sockets)
        ]
        for sidecar in sidecars:
            sidecar.phone.send_to(await sidecar.media.answer(sidecar.phone.sdp()))
        digits = ["012345", "6789*#", "*#*#77"]
        sending = (sidecar.phone.send_digits(each) for sidecar, each in zip(sidecars, digits, strict=True))
        await asyncio.gather(*sending)
        await asyncio.sleep(0.1)
        assert [sidecar.digits for sidecar in sidecars] == digits
        assert [sidecar.receiver.ignored for sidecar in sidecars] == [0] * SIDECARS
        for sidecar in sidecars:
            await sidecar.phone.__aexit__(None, None, None)
            await sidecar.media.delete()
            sidecar.receiver.close()
        ng.close()
