"""site.yaml and ivr.yaml: from text to data, or to findings with file, line and reason (C1-C6)."""

from __future__ import annotations

import gc
import random
import re
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callinteractive import near
from callinteractive.actions import Context
from callinteractive.actions.call_interactive import CallInteractive
from callinteractive.actions.hangup import Hangup
from callinteractive.actions.jump import Jump
from callinteractive.actions.pause import Pause
from callinteractive.actions.play_sound import PlaySound
from callinteractive.actions.record_digits import RecordDigits
from callinteractive.actions.set_caller import SetCaller
from callinteractive.actions.set_var import SetVar
from callinteractive.actions.simple_transfer import SimpleTransfer
from callinteractive.config import load_ivr_file, load_ivr_files, load_site
from callinteractive.errors import ConfigError
from callinteractive.model import (
    Address,
    Api,
    Extension,
    Interface,
    Ivr,
    Kamailio,
    Listen,
    Media,
    RtpEngine,
    Trunk,
    pools_of,
    sidecars_of_host,
)

SITE = """\
node: 3584705175                     # the number before ":" in CallAPIID
sip: {listen: ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]}
trunks:     [{name: carrier, from: ["127.0.0.2/32"], to: "sip:127.0.0.2:5080"}]
extensions: [{number: "000*306", id: 134, contact: "sip:306@127.0.0.3:5090"}]
sidecars: {count: 2, base_port: 5070}
rtpengine: {ng: "127.0.0.1:22222", interface: 127.0.0.1, ports: [30000, 34999]}
sounds: ./sounds
defaults: {transfer_timeout_s: 60}
"""
IVR = """\
ivrs: [{number: "000*332", id: 145, dids: ["+78123210001"], entry_context: 1, answer: at_once}]
contexts:
  1:
    name: main menu
    options:
      start:
        - play_sound: {file: welcome.wav, where: background}
        - call_interactive: {url: "http://127.0.0.1:8000/menu?lang=$lang", method: POST}
      "1": [{simple_transfer: {to: ["000*306"], timeout: 20, final: no}}]
      invalid: [{jump: {context: 1}}]
"""


def findings(load: Callable[[str, str], object], text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, "f.yaml")
    assert str(caught.value).splitlines() == [str(finding) for finding in caught.value.findings]
    return [str(finding) for finding in caught.value.findings]


# site.yaml


def test_the_site_of_the_documentation():
    site = load_site(SITE, "site.yaml")
    assert site.node == 3584705175
    assert site.listen == (Listen("udp", "127.0.0.1", 5060), Listen("tcp", "127.0.0.1", 5060))
    assert [str(listen) for listen in site.listen] == ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
    assert site.trunks == (Trunk("carrier", (ip_network("127.0.0.2/32"),), ("sip:127.0.0.2:5080",)),)
    phone = Extension("000*306", 134, "sip:306@127.0.0.3:5090", contact_host="127.0.0.3")
    assert site.extensions == (phone,)
    assert (phone.short_number, phone.prefix) == ("306", "000")
    assert site.sidecars == sidecars_of_host("127.0.0.1", 2, 5070)
    assert [str(sidecar.address) for sidecar in site.sidecars] == ["127.0.0.1:5070", "127.0.0.1:5071"]
    assert site.rtpengines == (RtpEngine(Address("127.0.0.1", 22222), (Interface("127.0.0.1"),), 30000, 34999),)
    assert site.sounds == "./sounds"
    assert site.defaults.transfer_timeout_s == 60
    assert site.internal_calls


@pytest.mark.parametrize("password", ["a\\nb", "a\\tb", "\\a", "x" * 4097])
def test_a_password_of_a_phone_is_one_that_a_phone_can_have(password: str):
    site = SITE.replace('contact: "sip:306@127.0.0.3:5090"', f'password: "{password}"')
    assert any("extensions[0].password: " in finding for finding in findings(load_site, site))


def test_a_small_site_has_defaults():
    site = load_site("node: 1\nsip: {listen: ['udp:127.0.0.1:5060']}", "site.yaml")
    assert (site.trunks, site.extensions) == ((), ())
    assert (site.sidecars, site.rtpengines) == (sidecars_of_host(), (RtpEngine(),))
    assert site.kamailio == Kamailio()


