"""`callinteractive.testing`: what a test may say of a call, and what it is told when that is not so."""

from __future__ import annotations

from pathlib import Path

import pytest

from callinteractive.errors import ConfigError
from callinteractive.testing import Caller, Request

IVR = """
ivrs:
  - {number: "000*332", id: 145, dids: ["+15550199"], entry_context: main, lifetime: 60}
contexts:
  main:
    options:
      start:
        - play_sound: {file: terms.wav}
        - play_sound: {file: welcome.wav, where: background}
      "1":
        - record_digits: {prompt: enter.wav, variable: order, max: 6}
        - call_interactive: {url: "http://shop.example/order?number=$order", method: POST}
        - play_sound: {file: sorry.wav}
        - hangup
      "2":
        - pause: {length: 3}
        - simple_transfer: {to: ["000*306", "000*307"], timeout: 20, final: no}
        - play_sound: {file: nobody.wav}
      "3":
        - set_caller: {name: Shop, number: "+15550111"}
        - simple_transfer: {to: ["000*306"], early_media: True}
      "4":
        - pause: {length: 70}
      timeout:
        - play_sound: {file: goodbye.wav}
        - hangup
"""
SITE = """
node: 7
sounds: voices
sip: {listen: ["udp:127.0.0.1:5060"]}
extensions:
  - {number: "000*306", id: 6, contact: "sip:306@127.0.0.1:5070"}
"""
ANSWER = "<Response><PlaySound>oven.wav</PlaySound><Hangup/></Response>"


@pytest.fixture
def ivr(tmp_path: Path) -> Path:
    path = tmp_path / "ivr.yaml"
    path.write_text(IVR)
    return path


@pytest.fixture
def caller(ivr: Path) -> Caller:
    return Caller(ivr, lambda _: ANSWER)


def test_a_call_is_told_as_a_story(caller: Caller) -> None:
    call = caller.dial("000*332")
    call.hears("terms.wav", "welcome.wav")
    call.press("1")
    call.hears("enter.wav")
    call.press("12")
    request = call.asks("/order", number="12", CallerIDNum="+15550100", CalledNumber="000*332")
    assert (request.method, request.status, request.answer) == ("POST", 200, ANSWER)
    assert request["EventType"] == "call_interactive"
    assert request.headers["webhook-id"] == f"{request['CallID']}-1"
    call.hears("oven.wav")
    call.ends()
    assert call.heard == ["terms.wav", "welcome.wav", "enter.wav", "oven.wav"]
    assert call.is_over
    assert call.elapsed_s == 2  # the silence after 12
    assert call.variables == {"order": "12"}
    assert (call.context, call.option) == ("main", "1")
    assert "presses   1\n" in call.story
    assert "menu      main: 1" in call.story
    assert call.story.endswith("is over   the script says so")
    assert repr(call) == "<Call: the call is over: the script says so>"


def test_A7_a_key_is_lost_while_a_foreground_sound_plays_that_the_test_has_not_named(caller: Caller) -> None:
    call = caller.dial()
    call.press("1")
    assert call.heard == ["terms.wav"]
    assert "1  (lost: terms.wav is a foreground sound)" in call.story
    call.hears("terms.wav")
    call.press("1")  # during welcome.wav, which a key stops
    call.hears("enter.wav")


def test_listening_hears_all_out(caller: Caller) -> None:
    call = caller.dial()
    assert call.listen() == ["terms.wav", "welcome.wav"]
    assert call.state == "the call waits 5 s for a key: press one, or wait()"
    assert call.listen() == []
    call.press("2")
    assert call.listen() == []  # a pause of 3 s
    assert call.elapsed_s == 3
    call.rings().busy()
    call.hears("nobody.wav")
    assert call.listen() == []  # the test has named it


def test_C3_C7_a_caller_who_does_nothing(caller: Caller) -> None:
    call = caller.dial()
    call.wait()
    assert call.heard[-1] == "welcome.wav"
    call.wait()
    call.hears("goodbye.wav")
    assert call.elapsed_s == 5
    call.ends()


def test_phones_ring_and_one_answers(caller: Caller) -> None:
    call = caller.dial("+15550199")
    call.listen()
    call.press("2")
    phones = call.rings("000*306", "000*307")
    assert (phones.timeout_s, phones.final, phones.early_media) == (20, False, False)
    with pytest.raises(ValueError, match="'999' does not ring"):
        phones.answer("999")
    phones.answer("000*307")
    assert call.talks_to == "000*307"
    assert call.state == "the caller talks to 000*307"
    with pytest.raises(AssertionError, match="expected the call to end; the caller talks to"):
        call.ends()
    with pytest.raises(AssertionError, match="cannot press 1"):
        call.press("1")
    with pytest.raises(AssertionError, match="no longer ring"):
        phones.busy()
    with pytest.raises(AssertionError, match="expected phones to ring"):
        call.rings()
    call.hang_up()
    assert call.state == "the call is over: the caller has hung up"
    with pytest.raises(AssertionError, match="cannot hang up"):
        call.hang_up()


