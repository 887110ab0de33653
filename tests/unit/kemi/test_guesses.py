"""Password guessing is slowed down, and the owner of the account is not locked out."""

from __future__ import annotations

import pytest

from kemi.guesses import ACCOUNT_FREE, BLIND_S, LONGEST_LOCK_S, PAIR_FREE, SOURCE_FREE, Guesses, has_proved
from tests.unit.kemi.fake_ksr import FakeKsr
from tests.unit.kemi.refusals import refused

THIEF, OWNER = "198.51.100.7", "203.0.113.5"
ACCOUNT = "000*307"


class Clock:
    """The part of htable that `kemi.guesses` uses, with a clock that tests set."""

    def __init__(self, ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self._tables: dict[tuple[str, str], int] = {}
        monkeypatch.setattr("kemi.guesses.time.time", lambda: self.now)
        ksr.results.update(
            {
                "htable.sht_inc": self._count,
                "htable.sht_get": lambda table, key: self._tables.get((table, key)),
                "htable.sht_seti": lambda table, key, value: self._tables.update({(table, key): value}) or 1,
                "htable.sht_rm": lambda table, key: self._tables.pop((table, key), 0) and 1,
            }
        )

    def _count(self, table: str, key: str) -> int:
        self._tables[table, key] = self._tables.get((table, key), 0) + 1
        return self._tables[table, key]


@pytest.fixture
def clock(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(ksr, monkeypatch)


def guess(source: str, account: str = ACCOUNT, times: int = 1) -> None:
    for _ in range(times):
        Guesses(source, account).check()
        Guesses(source, account).on_wrong()


def test_each_lock_is_twice_as_long(clock: Clock, ksr: FakeKsr) -> None:
    guess(THIEF, times=PAIR_FREE)
    for lock_s in (4, 8, 16, 32, 64, 128, 256, 512, LONGEST_LOCK_S, LONGEST_LOCK_S):
        with refused(503):
            guess(THIEF)
        clock.now += lock_s - 1
        with refused(503):
            guess(THIEF)
        clock.now += 1
        guess(THIEF)
    assert len(ksr.called("warn")) >= 11
    assert all("correct its user name or password" in text for (text,) in ksr.called("warn"))
    Guesses(OWNER, ACCOUNT).check()


def test_the_right_password_begins_anew(clock: Clock) -> None:
    del clock
    guess(OWNER, times=PAIR_FREE - 1)
    Guesses(OWNER, ACCOUNT).on_good()
    guess(OWNER, times=PAIR_FREE)
    with refused(503):
        guess(OWNER)


def test_guesses_at_many_accounts(clock: Clock) -> None:
    del clock
    assert not has_proved(THIEF)
    Guesses(THIEF, "000*308").on_good()
    assert has_proved(THIEF)
    for number in range(SOURCE_FREE):
        guess(THIEF, f"000*{number}")
    with refused(503):
        guess(THIEF, "000*99")
    Guesses(THIEF, "000*308").check()


def test_many_sources_at_one_account(clock: Clock) -> None:
    del clock
    Guesses(OWNER, ACCOUNT).on_good()
    for number in range(ACCOUNT_FREE):
        guess(f"198.51.100.{number}")
    guess("192.0.2.1")
    with refused(503):
        guess("192.0.2.1")
    Guesses("192.0.2.2", ACCOUNT).check()  # the owner, elsewhere, needs one try
    guess(OWNER, times=PAIR_FREE)


def test_an_ipv6_host_has_one_network(clock: Clock) -> None:
    del clock
    for number in range(PAIR_FREE):
        guess(f"2001:db8::{number:x}")
    with refused(503):
        guess("2001:db8::ffff")
    guess("2001:db8:0:1::1")


@pytest.mark.parametrize("what", ["htable.sht_inc", "htable.sht_seti"])
def test_what_cannot_be_counted_is_not_taken(
    clock: Clock, ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """While there was no memory, passwords could be tried without end."""
    monkeypatch.setattr("kemi.guesses.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("kemi.guesses._blind.until_s", 0.0)
    Guesses(OWNER, ACCOUNT).on_good()
    usual = ksr.results[what]
    ksr.results[what] = {"htable.sht_inc": 0, "htable.sht_seti": -1}[what]
    with refused(503):
        guess(THIEF, times=PAIR_FREE + 1)
    with refused(503):
        guess("198.51.100.8")
    Guesses(OWNER, ACCOUNT).check()
    clock.now += BLIND_S
    guess("198.51.100.8")
    ksr.results[what] = usual
    clock.now += BLIND_S
    guess("198.51.100.8", times=2)