def test_everything_that_a_site_can_say():
    site = load_site(
        """
node: 0
sip: {listen: ["udp:[::1]:5060"]}
trunks: [{name: in-only, from: ["10.0.0.0/8", "fd00::/8"]}, {name: out-only, to: "sip:gw.example.org;transport=tcp"}]
extensions:
  - {number: 000*307, id: 0, password: s3cret}
  - {number: 000*308, id: 1, contact: "sip:308@[::1]:5090;transport=udp"}
sidecars: {count: 10, host: "[::1]", base_port: 6000, metrics_port: 9000}
rtpengine: {ng: "127.0.0.1:100", interface: "pub/10.0.0.1!1.2.3.4", http_port: 2, timeout_s: 10,
  threads: 4, kernel_table: 1}
kamailio: {workers: 4, shared_mb: 512, private_mb: 32}
defaults: {ringback: ring.wav}
""",
        "site.yaml",
    )
    assert [trunk.to for trunk in site.trunks] == [(), ("sip:gw.example.org;transport=tcp",)]
    assert site.extensions[0].contact is None
    assert "s3cret" not in repr(site)
    assert site.extensions[1].contact_host == "::1"
    assert site.edges[0].udp_address == Address("::1", 5060)
    assert (site.rtpengines[0].http_port, site.rtpengines[0].timeout_s) == (2, 10)
    assert (site.rtpengines[0].threads, site.rtpengines[0].kernel_table) == (4, 1)
    assert site.kamailio == Kamailio(workers=4, shared_mb=512, private_mb=32)
    assert site.defaults.ringback == "ring.wav"


