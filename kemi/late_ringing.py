"""A phone begins to ring just as its call is answered elsewhere, or as the caller gives up.

It must get a CANCEL, as all who ring (RFC 3261 16.7 step 10; 16.10). tm decides for each branch: a CANCEL if the branch
has sent a 1xx (9.1), else none until one comes. It decides after it has passed on the answer, without its lock. So at
that moment another worker may have the 1xx in our route. While the route runs, tm counts the 1xx as received. After an
answer it forgets the 1xx when the route ends (`t_should_relay_response` in tm's t_reply.c, 5.6 and 6.0). If it decides
only then, the phone rings on.

So we stay in the route until tm has decided. A branch comes here once: tm has marked it by then, and handles each
further 1xx before our route.

What is left: the machine stops tm's worker for longer than we wait. Or the caller gives up, or a phone refuses for all
(6xx), in the microsecond between the end of our route and tm's note of the 1xx: only tm could close that. The phone
then rings until its next 1xx, if tm still has the call (5 s after an answer), or the end of its time.
"""

from __future__ import annotations

import time

from kemi import ksr

DECIDES_S = 0.01
"""The time that tm gets: a few time slices of Linux (3 ms each), for which others may stop its worker."""


def stop() -> None:
    """Route of a 1xx, after an answer or the caller's CANCEL: this phone, too, gets a CANCEL."""
    if ksr.status_of_branch() >= 200:
        return  # its 1xx comes behind its own answer or refusal
    ksr.cancel_branches()  # if tm has decided already
    time.sleep(DECIDES_S)
    ksr.cancel_branches()
