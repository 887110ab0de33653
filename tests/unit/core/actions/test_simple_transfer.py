"""
| attribute | meaning | default |
|---|---|---|
| text | 1 to 30 numbers, commas, no spaces: all ring at once; required | |
| timeout | seconds to wait for an answer; anything but a positive integer counts as not given | the system timeout |
| final | only ``no`` is not final: if nobody answers the next action runs | yes |
| early_media | exactly ``True``: the caller hears the callee's early media | a ringback tone |
| status_url | the web application is told there, by POST, who answered or why nobody did, and when the talk ends | |
"""

from __future__ import annotations

import json
from typing import Literal

import pytest

from callinteractive.actions import action_from_dict
from callinteractive.actions.simple_transfer import LONGEST_TIMEOUT_S, SimpleTransfer
from callinteractive.commands import Hangup, Play, Transfer
from callinteractive.errors import ConfigError, ResponseError
from callinteractive.events import TransferAnswered, TransferFailed, Waited
from callinteractive.response import Response, parse
from tests.unit.core.call import asked, menu, started


def read(attributes: str, numbers: str = "1") -> Response:
    return parse(f"<Response><SimpleTransfer {attributes}>{numbers}</SimpleTransfer></Response>".encode())


def action(attributes: str, numbers: str = "1") -> SimpleTransfer:
    (action,) = read(attributes, numbers).actions
    assert isinstance(action, SimpleTransfer)
    return action


def test_A10_the_example_of_the_protocol():
    assert action('final="no" timeout="20"', "NUM1,NUM2") == SimpleTransfer(("NUM1", "NUM2"), 20, final=False)


def test_A10_all_numbers_ring_at_once():
    command = asked().answer('<SimpleTransfer timeout="20" early_media="True">000*306,+78123210001</SimpleTransfer>')
    assert command == Transfer(("000*306", "+78123210001"), 20, True, True, "000*306", "000*306")


def test_A10_one_to_thirty_numbers():
    assert len(action("", ",".join(map(str, range(30)))).numbers) == 30
    with pytest.raises(ResponseError, match="31 numbers; 1 to 30 can ring at once"):
        read("", ",".join(map(str, range(31))))


@pytest.mark.parametrize(
    "numbers", ["1, 2", "1 ,2", "1,,2", "1,", ",1", ",", "1 2", " ", "1;x=y", "1@h", "é", "1" * 65, "+"]
)
def test_A10_a_space_or_an_empty_item_is_an_error(numbers: str):
    with pytest.raises(ResponseError, match="is no number; write NUM1,NUM2 without spaces"):
        read("", numbers)


def test_A10_white_space_around_the_numbers_is_trimmed():
    assert action("", "\n  1,2\n  ").numbers == ("1", "2")


def test_A10_numbers_are_required():
    with pytest.raises(ResponseError, match="a list of numbers is missing"):
        parse(b"<Response><SimpleTransfer/></Response>")


@pytest.mark.parametrize(
    ("text", "timeout_s"), [("1", 1), ("020", 20), ("9" * 5000, LONGEST_TIMEOUT_S), ("00000000001", 1)]
)
def test_A11_timeout_is_in_seconds(text: str, timeout_s: int):
    assert action(f'timeout="{text}"').timeout_s == timeout_s


def test_A11_without_timeout_it_is_the_systems():
    assert read("").warnings == ()
    assert action("").timeout_s is None


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "20s", " 20", "٢", "²", "yes"])
def test_A11_a_wrong_timeout_is_the_systems_with_a_warning(text: str):
    response = read(f'timeout="{text}"')
    assert response.actions == (SimpleTransfer(("1",)),)
    assert "the system timeout is used" in response.warnings[0]


def test_A12_early_media_is_exactly_True():
    assert action('early_media="True"').early_media
    assert not action("").early_media
    for text in ("true", "TRUE", "yes", "1", "", " True", "False"):
        assert not action(f'early_media="{text}"').early_media
    assert "exactly so" in read('early_media="true"').warnings[0]
    assert read('early_media="False"').warnings == ()


def test_A13_only_no_is_not_final():
    assert not action('final="no"').final
    for text in ("yes", "No", "NO", "false", "", "0"):
        assert action(f'final="{text}"').final
    assert action("").final
    assert "this transfer is final" in read('final="No"').warnings[0]
    assert read('final="yes"').warnings == ()


FAILURES: list[tuple[Literal["busy", "no_answer", "rejected", "failed"], int]] = [
    ("busy", 486),
    ("no_answer", 408),
    ("rejected", 603),
    ("failed", 404),
]


