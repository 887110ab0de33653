"""A person on a phone: SIPp for the signalling, an RtpEndpoint for the sound.

async with Phone(stack.net, "000*100", caller="+15550123") as phone:
    await phone.answered()
    await phone.sound.hear_tone(440)
    await phone.sound.send_digits("1")
    await phone.hung_up()          # by the IVR; or: await phone.hang_up()
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType

from tests.support.rtp import RtpEndpoint
from tests.support.sipp import SipMessage, Sipp
from tests.support.timing import PATIENT_S


class Phone:
    """One call. Signalling and sound come from the address `host`, which tells the stack who calls."""

    def __init__(
        self,
        target: tuple[str, int],
        called: str,
        *,
        host: str,
        caller: str,
        name: str = "",
        sound: RtpEndpoint | None = None,
        codecs: tuple[str, ...] = (),
        scenario: str = "caller",
        arguments: tuple[str, ...] = (),
        sdp: str | None = None,
        replace: Mapping[str, str] | None = None,
    ) -> None:
        self.sound = sound or RtpEndpoint(host)
        shown = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '" ' if name else ""
        self.sipp = Sipp(
            scenario,
            local=host,
            target=target,
            service=called,
            from_=f"{shown}<sip:{caller}@{host}>",
            sdp=self.sound.sdp(codecs=codecs or None) if sdp is None else sdp,
            arguments=arguments,
            replace=replace,
        )
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Phone:
        await self._resources.enter_async_context(self.sound)
        await self._resources.enter_async_context(self.sipp)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.__aexit__(kind, error, trace)

    async def answered(self, within_s: float = PATIENT_S) -> SipMessage:
        """Wait for the 200. From then on the phone sends its sound to the address in it."""
        answer = await self.sipp.wait_for(200, within_s)
        self.sound.send_to(answer.body)
        return answer

    async def hung_up(self, within_s: float = PATIENT_S) -> SipMessage:
        """Wait until the IVR has hung up and the phone has answered its BYE; returns the BYE."""
        bye = await self.sipp.wait_for("BYE", within_s)
        await self.sipp.finished()
        return bye

    async def hang_up(self) -> None:
        """Put the receiver down; the BYE must be answered."""
        self.sipp.nudge()
        await self.sipp.finished()