def test_A5_phones_show_the_caller_that_the_script_has_set(caller: Caller) -> None:
    call = caller.dial(option="3")
    assert "SetCaller name=Shop number=+15550111" in call.story
    phones = call.rings("000*306")
    assert (phones.caller_name, phones.caller_number, phones.timeout_s) == ("Shop", "+15550111", 60)
    assert (phones.early_media, phones.final) == (True, True)
    phones.answer()
    assert call.talks_to == "000*306"


@pytest.mark.parametrize(
    ("become", "status", "code", "seconds"),
    [
        ("busy", "busy", 486, 3),
        ("reject", "rejected", 603, 3),
        ("no_answer", "no_answer", 408, 23),
        ("fail", "failed", 404, 3),
    ],
)
def test_A13_nobody_answers(caller: Caller, become: str, status: str, code: int, seconds: int) -> None:
    call = caller.dial(context="main", option="2")
    getattr(call.rings(), become)()
    assert call.variables == {"TRANSFER_STATUS": status, "TRANSFER_CODE": str(code)}
    assert call.elapsed_s == seconds
    call.hears("nobody.wav")


def test_a_transfer_fails_with_codes_of_failures_only(caller: Caller) -> None:
    with pytest.raises(ValueError, match="200 is no SIP code of a failure"):
        caller.dial(option="2").rings().fail(200)


def test_waiting_while_phones_ring_is_to_hear_nobody_answer(caller: Caller) -> None:
    call = caller.dial(option="3")
    assert call.state == "000*306 ring: say what they do, as in rings().answer()"
    call.wait()
    call.ends()
    assert call.elapsed_s == 60
    with pytest.raises(AssertionError, match="cannot wait"):
        call.wait()


def test_waiting_ends_when_phones_ring(caller: Caller) -> None:
    call = caller.dial(option="2")
    assert call.state == "there is a pause of 3 s"
    call.wait()
    call.rings()


def test_C5_a_call_lasts_no_longer_than_its_lifetime(caller: Caller) -> None:
    call = caller.dial(option="4")
    call.ends()
    assert call.elapsed_s == 60
    ringing = caller.dial(option="3")
    ringing.rings().no_answer()
    ringing.ends()
    assert "rings     for too long" in ringing.story


TWO = """
ivrs:
  - {number: "000*1", id: 1, entry_context: first}
  - {number: "000*2", id: 2, entry_context: second}
contexts:
  first: {options: {start: [{set_caller: {name: VIP}}, {simple_transfer: {to: ["000*2", "000*306"]}}]}}
  second: {options: {start: [{call_interactive: {url: "http://x/second"}}, {play_sound: {file: two.wav}}]}}
"""


def test_A14_a_transfer_to_another_ivr_enters_it(tmp_path: Path) -> None:
    (tmp_path / "ivr.yaml").write_text(TWO)
    caller = Caller(tmp_path / "ivr.yaml", lambda _: None)
    call = caller.dial()
    phones = call.rings()
    with pytest.raises(ValueError, match=r"000\*306 is no IVR of the file"):
        phones.enter("000*306")
    there = phones.enter()
    assert call.talks_to == "000*2"
    request = there.asks("/second", CallerIDName="VIP", CalledExtension="000*2")
    assert request["CallAPIID"] != f"0:{request['CallID']}"  # that of the first call
    there.hears("two.wav")
    assert caller.calls == [call, there]


def test_what_is_not_so_is_told_with_what_is(caller: Caller) -> None:
    call = caller.dial()
    with pytest.raises(AssertionError, match=r"expected to hear welcome.wav; the caller hears terms.wav\n") as failure:
        call.hears("welcome.wav")
    assert call.story in str(failure.value)
    with pytest.raises(AssertionError, match=r"expected a request to /order; the caller hears terms.wav"):
        call.asks("/order")
    with pytest.raises(AssertionError, match=r"expected 000\*306 to ring"):
        call.rings("000*306")
    call.hears("terms.wav", "welcome.wav")
    with pytest.raises(AssertionError, match="expected a request; the call waits 5 s for a key"):
        call.asks()
    with pytest.raises(ValueError, match="no such key: x y"):
        call.press("1yx")


def test_a_request_is_told_apart_by_path_and_parameters(caller: Caller) -> None:
    def order() -> None:
        call.hears("terms.wav")
        call.press("1")
        call.press("1#")

    call = caller.dial()
    order()
    with pytest.raises(AssertionError, match="expected a request to /other, but it went to /order"):
        call.asks("/other")
    call = caller.dial()
    order()
    with pytest.raises(
        AssertionError, match=r"expected number='2' in POST http://shop.example/order.number=1, but it is '1'"
    ):
        call.asks(number="2")