def test_an_ipv6_address_is_written_with_brackets_and_kept_as_a_socket_takes_it():
    text = """
node: 0
sip: {listen: ["tcp:[::1]:5060", "udp:[0:0:0:0:0:0:0:1]:5061"]}
sidecars: {host: "[0::1]"}
rtpengine: {ng: "[fd00:0::7]:22222"}
"""
    site = load_site(text, "site.yaml")
    assert [str(listen) for listen in site.listen] == ["tcp:[::1]:5060", "udp:[::1]:5061"]
    assert site.edges[0].udp_address == ("::1", 5061)
    assert site.sidecars[1].address == Address("::1", 5071)
    assert (str(site.sidecars[1].address), site.sidecars[1].address.uri_host) == ("[::1]:5071", "[::1]")
    assert (str(site.rtpengines[0].ng), site.rtpengines[0].ng.host) == ("[fd00::7]:22222", "fd00::7")
    assert (str(Address("127.0.0.1", 5)), Address("127.0.0.1", 5).uri_host) == ("127.0.0.1:5", "127.0.0.1")


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("node: 3584705175", "nod: 1", 1, "node: is missing"),
        (
            "node: 3584705175",
            "nod: 1",
            1,
            "unknown key 'nod' (did you mean 'node'?); known here: api, defaults, drain_s, edges, events",
        ),
        ("3584705175", "-1", 1, "node: must be a number from 0 to"),
        ("udp:127.0.0.1:5060", "udp:127.0.0.1:0", 2, 'sip.listen[0]: must be like "udp:127.0.0.1:5060"'),
        ("udp:127.0.0.1:5060", "udp:127.0.0.1:65536", 2, "sip.listen[0]: must be like"),
        ("udp:127.0.0.1:5060", "udp:127.0.0.256:5060", 2, "sip.listen[0]: must be like"),
        ("udp:127.0.0.1:5060", "udp:127.0.0.01:5060", 2, "sip.listen[0]: must be like"),
        ("sip:306@127.0.0.3:5090", "sip:306@127.0.0.300:5090", 4, "extensions[0].contact: must be a SIP URI"),
        ("udp:127.0.0.1:5060", "tls:127.0.0.1:5060", 2, "at least one UDP address is needed"),
        ("udp:127.0.0.1:5060", "udp:127.0.0.1", 2, "sip.listen[0]: must be like"),
        ("{listen", "{listens", 2, "unknown key 'listens' (did you mean 'listen'?); known here: listen"),
        ('["127.0.0.2/32"]', "127.0.0.2/32", 3, "trunks[0].from: must be a list"),
        ("127.0.0.2/32", "127.0.0.2/24", 3, "trunks[0].from[0]: must be an address or a network"),
        ("127.0.0.2/32", "carrier", 3, "trunks[0].from[0]: must be an address or a network"),
        ("127.0.0.2/32", "carrier..example", 3, "trunks[0].from[0]: must be an address or a network"),
        ("sip:127.0.0.2:5080", "127.0.0.2:5080", 3, 'trunks[0].to: must be a SIP URI like "sip:306@127.0.0.3:5090"'),
        ("sip:127.0.0.2:5080", "sip:127.0.0.2:65536", 3, "trunks[0].to: must be a SIP URI"),
        ("sip:127.0.0.2:5080", "sip:127.0.0.2:0", 3, "trunks[0].to: must be a SIP URI"),
        ("sip:127.0.0.2:5080", "sip:127.0.0.2:5080\\r\\nX: y", 3, "trunks[0].to: must be a SIP URI"),
        ("name: carrier", 'name: "a b"', 3, "trunks[0].name: must be at most 64 letters"),
        (', from: ["127.0.0.2/32"], to: "sip:127.0.0.2:5080"', "", 3, "trunks[0]: needs from"),
        (
            "000*306",
            "306",
            4,
            'extensions[0].number: must be an extended number like "000*306", which phones dial as 306',
        ),
        ("000*306", "phone", 4, 'extensions[0].number: must be an extended number like "000*332", which'),
        ("id: 134", "id: x", 4, "extensions[0].id: must be a number"),
        (', contact: "sip:306@127.0.0.3:5090"', "", 4, "extensions[0]: needs a contact (a fixed phone) or a password"),
        ('contact: "sip:306@127.0.0.3:5090"', 'password: ""', 4, "extensions[0]: needs a contact"),
        ("sip:306@", "sip:30#6@", 4, "extensions[0].contact: must be a SIP URI"),
        ("count: 2", "count: 1001", 5, "sidecars.count: must be a number from 1 to 1000, not '1001'"),
        (
            "interface: 127.0.0.1",
            "dtmf_port: 22223",
            6,
            "rtpengine.dtmf_port: is no longer needed, take it out: digits come from `ng`, over TCP",
        ),
        ("sounds: ./sounds", "kamailio: {shared_mb: 8}", 7, "kamailio.shared_mb: must be a number from 32 to 65536"),
        ("interface: 127.0.0.1", "kernel_table: -1", 6, "rtpengine.kernel_table: must be a number from 0 to 63"),
        ("interface: 127.0.0.1", "threads: 0", 6, "rtpengine.threads: must be a number from 1 to 256"),
        ("{count: 2", '{host: "a b", count: 2', 5, "sidecars.host: must be an address like 127.0.0.1"),
        ("{count: 2", "{host: localhost, count: 2", 5, 'sidecars.host: must be an address like 127.0.0.1 or "[::1]"'),
        ("{count: 2", '{host: "[::1::]", count: 2', 5, "sidecars.host: must be an address like 127.0.0.1"),
        ("udp:127.0.0.1:5060", "udp:[1::2::3]:5060", 2, "sip.listen[0]: must be like"),
        ("udp:127.0.0.1:5060", "udp:sip..example.com:5060", 2, "sip.listen[0]: must be like"),
        ("udp:127.0.0.1:5060", f"udp:{'a' * 64}:5060", 2, "sip.listen[0]: must be like"),
        ("udp:127.0.0.1:5060", "udp:10.0.0.1!.example.com:5060", 2, "sip.listen[0]: must be like"),
        ("127.0.0.1:22222", "media..example.com:22222", 6, "rtpengine.ng: must be like"),
        ("sip:127.0.0.2:5080", "sip:carrier..example", 3, "trunks[0].to: must be a SIP URI"),
        ("sip:127.0.0.2:5080", "sip:[1::2::3]", 3, "trunks[0].to: must be a SIP URI"),
        ("interface: 127.0.0.1", 'interface: "a b"', 6, "rtpengine.interface: must be an address"),
        ("[30000, 34999]", "[34999, 30000]", 6, "rtpengine: ports must be [first, last]"),
        ("[30000, 34999]", "[30000]", 6, "rtpengine: ports must be [first, last]"),
        ("[30000, 34999]", "30000-34999", 6, "rtpengine.ports: must be a list"),
        ("127.0.0.1:22222", "127.0.0.1:65536", 6, "rtpengine.ng: must be like"),
        ("127.0.0.1:22222", "127.0.0.1:0", 6, "rtpengine.ng: must be like"),
        ('"127.0.0.1:22222"', "22222", 6, 'rtpengine.ng: must be like "127.0.0.1:22222"'),
        ("defaults: {", "internal_calls: maybe\ndefaults: {", 8, "internal_calls: must be yes or no"),
        ("transfer_timeout_s: 60", "transfer_timeout_s: 0", 8, "defaults.transfer_timeout_s: must be a number from 1"),
        ("transfer_timeout_s: 60", "ringback: ../ring.wav", 8, "defaults.ringback: must be the name of a file"),
    ],
)
def test_what_is_wrong_with_a_site_is_told_with_its_line(old: str, new: str, line: int, reason: str):
    assert old in SITE
    told = findings(load_site, SITE.replace(old, new, 1))
    assert any(finding.startswith(f"f.yaml:{line}: ") and reason in finding for finding in told), told


