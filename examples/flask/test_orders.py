"""The order line, tested: run `pytest` in this folder. docs/testing.md says what must be installed."""

import pytest


def test_an_order_is_in_the_oven(caller):
    call = caller.dial("000*332")
    call.hears("welcome.wav")
    call.press("1")
    call.hears("enter-order.wav")
    call.press("1234#")
    call.asks("/order", number="1234", CallerIDNum="+15550100")
    call.hears("order-in-the-oven.wav")
    call.ends()


def test_an_unknown_order_rings_the_shop(caller):
    call = caller.dial()
    call.press("1")  # during welcome.wav: the caller has been here before
    call.press("99")  # and needs no prompt; two seconds later the number is complete
    phones = call.rings("000*306", "000*307")
    assert phones.timeout_s == 20
    phones.answer("000*307")
    assert call.talks_to == "000*307"


@pytest.mark.parametrize("become", ["busy", "no_answer", "reject"])
def test_nobody_is_in_the_shop(caller, become):
    call = caller.dial()
    call.press("1")
    call.press("99#")
    getattr(call.rings(), become)()
    call.hears("sorry.wav")
    call.ends()


def test_a_wrong_key(caller):
    call = caller.dial()
    call.press("7")
    call.hears("try-again.wav", "welcome.wav")


def test_a_caller_who_does_nothing(caller):
    call = caller.dial()
    call.hears("welcome.wav")
    call.wait()
    call.ends()
    assert call.elapsed_s == 5
