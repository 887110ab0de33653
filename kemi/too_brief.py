"""A carrier's 423 to our REGISTER: the next one asks for as many seconds as it says (RFC 3261 10.2.8).

Kamailio's uac takes any number, and doubles its own where there is none: then 26 replies make 0. What shall live for 0
seconds it never registers again, whatever the carrier says later, and what shall live for years only after years.
"""

from __future__ import annotations

from kemi import ksr

INTERVAL_TOO_BRIEF = 423
_MOST_S, _MOST_DIGITS = 24 * 3600, 10
_USUAL_S = 3600
"""Asked for where the carrier names no usable time."""


def mend() -> None:
    """In the reply route, of a 423."""
    if ksr.method() != "REGISTER":
        return
    said = ksr.header("Min-Expires")
    if not (said.isascii() and said.isdigit() and len(said) <= _MOST_DIGITS and 0 < int(said) <= _MOST_S):
        ksr.replace_header("Min-Expires", str(_USUAL_S))
        ksr.apply_changes()