def test_names_and_numbers_are_there_once():
    text = SITE.replace(
        'trunks:     [{name: carrier, from: ["127.0.0.2/32"], to: "sip:127.0.0.2:5080"}]',
        'trunks:\n  - {name: a, to: "sip:h"}\n  - {name: a, to: "sip:i"}',
    ).replace(
        'extensions: [{number: "000*306", id: 134, contact: "sip:306@127.0.0.3:5090"}]',
        'extensions:\n  - {number: "0*1", id: 1, password: x}\n  - {number: "0*1", id: 2, password: x}\n'
        '  - {number: "0*2", id: 1, password: x}\n  - {id: 4, password: x}\n  - {id: 5, password: x}',
    )
    assert findings(load_site, text) == [
        "f.yaml:5: trunks[1]: trunk 'a' is configured twice, first in line 4",
        "f.yaml:8: extensions[1]: extension '0*1' is configured twice, first in line 7",
        "f.yaml:9: extensions[2]: extension id '1' is configured twice, first in line 7",
        "f.yaml:10: extensions[3].number: is missing",
        "f.yaml:11: extensions[4].number: is missing",
    ]


# ivr.yaml


def test_the_ivr_of_the_documentation():
    file = load_ivr_file(IVR, "ivr.yaml")
    assert file.ivrs == (Ivr("000*332", 145, "1", ("+78123210001",), "at_once", 3600, 2.0, 10.0, False),)
    assert file.ivrs[0].short_number == "332"
    assert file.contexts == {
        "1": Context(
            "1",
            "main menu",
            {
                "start": (
                    PlaySound("welcome.wav", background=True),
                    CallInteractive("http://127.0.0.1:8000/menu?lang=$lang", "POST"),
                ),
                "1": (SimpleTransfer(("000*306",), 20, final=False),),
                "invalid": (Jump("1", "start"),),
            },
            timeout_ms=5000,
            inter_digit_timeout_ms=2000,
            digit_len=None,
        )
    }


def test_C1_C5_C6_R5_everything_that_an_ivr_can_say():
    file = load_ivr_file(
        """
ivrs:
  - {number: 000*332, id: 0, dids: [+78123210001, 5550199], entry_context: a_1, answer: on_media, lifetime: 60,
     connect_timeout_s: 0.5, request_timeout_s: 3, follow_redirects: yes}
contexts: {a_1: {timeout: 1000, inter_digit_timeout: 500, digit_len: 4, options: {start: }}}
""",
        "ivr.yaml",
    )
    dids = ("+78123210001", "5550199")
    assert file.ivrs == (Ivr("000*332", 0, "a_1", dids, "on_media", 60, 0.5, 3.0, True),)
    assert file.contexts["a_1"] == Context("a_1", "a_1", {"start": ()}, 1000, 500, 4)