@pytest.mark.parametrize(("status", "code"), FAILURES)
def test_A13_a_final_transfer_that_nobody_answers_ends_the_call_with_its_code(
    status: Literal["busy", "no_answer", "rejected", "failed"], code: int
):
    call = asked()
    call.answer("<SimpleTransfer>1</SimpleTransfer><PlaySound>never.wav</PlaySound>")
    command = call.tell(TransferFailed(status, code), 20)
    assert isinstance(command, Hangup)
    assert command.code == code
    assert call.variables == {}


@pytest.mark.parametrize(("status", "code"), FAILURES)
def test_A13_one_that_is_not_final_sets_the_variables_and_the_next_action_runs(
    status: Literal["busy", "no_answer", "rejected", "failed"], code: int
):
    call = asked()
    call.answer('<SimpleTransfer final="no">1</SimpleTransfer><PlaySound>sorry.wav</PlaySound>')
    assert call.tell(TransferFailed(status, code), 20) == Play("sorry.wav")
    assert call.variables == {"TRANSFER_STATUS": status, "TRANSFER_CODE": str(code)}


def test_A13_a_transfer_that_was_answered_is_the_end_of_the_script():
    call = asked()
    call.answer('<SimpleTransfer final="no">1</SimpleTransfer><PlaySound>never.wav</PlaySound>')
    assert call.tell(TransferAnswered()) is None
    assert call.script.is_over
    assert call.tell(Waited()) is None


def test_A13_two_transfers_after_each_other_with_a_prompt_between():
    call = asked()
    call.answer(
        '<SimpleTransfer final="no">1</SimpleTransfer><Pause length="1"/><SimpleTransfer final="no">2</SimpleTransfer>'
    )
    call.tell(TransferFailed("busy", 486))
    command = call.tell(Waited(), 1)
    assert isinstance(command, Transfer)
    assert command.numbers == ("2",)


def test_digits_dialled_while_it_rings_are_kept():
    call, _ = started('- simple_transfer: {to: ["1"], final: no}\n- record_digits: {variable: v}\n- hangup')
    assert call.dial("5#") is None
    assert isinstance(call.tell(TransferFailed("busy", 486), 3), Hangup)
    assert call.variables["v"] == "5"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('{to: ["000*306"], timeout: 20, final: no}', Transfer(("000*306",), 20, False, False, "000*306", "000*306")),
        ("{to: [000*306, 307], final: 'no'}", Transfer(("000*306", "307"), None, False, False, "000*306", "000*306")),
        ("{to: '1,2', early_media: True}", Transfer(("1", "2"), None, True, True, "000*306", "000*306")),
        ("{to: 100, final: yes, early_media: 'True'}", Transfer(("100",), None, True, True, "000*306", "000*306")),
        ("{to: 100, final: false, early_media: no}", Transfer(("100",), None, False, False, "000*306", "000*306")),
    ],
)
def test_C4_yaml(keys: str, expected: Transfer):
    assert started(f"- simple_transfer: {keys}")[1] == expected


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("{to: []}", "0 numbers; 1 to 30 can ring at once"),
        ("{to: yes}", "a list of numbers is missing"),
        ("{timeout: 20}", "a list of numbers is missing"),
        ("{to: ['1 2']}", "is no number"),
        ("{to: [[1]]}", "must be one value"),
        ("{to: 1, timeout: 0}", "no positive integer"),
        ("{to: 1, timeout: [1]}", "timeout must be one text"),
        ("{to: 1, final: never}", 'only final="no" is not final'),
        ("{to: 1, early_media: 'true'}", "exactly so"),
        ("{to: 1, ring: 2}", "unknown attribute 'ring'"),
    ],
)
def test_C4_what_is_wrong_in_yaml_is_a_finding(keys: str, reason: str):
    with pytest.raises(ConfigError, match=reason):
        menu(f"- simple_transfer: {keys}")


def test_the_status_url_goes_with_the_transfer():
    command = asked().answer('<SimpleTransfer status_url="https://h/s?a=1&amp;b=2">306</SimpleTransfer>')
    assert isinstance(command, Transfer)
    assert command.status_url == "https://h/s?a=1&b=2"


def test_W2_the_password_of_a_status_url_is_sent_and_not_shown():
    transfer = action('status_url="https://me:geheim@h/s"')
    assert transfer.shown()["status_url"] == "https://h/s"
    assert transfer.to_dict()["status_url"] == "https://me:geheim@h/s"


@pytest.mark.parametrize("url", ["ftp://h/", "h/s", "http://h/?call=$CallID", ""])
def test_no_transfer_fails_for_its_status_url(url: str):
    parsed = read(f'status_url="{url}"')
    assert parsed.actions == (SimpleTransfer(("1",)),)
    assert [warning for warning in parsed.warnings if "status_url is not used: " in warning]


def test_releases_without_status_url_can_read_a_transfer_that_has_none():
    assert "status_url" not in action("").to_dict()
    with_url = action('status_url="http://h/"')
    assert action_from_dict(json.loads(json.dumps(with_url.to_dict()))) == with_url
