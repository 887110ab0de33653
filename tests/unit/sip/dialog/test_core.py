"""Branches and tags: random, and none twice (RFC 3261 8.1.1.7, 19.3)."""

from __future__ import annotations

import os

from sidecar.sip.dialog.core import HexDigits, new_tag


def test_each_digit_is_given_out_once() -> None:
    digits = HexDigits()
    taken = [digits.take(12) for _ in range(1_000)]
    assert {len(each) for each in taken} == {12}
    assert len(set(taken)) == 1_000
    assert all(int(each, 16) >= 0 for each in taken)


def test_a_forked_process_gives_out_others() -> None:
    new_tag()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, new_tag().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 64).decode()
    os.close(read)
    os.close(write)
    assert len(theirs) == 12
    assert theirs != new_tag()
