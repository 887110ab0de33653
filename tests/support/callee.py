"""A person who is called: SIPp for the signalling, an RtpEndpoint for the sound.

async with Callee(stack.net.sip, (stack.net.phone, stack.net.phone_port)) as callee:
    ...                                # somebody transfers a call to it
    await callee.rings()
    await callee.picks_up()
    await callee.sound.hear_tone(440)
    await callee.hangs_up()            # or: await callee.hung_up()
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from tests.support.rtp import RtpEndpoint
from tests.support.sipp import SipMessage, Sipp
from tests.support.stack import until
from tests.support.timing import PATIENT_S

BUSY = "486 Busy Here"
"""The status that callee-refuses.xml sends."""


class Callee:
    """A phone at a fixed address. `scenario` is one of sipp-scenarios/callee*.xml: it says what the phone does."""

    def __init__(
        self,
        target: tuple[str, int],
        address: tuple[str, int],
        scenario: str = "callee",
        *,
        status: str = "",
        sound: RtpEndpoint | None = None,
        sdp: str | None = None,
        arguments: tuple[str, ...] = (),
        replace: Mapping[str, str] | None = None,
    ) -> None:
        """`target` is the stack's SIP address. `status` replaces `BUSY` in a scenario that refuses. `sdp` replaces
        the SDP of `sound`."""
        self.sound = sound or RtpEndpoint(address[0])
        self.sipp = Sipp(
            scenario,
            local=address[0],
            port=address[1],
            target=target,
            service="callee",
            sdp=self.sound.sdp() if sdp is None else sdp,
            arguments=arguments,
            replace={**({BUSY: status} if status else {}), **(replace or {})},
        )
        self._call_id = ""
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Callee:
        """Return when the phone can be called."""
        await self._resources.enter_async_context(self.sound)
        await self._resources.enter_async_context(self.sipp)
        await until(lambda: _is_bound(self.sipp.local), PATIENT_S, f"SIPp at {self.sipp.local}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.__aexit__(kind, error, trace)

    async def rings(self, within_s: float = PATIENT_S, nth: int = 1) -> SipMessage:
        """Wait for the `nth` INVITE. From then on the phone sends its sound to the address in it."""
        invite = await self.sipp.wait_for("INVITE", within_s, nth)
        self._call_id = invite.header("Call-ID")
        self.sound.send_to(invite.body)
        return invite

    async def picks_up(self) -> SipMessage:
        """Answer; returns the ACK."""
        self.nudge()
        return await self.sipp.wait_for("ACK")

    def nudge(self) -> None:
        """Let the scenario take its next step."""
        self.sipp.nudge(self._call_id)

    async def stops_ringing(self, within_s: float = PATIENT_S) -> SipMessage:
        """Wait for the CANCEL, and until the phone has answered it; returns it."""
        cancel = await self.sipp.wait_for("CANCEL", within_s)
        await self.sipp.finished()
        return cancel

    async def hung_up(self, within_s: float = PATIENT_S) -> SipMessage:
        """Wait until the other side has hung up; returns its BYE."""
        bye = await self.sipp.wait_for("BYE", within_s)
        await self.sipp.finished()
        return bye

    async def hangs_up(self) -> None:
        """Put the receiver down; the BYE must be answered."""
        self.nudge()
        await self.sipp.finished()


def _is_bound(address: tuple[str, int]) -> bool:
    host, port = address
    wanted = "".join(f"{int(octet):02X}" for octet in reversed(host.split("."))) + f":{port:04X}"
    return any(line.split()[1] == wanted for line in Path("/proc/net/udp").read_text().splitlines()[1:])
