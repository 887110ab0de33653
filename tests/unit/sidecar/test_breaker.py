"""The breaker: the silence of an application costs one caller's time, not every caller's."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from sidecar.breaker import MOST_REST_S, Breaker, Breakers
from sidecar.webhook_figures import WebhookFigures


def silent(breaker: Breaker, began: float, now: float) -> None:
    assert breaker.may_ask(began)
    breaker.on_silence(began, now)


def test_which_applications_are_left_alone():
    now = 11.0
    breakers = Breakers(lambda: now)
    silent(breakers.of("http://a.example"), 0, 10)
    breakers.of("https://a.example").on_answer(1)
    breakers.of("http://b.example:81").on_answer(1)
    states = dict(breakers.states())
    assert states == {"http://a.example": True, "https://a.example": False, "http://b.example:81": False}
    registry = CollectorRegistry()
    registry.register(WebhookFigures(breakers.states))
    shown = generate_latest(registry).decode()
    assert 'callinteractive_webhook_silent{application="a.example"} 1.0' in shown
    assert 'callinteractive_webhook_silent{application="b.example:81"} 0.0' in shown
    now = 20.0
    assert not any(is_open for _, is_open in breakers.states()), "its rest is over, and nobody has tried it yet"
    assert breakers.of("http://a.example").may_ask(now)
    assert dict(breakers.states())["http://a.example"], "one tries it"
    breakers.of("http://a.example").on_answer(21)
    assert not any(is_open for _, is_open in breakers.states())


def test_the_next_callers_do_not_wait():
    breaker = Breaker()
    silent(breaker, 0, 10)
    assert not breaker.may_ask(10.1)
    assert not breaker.may_ask(19.9)
    assert breaker.left_s(15) == 5


def test_after_the_rest_one_caller_tries_it():
    breaker = Breaker()
    silent(breaker, 0, 10)
    assert breaker.may_ask(20)
    assert not breaker.may_ask(20.1)
    breaker.on_answer(20.2)
    assert breaker.may_ask(20.3)
    assert breaker.may_ask(20.3)


def test_the_rest_grows_up_to_a_bound():
    breaker, now, rests = Breaker(), 0.0, []
    for _ in range(5):
        silent(breaker, now, now + 10)
        rests.append(breaker.left_s(now + 10))
        now += 10 + rests[-1]
    assert rests == [10, 20, MOST_REST_S, MOST_REST_S, MOST_REST_S]


def test_those_who_waited_with_the_first_count_once():
    breaker = Breaker()
    for began in (0, 1, 2):
        assert breaker.may_ask(began)
    breaker.on_silence(0, 10)
    breaker.on_silence(1, 11)
    breaker.on_silence(2, 12)
    assert breaker.left_s(12) == 8


def test_one_slow_page_is_not_the_death_of_the_application():
    breaker = Breaker()
    assert breaker.may_ask(0)
    assert breaker.may_ask(3)
    breaker.on_answer(3.1)
    breaker.on_silence(0, 10)
    assert breaker.may_ask(10)


def test_who_gives_up_leaves_the_try_to_another():
    breaker = Breaker()
    silent(breaker, 0, 1)
    assert breaker.may_ask(2)
    breaker.on_given_up()
    assert breaker.may_ask(2.1)


def test_each_application_has_its_own_and_there_are_not_too_many():
    breakers = Breakers(lambda: 0.0)
    silent(breakers.of("http://a"), 0, 1)
    assert not breakers.of("http://a").may_ask(1)
    assert breakers.of("http://b").may_ask(1)
    for number in range(3000):
        breakers.of(f"http://{number}")
    assert len(breakers._known) <= 1024
