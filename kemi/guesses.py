"""Whoever guesses passwords is slowed down, without locking out the owner of the account.

Only an answer to a nonce of ours counts, and a nonce is good for the address it was given to (kamailio.cfg). So nobody
can use up another's tries by a forged source. Three things are counted, each for an hour after its last wrong password:
- a source at an account: after `PAIR_FREE` wrong passwords each further one doubles the time in which nothing is taken;
- a source at all accounts, in the same way after `SOURCE_FREE`;
- an account at all sources: after `ACCOUNT_FREE` a source that has not proved itself has one try, not `PAIR_FREE`.
A source that has proved to know the account's password is judged by the first only. While Kamailio has no memory to
count in, it is the only one whose passwords are taken.
"""

from __future__ import annotations

import time
from typing import Final

from kemi import ksr
from kemi.contacts import address_of
from kemi.edges import REALM
from kemi.ksr import Proof
from kemi.refusal import Answered, NoMemory, Refused

PAIR_FREE, SOURCE_FREE, ACCOUNT_FREE = 5, 20, 100
FIRST_LOCK_S, LONGEST_LOCK_S = 4, 900
BLIND_S = 4.0
"""How long this worker takes no passwords of others after a wrong one that could not be counted."""
PROVED_S = 3600
_COUNTS, _LOCKS, _PROVED = "guesses", "locks", "proved"
_LONGEST_ACCOUNT = 40


class Guesses:
    """The wrong passwords of one source at one account. `account` may be anything that a stranger wrote."""

    def __init__(self, source: str, account: str) -> None:
        self._source, self._account = source, account[:_LONGEST_ACCOUNT]
        network = _network_of(source)
        self._by_source = f"source {network}"
        self._by_account = f"account {self._account}"
        self._by_pair = f"pair {network} {self._account}"
        self._proved = f"{network} {self._account}"

    def check(self) -> None:
        """Raises Refused while nothing is taken from the source."""
        now = int(time.time())
        until = ksr.count_of(_LOCKS, self._by_pair)
        if not _is_proved(self._proved):
            until = max(until, ksr.count_of(_LOCKS, self._by_source))
            if time.monotonic() < _blind.until_s:
                raise NoMemory
        if until > now:
            # Not 403: phones give up at that, and the owner may be behind the same NAT as the one who guesses.
            advice = "if it is a phone of yours, correct its user name or password"
            raise Refused(503, "Too Many Wrong Passwords", f"Retry-After: {until - now}\r\n", advice)

    def challenge(self, proof: Proof) -> Answered:
        """Ask for a password: the credentials at hand are worth no more than `proof`. Returns what to raise then.

        A wrong password is counted, and the log tells of it.
        """
        if proof is Proof.WRONG:
            self.on_wrong()
        ksr.challenge(REALM, proof)
        if proof is not Proof.WRONG:
            return Answered()
        code = 401 if ksr.method() == "REGISTER" else 407  # RFC 3261 22.1
        return Answered(code, f"Wrong Password for {self._account!r}")

    def on_wrong(self) -> None:
        """A wrong password."""
        of_account, of_pair, of_source = (
            ksr.count_up(_COUNTS, each) for each in (self._by_account, self._by_pair, self._by_source)
        )
        if min(of_account, of_pair, of_source) <= 0:
            _blind.until_s = time.monotonic() + BLIND_S
        free = PAIR_FREE
        if of_account > ACCOUNT_FREE and not _is_proved(self._proved):
            free = 1
        self._lock(self._by_pair, of_pair, free)
        self._lock(self._by_source, of_source, SOURCE_FREE)

    def on_good(self) -> None:
        """The right password."""
        until = int(time.time()) + PROVED_S
        ksr.set_count(_PROVED, self._proved, until)
        ksr.set_count(_PROVED, _proved_any(self._source), until)
        ksr.forget_count(_COUNTS, self._by_pair)

    def _lock(self, key: str, count: int, free: int) -> None:
        if count < free:
            return
        lock_s = min(FIRST_LOCK_S << min(count - free, 16), LONGEST_LOCK_S)
        if not ksr.set_count(_LOCKS, key, int(time.time()) + lock_s):
            _blind.until_s = time.monotonic() + BLIND_S
        ksr.log_warning(
            f"{count} wrong passwords from {self._source}, the last for {self._account!r}: nothing more is taken for"
            f" {lock_s} s by {key!r}; if it is a phone of yours, correct its user name or password"
        )


class _Blind:
    """Until when this worker takes no passwords, since it had no memory to count in."""

    def __init__(self) -> None:
        self.until_s = float("-inf")


_blind: Final = _Blind()


def has_proved(source: str) -> bool:
    """Whether somebody there has lately proved to be a phone or trunk of ours, by a password or a certificate."""
    return _is_proved(_proved_any(source))


def prove(source: str) -> None:
    """Somebody there has proved to be a trunk of ours."""
    if not has_proved(source):
        ksr.set_count(_PROVED, _proved_any(source), int(time.time()) + PROVED_S)


def _is_proved(key: str) -> bool:
    return ksr.count_of(_PROVED, key) > time.time()


def _proved_any(source: str) -> str:
    return _network_of(source)


def _network_of(source: str) -> str:
    """The source as it is counted: an IPv6 host can take any address of its /64."""
    address = address_of(source)
    if address is None or address.version == 4:
        return source
    return ":".join(address.exploded.split(":")[:4])