def test_C4_every_rule_by_its_yaml_name():
    file = load_ivr_file(
        """
ivrs: [{number: "000*332", id: 145, entry_context: 1}]
contexts:
  1:
    options:
      start:
        - hangup
        - pause: {length: 15}
        - pause
        - set_var: {name: x, value: "текст"}
        - jump: {context: 1, option: "#"}
        - set_caller: {name: callerName, number: 92992}
        - play_sound: {file: a.wav, where: background, digitvar: v}
        - simple_transfer: {to: [000*306, 307], timeout: 20, final: no, early_media: True}
        - call_interactive: {url: "http://h/"}
        - record_digits: {prompt: a.wav, variable: v, max: 4}
      "#": []
""",
        "ivr.yaml",
    )
    assert file.contexts["1"].options["start"] == (
        Hangup(),
        Pause(15),
        Pause(10),
        SetVar("x", "текст"),
        Jump("1", "#"),
        SetCaller("callerName", "92992"),
        PlaySound("a.wav", background=True, digitvar="v"),
        SimpleTransfer(("000*306", "307"), 20, final=False, early_media=True),
        CallInteractive("http://h/", "GET"),
        RecordDigits("v", "a.wav", 4),
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("ivrs: ", "ivr: ", 1, 'no IVR is configured; write ivrs: [{number: "000*332"'),
        ("ivrs: ", "ivr: ", 1, "unknown key 'ivr' (did you mean 'ivrs'?); known here: contexts, ivrs"),
        ('"000*332"', '""', 1, "ivrs[0].number: must be an extended number"),
        ("entry_context: 1", 'entry_context: ""', 1, "ivrs[0].entry_context: context '' is not configured"),
        ("entry_context: 1", "entry_context: [1]", 1, "ivrs[0].entry_context: must be one value"),
        ("000*332", "332", 1, "ivrs[0].number: must be an extended number"),
        ("id: 145, ", "", 1, "ivrs[0].id: is missing"),
        ("+78123210001", "+7 812", 1, 'ivrs[0].dids[0]: must be a number like "+78123210001"'),
        ("entry_context: 1", "entry_context: 2", 1, "ivrs[0].entry_context: context '2' is not configured; known: 1"),
        ("entry_context: 1, ", "", 1, "ivrs[0].entry_context: is missing"),
        ("at_once", "later", 1, "ivrs[0].answer: must be one of at_once, on_media, not 'later'"),
        ("answer: at_once", "lifetime: 0", 1, "ivrs[0].lifetime: must be a number from 1 to 86400, not '0'"),
        (
            "answer: at_once",
            "ansver: at_once",
            1,
            "unknown key 'ansver' (did you mean 'answer'?); known here: answer, connect_timeout_s",
        ),
        ("start:", "strat:", 1, "context '1' has no option start: every caller would be hung up on"),
        ("start:", "strat:", 6, "contexts.1.options.strat: an option is start, timeout, invalid, or what is dialled"),
        ("\n  1:", '\n  "1 2":', 3, "a context's ID is at most 64 letters, digits, _ and -"),
        ("name: main menu", "timeout: 0", 4, "contexts.1.timeout: must be a number from 1 to 3600000, not '0'"),
        ("name: main menu", "digit_len: 0", 4, "contexts.1.digit_len: must be a number from 1 to 32"),
        (
            "name: main menu",
            "nam: x",
            4,
            "unknown key 'nam' (did you mean 'name'?); known here: digit_len, inter_digit_timeout, mask_digits",
        ),
        (
            "play_sound:",
            "play_sounds:",
            7,
            "start[0]: unknown rule 'play_sounds' (did you mean 'play_sound'?); known: hangup, pause, set_var",
        ),
        ("play_sound:", "PlaySound:", 7, "unknown rule 'PlaySound'"),
        ("{file: welcome.wav, where: background}", "welcome.wav", 7, "must be a mapping, such as"),
        ("welcome.wav", "a/b.wav", 7, "is no name in the sound library"),
        ("where: background", "were: background", 7, "unknown attribute 'were'"),
        ("where: background", "where: ", 7, "start[0].play_sound.where: is missing"),
        (
            "- play_sound: {file: welcome.wav, where: background}",
            "- [hangup]",
            7,
            "start[0]: must be one value, not a list",
        ),
        ("- play_sound: {file: welcome.wav, where: background}", "-", 7, "start[0]: unknown rule ''"),
        ("- play_sound: {file: welcome.wav, where: background}", "- {}", 7, "a rule is one action"),
        ("- play_sound: {file: welcome.wav, where: background}", "- {hangup: , pause: }", 7, "a rule is one action"),
        ("- play_sound: {file: welcome.wav, where: background}", "- hangup: now", 7, "takes nothing: write - hangup"),
        ("http://127", "$x://127", 8, "url: variables may stand in the query only"),
        ('"1":', '"1x":', 9, "an option is start, timeout, invalid, or what is dialled: 0-9 * # A-D"),
        ('"1":', '"1#":', 9, "can never be dialled: # ends the number unless an option starts with #"),
        ("final: no", "final: maybe", 9, 'only final="no" is not final'),
        ("invalid: [{jump: {context: 1}}]", "invalid: [{jump: {context: 7}}]", 10, "jumps to context '7'"),
        ("invalid: [{jump: {context: 1}}]", "invalid: hangup", 10, "must be a list"),
        ("invalid: [{jump: {context: 1}}]", "start: [hangup]", 10, "'start' is given twice"),
    ],
)
def test_what_is_wrong_with_an_ivr_is_told_with_its_line(old: str, new: str, line: int, reason: str):
    assert old in IVR
    told = findings(load_ivr_file, IVR.replace(old, new, 1))
    assert any(finding.startswith(f"f.yaml:{line}: ") and reason in finding for finding in told), told


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (IVR + "ivrs: []\n", "'ivrs' is given twice, first in line 1"),
        ('ivrs: {number: "000*332"}\n', "must be a list: [ … ]"),
    ],
)
def test_one_mistake_with_ivrs_is_one_finding(text: str, reason: str):
    (told,) = findings(load_ivr_file, text)
    assert told.endswith(f": ivrs: {reason}")


