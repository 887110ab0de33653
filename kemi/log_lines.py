"""Each line that Kamailio logs goes out as a whole.

All its processes write to one pipe. Kamailio prints to stderr, which has no buffer: since glibc 2.37 a line goes out in
parts of 128 octets, before that of 8192. Then a line may go on in the middle of another's, and what follows begins
somewhere in a text, perhaps a stranger's Call-ID that looks like the beginning of a line (cli/partline.py).
"""

from __future__ import annotations

import ctypes

LONGEST = 64 * 1024
_LINE_BUFFERED = 1
"""`_IOLBF` of glibc."""


def make_whole() -> None:
    """Of this process and those that it forks from now on."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    # Never freed: Kamailio logs until it ends, when Python may be gone.
    buffer = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(LONGEST)))
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stderr"), buffer, _LINE_BUFFERED, ctypes.c_size_t(LONGEST))