def test_a_request_after_a_sound_is_reached_by_hearing_it_out(tmp_path: Path) -> None:
    ivr = tmp_path / "ivr.yaml"
    asks = [f"{{call_interactive: {{url: 'http://x/{path}'}}}}" for path in (1, 2)]
    rules = ["{play_sound: {file: a.wav}}", *asks, "{pause: {length: 1}}", "{play_sound: {file: b.wav}}"]
    options = f"{{start: [{', '.join(rules)}]}}"
    ivr.write_text(f"ivrs: [{{number: '0*1', id: 1, entry_context: 1}}]\ncontexts: {{1: {{options: {options}}}}}")
    caller = Caller(tmp_path, lambda _: None)
    call = caller.dial()
    call.hears("a.wav")
    call.asks("/1")
    call.asks("/2")
    call.hears("b.wav")
    call = caller.dial()
    call.hears("a.wav", "b.wav")  # past both requests and the pause


def test_X3_a_problem_fails_the_test_unless_it_expects_it(ivr: Path) -> None:
    caller = Caller(ivr, lambda _: "<Response><Play>x</Play></Response>")

    def order(strict: bool | None) -> None:
        call = caller.dial(option="1", strict=strict)
        call.press("5#")

    with pytest.raises(AssertionError, match=r"line 1: unknown element <Play>.*dials with strict=False"):
        order(None)
    order(False)
    call = caller.calls[-1]
    assert len(call.problems) == 1
    assert "PROBLEM" in call.story
    call.hears("sorry.wav")


def test_an_application_that_raises_sees_its_call(ivr: Path) -> None:
    def shop(_: Request) -> str:
        raise LookupError(repr(caller.calls[0]))

    caller = Caller(ivr, shop)
    call = caller.dial(option="1")
    with pytest.raises(LookupError, match="<Call: the web application is asked>"):
        call.press("5#")


def test_X3_an_application_that_is_down(ivr: Path) -> None:
    def down(request: Request) -> str:
        raise ConnectionRefusedError

    call = Caller(ivr, down, strict=False).dial(option="1")
    assert call.state == "the caller hears enter.wav"
    call.press("5#")
    assert call.asks().failure == "ConnectionRefusedError"
    call.hears("sorry.wav")


def test_A6_a_sound_that_is_not_there_is_a_problem(ivr: Path) -> None:
    sounds = ivr.parent / "sounds"
    sounds.mkdir()
    (sounds / "welcome.wav").touch()
    with pytest.raises(AssertionError, match=r"there is no sound terms.wav"):
        Caller(ivr, sounds=sounds).dial()
    call = Caller(ivr, sounds=sounds, strict=False).dial()
    call.hears("welcome.wav")
    assert call.problems == ["there is no sound terms.wav"]


def test_an_extension_of_the_site_calls(ivr: Path) -> None:
    site = ivr.parent / "site.yaml"
    site.write_text(SITE)
    (ivr.parent / "voices").mkdir()
    caller = Caller(ivr, lambda _: ANSWER, site=site, number="000*306", name="Ann", strict=False)
    call = caller.dial("332", option="1")
    call.press("1#")
    expected = {"CallerExtension": "000*306", "CallerExtensionID": "6", "CallerIDName": "Ann"}
    request = call.asks(CalledNumber="332", CalledExtension="000*332", **expected)
    assert request["CallAPIID"] == f"7:{request['CallID']}"


def test_what_cannot_be_dialled(caller: Caller, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"999 leads to no IVR; there are: 000\*332, \+15550199"):
        caller.dial("999")
    with pytest.raises(ValueError, match="there is no option 9 of context 'main'"):
        caller.dial(option="9")
    with pytest.raises(ValueError, match="there is no option start of context '7'"):
        caller.dial(context=7)
    (tmp_path / "bad.yaml").write_text("ivrs: []")
    with pytest.raises(ConfigError, match="no IVR is configured"):
        Caller(tmp_path / "bad.yaml")


ENDLESS = """
ivrs: [{number: "0*1", id: 1, entry_context: 1}]
contexts:
  1: {timeout: 1, max_silent_rounds: 0, options: {start: [], timeout: []}}
  2: {options: {start: [{play_sound: {file: a.wav}}, {jump: {context: 2}}]}}
  3: {options: {start: [{pause: {length: 1}}, {jump: {context: 3}}]}}
"""


def test_a_script_without_end_ends_the_test(tmp_path: Path) -> None:
    (tmp_path / "ivr.yaml").write_text(ENDLESS)
    caller = Caller(tmp_path / "ivr.yaml")
    with pytest.raises(AssertionError, match="the script has no end"):
        caller.dial().wait()
    with pytest.raises(AssertionError, match="the script has no end"):
        caller.dial(context=2).listen()
    with pytest.raises(AssertionError, match=r"expected to hear b.wav"):
        caller.dial(context=3).hears("b.wav")