def test_a_wrong_address_of_a_trunk_is_one_finding():
    text = "node: 1\nsip: {listen: ['udp:127.0.0.1:5060']}\ntrunks: [{name: c, to: 'sip.carrier.example'}]\n"
    (told,) = findings(load_site, text)
    assert told.startswith("f.yaml:3: trunks[0].to: must be a SIP URI like")


def test_C3_an_option_longer_than_digit_len_is_a_finding():
    text = IVR.replace("name: main menu", "digit_len: 2").replace('"1":', '"123":')
    assert findings(load_ivr_file, text) == [
        "f.yaml:9: contexts.1.options.123: can never be dialled: digit_len ends the number after 2"
    ]


def test_C3_an_option_with_a_hash_is_fine_where_one_starts_with_it():
    text = IVR.replace('"1":', '"1#":').replace("invalid:", '"#": [hangup]\n      invalid:')
    assert "1#" in load_ivr_file(text, "f").contexts["1"].options


def test_C1_numbers_ids_and_dids_are_there_once():
    one = 'number: "000*1", id: 1, entry_context: 1, dids: ["+7001", "7001"]'
    two = 'number: "000*1", id: 1, entry_context: 1, dids: ["7001"]'
    text = f"ivrs:\n  - {{{one}}}\n  - {{{two}}}\n" + IVR.partition("\n")[2]
    assert findings(load_ivr_file, text) == [
        "f.yaml:2: ivrs[0]: DID '7001' is configured twice, first in line 2",
        "f.yaml:3: ivrs[1]: DID '7001' is configured twice, first in line 2",
        "f.yaml:3: ivrs[1]: IVR '000*1' is configured twice, first in line 2",
        "f.yaml:3: ivrs[1]: IVR id '1' is configured twice, first in line 2",
    ]


def test_all_findings_are_told_at_once_in_their_order():
    text = IVR.replace("id: 145", "id: x").replace("welcome.wav", "a/b").replace("20", "0").replace("POST", "PUT")
    assert [finding.split(": ")[0] for finding in findings(load_ivr_file, text)] == [
        "f.yaml:1",
        "f.yaml:7",
        "f.yaml:8",
        "f.yaml:9",
    ]


# Anything at all.


def loads_or_says_why(load: Callable[[str, str], object], text: str) -> None:
    try:
        load(text, "f.yaml")
    except ConfigError as error:
        lines = [finding.line for finding in error.findings]
    else:
        lines = [1]
    assert lines
    assert min(lines) >= 1


LOADERS = st.sampled_from([load_site, load_ivr_file])
YAML_PIECES = [
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "\n",
    "\n  ",
    "#",
    "*a",
    "&a ",
    "!!str ",
    "!x ",
    "|",
    ">",
    "? ",
    "---",
]
YAML_WORDS = [
    "~",
    "yes",
    "no",
    ".nan",
    "0x10",
    "9" * 30,
    "-1",
    "<<",
    "=",
    "\\",
    "\t",
    "\x00",
    "\ud800",
    '"\\uD800"',
    "%YAML",
]


@given(LOADERS, st.text(max_size=60) | st.lists(st.sampled_from(YAML_PIECES + YAML_WORDS), max_size=25).map("".join))
@settings(max_examples=200)
def test_random_text_is_loaded_or_told_why_not(load: Callable[[str, str], object], text: str):
    loads_or_says_why(load, text)


@given(LOADERS, st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=150)
def test_a_spoilt_document_is_loaded_or_told_why_not(
    load: Callable[[str, str], object], dice: random.Random, changes: int
):
    text = SITE if load is load_site else IVR
    for _ in range(changes):
        place, cut = dice.randrange(len(text)), dice.randrange(12)
        text = text[:place] + dice.choice([*YAML_PIECES, *YAML_WORDS, ""]) + text[place + cut :]
    loads_or_says_why(load, text)


def test_A5_a_trunk_says_where_it_looks_for_the_caller():
    site = load_site(SITE.replace("name: carrier,", "name: carrier, identity: [rpid, from],"), "f.yaml")
    assert site.trunks[0].identity == ("rpid", "from")
    assert load_site(SITE, "f.yaml").trunks[0].identity == ("from", "pai")


def test_trust_is_given_only_where_asked_for():
    assert load_site(SITE.replace("name: carrier,", "name: carrier, trusted: yes,"), "f.yaml").trunks[0].is_trusted
    assert not load_site(SITE, "f.yaml").trunks[0].is_trusted


