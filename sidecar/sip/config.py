"""The user agent's settings: the timers of RFC 3261, and what the RFCs leave to us."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UaConfig:
    """Settings of a `UserAgent`; the defaults are the RFCs' own values.

    t1_s, t2_s, t4_s: RFC 3261 table 4; timers A–M derive from them.
    trying_delay_s: when to send 100 to an INVITE that has no other reply yet. 0 sends it as soon as `on_invite` has
        returned without one: Kamailio's dispatcher takes a silent sidecar for dead after 300 ms.
    trying_repeat_s: how often 100 is sent again until another reply is sent. It tells a proxy that waits for the
        answer that we are still there. None: it is sent once, as in RFC 3261.
    timer_c_s: how long a callee may ring without any new provisional reply (RFC 3261 16.6 step 11).
    session_expires_s: session interval that we ask for (RFC 4028). None: we ask for none, but use the peer's.
    min_se_s: shortest session interval that we accept; less is answered 422.
    takes_refer: whether a peer may transfer the other party by REFER (RFC 3515). If not, Allow does not name it.
    """

    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0
    trying_delay_s: float = 0.0
    trying_repeat_s: float | None = None
    timer_c_s: float = 181.0
    session_expires_s: int | None = 1800
    min_se_s: int = 90
    takes_refer: bool = True

    @property
    def timeout_s(self) -> float:
        """64*T1: how long a transaction lives, and how long a 200 waits for its ACK."""
        return 64 * self.t1_s
