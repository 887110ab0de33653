"""CPU of the sans-IO core per answered call (INVITE, 200, ACK, BYE, 200).

python -m tests.unit.sip.measure [profile]
"""

import cProfile
import gc
import sys
import time

from sidecar.sip import Address, IncomingInvite, UaConfig, UasLeg, UserAgent
from tests.unit.sip.world import LOCAL, OUR_SDP, PROXY, Caller, World

CALLS = 20_000


class Sink:
    """A wire that keeps the last datagram; its clock runs at 1000 calls a second, so that old transactions end."""

    def __init__(self) -> None:
        self.time = 0.0
        self.last = b""

    def now(self) -> float:
        return self.time

    def send(self, data: bytes, destination: Address) -> None:  # noqa: ARG002
        self.last = data

    def wake_at(self, when: float) -> None:
        """The measurement ticks by itself."""


def answer(leg: UasLeg, _invite: IncomingInvite) -> None:
    leg.answer(OUR_SDP)


def scripts(calls: int) -> list[tuple[bytes, bytes, bytes]]:
    """INVITE, ACK and BYE of each call, as they come from a record-routing proxy; TAG stands for the To tag."""
    made = []
    for _ in range(calls):
        caller = Caller(World(), ["<sip:127.10.0.2;lr;ftag=x>"])
        invite = caller.request("INVITE", sdp=OUR_SDP, headers=[("Supported", "timer"), ("User-Agent", "measure")])
        caller.to_tag = "TAG"
        made.append((invite, caller.request("ACK", cseq=1), caller.request("BYE")))
    return made


def run(made: list[tuple[bytes, bytes, bytes]]) -> UserAgent:
    wire = Sink()
    agent = UserAgent(LOCAL, answer, UaConfig(), wire)
    for invite, ack, bye in made:
        wire.time += 0.001
        agent.tick()
        agent.receive(invite, PROXY)
        tag = wire.last.partition(b"\r\nTo: <sip:332@example.org>;tag=")[2].partition(b"\r\n")[0]
        agent.receive(ack.replace(b"TAG", tag), PROXY)
        agent.receive(bye.replace(b"TAG", tag), PROXY)
    wire.time += 100
    agent.tick()
    return agent


def main() -> None:
    made = scripts(CALLS)
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    if "profile" in sys.argv:
        cProfile.runctx("run(made)", globals(), {"made": made}, sort="tottime")
        return
    spent = []
    for start in range(0, CALLS, CALLS // 10):
        before = time.process_time()
        agent = run(made[start : start + CALLS // 10])
        spent.append((time.process_time() - before) * 1000 / (CALLS // 10))
    print(f"{min(spent):.3f} to {max(spent):.3f} ms a call, median {sorted(spent)[5]:.3f}; left: {agent.counters}")


if __name__ == "__main__":
    main()