def test_anchored_media() -> None:
    assert not load_site(SITE, "f.yaml").anchors_media
    by_trunk = load_site(SITE.replace("name: carrier,", "name: carrier, anchor_media: yes,"), "f.yaml")
    assert (by_trunk.anchors_media, by_trunk.trunks[0].anchors_media) == (True, True)
    assert not any(extension.anchors_media for extension in by_trunk.extensions)
    by_extension = load_site(SITE.replace("id: 134,", "id: 134, anchor_media: yes,"), "f.yaml")
    assert (by_extension.anchors_media, by_extension.extensions[0].anchors_media) == (True, True)


def test_how_parties_send_their_sound() -> None:
    assert load_site(SITE, "f.yaml").trunks[0].media == Media("optional", webrtc=False)
    text = SITE.replace("name: carrier,", "name: carrier, media: {srtp: required},").replace(
        "id: 134,", "id: 134, media: {srtp: no},"
    )
    site = load_site(text, "f.yaml")
    assert (site.trunks[0].media, site.extensions[0].media) == (Media("required"), Media("no"))
    assert site.anchors_media
    browser = load_site(SITE.replace("id: 134,", "id: 134, media: {webrtc: yes},"), "f.yaml")
    assert browser.extensions[0].media == Media(webrtc=True)
    assert browser.anchors_media


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        ("{srtp: maybe}", "must be one of required, optional, no, not 'maybe'"),
        ("{srtp: no, webrtc: yes}", "a browser's sound is always encrypted; take out srtp: no"),
        ("{codecs: [pcmu]}", "unknown key 'codecs'; known here: srtp, webrtc"),
    ],
)
def test_sound_that_can_t_be(media: str, reason: str) -> None:
    [finding] = findings(load_site, SITE.replace("id: 134,", f"id: 134, media: {media},"))
    assert reason in finding


def test_hep() -> None:
    assert load_site(SITE, "f.yaml").hep is None
    assert load_site(SITE + "hep: 192.0.2.60:9060\n", "f.yaml").hep == ("192.0.2.60", 9060)
    assert load_site(SITE + 'hep: "[2001:db8::60]:9060"\n', "f.yaml").hep == ("2001:db8::60", 9060)


@pytest.mark.parametrize("hep", ["yes", "homer.example:9060", "192.0.2.60", "udp:192.0.2.60:9060", "192.0.2.60:0"])
def test_hep_is_an_address(hep: str) -> None:
    """Kamailio looks up no names: a silent name server would stop it."""
    [finding] = findings(load_site, f"{SITE}hep: {hep}\n")
    assert 'like "192.0.2.60:9060"' in finding


def test_browsers() -> None:
    assert not load_site(SITE, "f.yaml").has_websockets
    listen = SITE.replace('"tcp:127.0.0.1:5060"]', '"ws:127.0.0.1:8080"]')
    site = load_site(listen + 'web_origins: ["https://www.example.com", "http://[::1]:8000"]\n', "f.yaml")
    assert site.has_websockets
    assert site.anchors_media
    assert site.web_origins == ("https://www.example.com", "http://[::1]:8000")
    assert [listen.socket for listen in site.listen] == ["udp:127.0.0.1:5060", "tcp:127.0.0.1:8080"]


def test_the_api() -> None:
    assert load_site(SITE, "f.yaml").api == Api(Address("127.0.0.1", 8090), is_asked_for=False)
    assert load_site(SITE + "api: {}\n", "f.yaml").api == Api(Address("127.0.0.1", 8090), is_asked_for=True)
    assert load_site(SITE + 'api: {listen: "[::1]:99"}\n', "f.yaml").api == Api(Address("::1", 99), is_asked_for=True)
    assert load_site(SITE + "api: no\n", "f.yaml").api is None


@pytest.mark.parametrize(
    ("api", "reason"),
    [
        ("yes", 'api: write api: {listen: "127.0.0.1:8090"}, or api: no'),
        ("8090", "api: write api: {listen"),
        ("{listen: 8090}", 'api.listen: must be like "127.0.0.1:8090"'),
        ('{listen: "0.0.0.0:8090"}', "api.listen: "),
        ("{port: 1}", "unknown key 'port'; known here: listen"),
        ('{listen: "127.0.0.1:9170"}', "api: tcp 127.0.0.1:9170 is taken already by sidecars.metrics_port"),
    ],
)
def test_an_api_that_can_t_be(api: str, reason: str) -> None:
    [finding] = findings(load_site, f"{SITE}api: {api}\n")
    assert reason in finding


@pytest.mark.parametrize("origin", ["www.example.com", "https://www.example.com/", "https://WWW.example.com", "*", ""])
def test_what_is_no_origin(origin: str) -> None:
    [finding] = findings(load_site, f'{SITE}web_origins: ["{origin}"]\n')
    assert 'must be like "https://www.example.com", in lower case and without a path' in finding


