"""How much of the memory that Kamailio's processes share is left: the last of it is for calls that have begun.

tm copies an INVITE before it runs a failure route. Where there is no memory for the copy, it runs none: the caller gets
a sidecar's 302, or a callee's refusal, as it came. Its script never goes on, and nobody hears how the call ended. So
new calls are refused while there is still some: those that take much, sooner. A long INVITE is copied for each branch,
and all calls may be refused at once by whom they ring.

Kamailio tells scripts how much is left, but only in 32 bits, and as it was up to a second ago: in a second a thousand
calls take 40 MB. So its allocator is asked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from kemi import ksr
from kemi.refusal import NO_MEMORY, NoMemory

SHARE = 8
"""The last eighth."""
LONG, SHARE_OF_LONG = 1_500, 3
"""Octets of an INVITE, and the last third."""
_ASKED = {b"tlsf_malloc": "tlsf_available", b"q_malloc": "qm_available", b"f_malloc": "fm_available"}
"""By the allocator's name. We start Kamailio with the first (cli/kamailio.py)."""


class _Root(ctypes.Structure):
    """How Kamailio's `sr_shm_api_t` begins."""

    _fields_ = (("name", ctypes.c_char_p), ("pool", ctypes.c_void_p), ("block", ctypes.c_void_p))


def _left_beside() -> tuple[Callable[[], int], int]:
    """What tells the octets that are free beside the last `SHARE`, and how many of them no long INVITE gets.

    Outside Kamailio there are always some.
    """
    program = ctypes.PyDLL(None)
    try:
        root = _Root.in_dll(program, "_shm_root")
        size = ctypes.c_ulong.in_dll(program, "shm_mem_size").value
        available = program[_ASKED[root.name]]
    except (ValueError, AttributeError, KeyError):
        return lambda: 1, 0
    available.restype = ctypes.c_long  # below zero where it has used more than it counts
    block = ctypes.c_void_p(root.block)
    kept = size // SHARE
    return lambda: available(block) - kept, size // SHARE_OF_LONG - kept


left, not_for_long = _left_beside()


def check() -> None:
    """A new call. Raises NoMemory."""
    free = left()
    if free < not_for_long and (free < 0 or ksr.length() > LONG):
        raise NoMemory


def advice() -> str:
    """What an operator reads where something could not be sent."""
    return NO_MEMORY if left() < 0 else ""
