"""How much of the memory that Kamailio's processes share is left: the last of it is for calls that have begun.

tm copies an INVITE before it runs a failure route. Where there is no memory for the copy, it runs none: the caller gets
a sidecar's 302, or a callee's refusal, as it came. Its script never goes on, and nobody hears how the call ended. So
new calls are refused while there is still some.

Kamailio tells scripts how much is left, but only in 32 bits, and as it was up to a second ago: in a second a thousand
calls take 40 MB. So its allocator is asked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from kemi.refusal import NO_MEMORY, NoMemory

SHARE = 8
"""The last eighth."""
_ASKED = {b"tlsf_malloc": "tlsf_available", b"q_malloc": "qm_available", b"f_malloc": "fm_available"}
"""By the allocator's name. We start Kamailio with the first (cli/kamailio.py)."""


class _Root(ctypes.Structure):
    """How Kamailio's `sr_shm_api_t` begins."""

    _fields_ = (("name", ctypes.c_char_p), ("pool", ctypes.c_void_p), ("block", ctypes.c_void_p))


def _left_beside() -> Callable[[], int]:
    """What tells the octets that are free beside the last `SHARE`. Outside Kamailio there are always some."""
    program = ctypes.PyDLL(None)
    try:
        root = _Root.in_dll(program, "_shm_root")
        kept = ctypes.c_ulong.in_dll(program, "shm_mem_size").value // SHARE
        available = program[_ASKED[root.name]]
    except (ValueError, AttributeError, KeyError):
        return lambda: 1
    available.restype = ctypes.c_long  # below zero where it has used more than it counts
    block = ctypes.c_void_p(root.block)
    return lambda: available(block) - kept


left: Callable[[], int] = _left_beside()


def check() -> None:
    """A new call. Raises NoMemory."""
    if left() < 0:
        raise NoMemory


def advice() -> str:
    """What an operator reads where something could not be sent."""
    return NO_MEMORY if left() < 0 else ""