def test_sidecars_are_in_one_pool_or_in_none():
    sidecars = load_site(SITE.replace("count: 2,", "count: 4, pools: {vip: [3], slow: [1]},"), "f.yaml").sidecars
    assert [sidecar.pool for sidecar in sidecars] == [None, "slow", None, "vip"]
    assert {name: [sidecar.index for sidecar in pool] for name, pool in pools_of(sidecars).items()} == {
        None: [0, 2],
        "slow": [1],
        "vip": [3],
    }


@pytest.mark.parametrize(
    ("pools", "reason"),
    [
        ("{vip: [0], slow: [0]}", "a sidecar can be in one pool only"),
        ("{vip: [0, 1]}", "at least one sidecar must be in no pool"),
        ("{vip: []}", "pool 'vip' needs a plain name and at least one sidecar"),
        ('{"a b": [1]}', "pool 'a b' needs a plain name"),
        ("{vip: [2]}", "sidecars.pools.vip[0]: must be a number from 0 to 1"),
    ],
)
def test_pools_that_cannot_be(pools: str, reason: str):
    with pytest.raises(ConfigError, match=re.escape(reason)):
        load_site(SITE.replace("count: 2,", f"count: 2, pools: {pools},"), "f.yaml")


# several files


SHOP = """\
ivrs: [{number: "0*1", id: 1, entry_context: main, dids: ["+71"]}]
contexts:
  main: {options: {start: [jump: {context: help, option: start}]}}
"""
HELP = """\
contexts:
  help: {options: {start: [hangup]}}
"""


def test_several_files_are_one():
    file = load_ivr_files({"a.yaml": SHOP, "b.yaml": HELP, "empty.yaml": ""})
    assert (list(file.contexts), len(file.ivrs)) == (["main", "help"], 1)


def test_what_two_files_say_names_both_places():
    again = SHOP.replace("help, option: start", "main")
    with pytest.raises(ConfigError) as caught:
        load_ivr_files({"a.yaml": SHOP, "b.yaml": HELP, "c.yaml": again})
    assert str(caught.value).splitlines() == [
        "c.yaml:1: ivrs[0]: DID '71' is configured twice, first in a.yaml:1",
        "c.yaml:1: ivrs[0]: IVR '0*1' is configured twice, first in a.yaml:1",
        "c.yaml:1: ivrs[0]: IVR id '1' is configured twice, first in a.yaml:1",
        "c.yaml:3: contexts.main: context 'main' is configured twice, first in a.yaml:3",
    ]


def test_every_file_that_is_no_yaml_is_told():
    with pytest.raises(ConfigError) as caught:
        load_ivr_files({"a.yaml": "[", "b.yaml": HELP, "c.yaml": "a: *b"})
    assert [(finding.file, finding.line) for finding in caught.value.findings] == [("a.yaml", 1), ("c.yaml", 1)]


def test_files_without_an_ivr_are_a_finding():
    with pytest.raises(ConfigError, match=r"^a\.yaml:1: no IVR is configured"):
        load_ivr_files({"a.yaml": HELP, "b.yaml": ""})


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_garbage_collector_is_as_it_was(is_enabled: bool):
    before = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        load_site(SITE, "f.yaml")
        assert gc.isenabled() is is_enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_a_carrier_may_be_known_by_its_host_name():
    (trunk,) = load_site(SITE.replace('"127.0.0.2/32"', '"10.0.0.0/8", Sip.Carrier.Example'), "f.yaml").trunks
    assert (trunk.sources, trunk.source_names) == ((ip_network("10.0.0.0/8"),), ("sip.carrier.example",))


def test_a_file_full_of_mistakes_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among 2000 contexts it takes 40 ms to find what may have been meant by one name."""
    sought: list[str] = []
    monkeypatch.setattr(near, "near", lambda name, _known: sought.append(name) or "")
    head = 'ivrs: [{number: "000*332", id: 1, entry_context: "0"}]\ncontexts:\n'
    contexts = [f"  {i}: {{options: {{start: [{{jump: {{context: x{i}}}}}]}}}}\n" for i in range(100)]
    options = [f"  o{i}: {{options: {{start: [{{jump: {{context: 1, option: {i}}}}}]}}}}\n" for i in range(100)]
    with pytest.raises(ConfigError) as caught:
        load_ivr_file(head + "".join(contexts + options), "ivr.yaml")
    assert len(caught.value.findings) == 200
    assert len(sought) == near.MOST_GUESSES
