"""`callinteractive check`: what a file is, what is wrong with it and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import check as command
from cli.main import main
from tests.unit.media.test_sounds import FORMATS, write_sound

DEMO = Path(__file__).parents[3] / "examples" / "demo"

SITE = """\
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
extensions: [{number: "000*306", id: 134, contact: "sip:306@127.0.0.3:5090"}]
"""
IVR = """\
ivrs: [{number: "000*332", id: 145, entry_context: 1}]
contexts:
  1:
    options:
      start:
        - play_sound: {file: here.wav}
        - simple_transfer: {to: ["000*306", "306", "332"]}
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "sounds").mkdir()
    write_sound(tmp_path / "sounds" / "here.wav", *FORMATS["s16-8k.wav"])

    def run(*files: str, stdin: bytes = b"", **texts: str) -> Result:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return CliRunner().invoke(main, ["check", *(files or [f"{name}.yaml" for name in texts])], input=stdin)

    return run


def test_the_demo_is_in_order(check) -> None:
    result = check(str(DEMO / "site.yaml"), str(DEMO / "ivr.yaml"))
    assert (result.exit_code, result.stdout.count("\n")) == (0, 2)
    assert "1 IVR, 1 context" in result.stdout


def test_good_files_are_named(check) -> None:
    result = check(site=SITE, ivr=IVR)
    assert result.exit_code == 0
    assert result.stdout == "site.yaml: a site: 0 trunks, 1 extension\nivr.yaml: 1 IVR, 1 context\n"


def test_a_missing_sound_and_a_transfer_to_nowhere_show_only_together(check) -> None:
    ivr = IVR.replace("here.wav", "gone.wav").replace('"332"', '"+4912"')
    assert check(ivr=ivr).exit_code == 0
    result = check(site=SITE, ivr=ivr)
    assert result.exit_code == 1
    sound, number = result.stdout.splitlines()
    assert sound.startswith("ivr.yaml:6: contexts.1.options.start[0]: there is no gone.wav in sounds")
    assert number == ("ivr.yaml:7: contexts.1.options.start[1]: +4912 is no extension, no IVR, and no trunk has a `to`")


@pytest.mark.parametrize("said", [b'{"verb": "hangup"}', b"[]", b"OK", b"Internal Server Error: node is down"])
def test_what_a_web_application_says_is_meant_to_be_an_answer(check, said: bytes) -> None:
    (line,) = check("-", stdin=said).stdout.splitlines()
    assert line.startswith("stdin:1: Response: not XML: ")
    assert line.endswith("an answer begins with <?xml or <Response>")


@pytest.mark.parametrize("said", ['{"verb": "hangup"}', "Traceback (most recent call last):"])
def test_a_file_of_xml_is_meant_to_be_an_answer(check, tmp_path: Path, said: str) -> None:
    (tmp_path / "answer.xml").write_text(said)
    (line,) = check("answer.xml").stdout.splitlines()
    assert line.startswith("answer.xml:1: Response: not XML: ")


def test_an_empty_file_is_no_empty_answer(check) -> None:
    result = check(site=SITE, ivr="\n")
    assert result.stdout == "ivr.yaml:0: the file is empty: `callinteractive new DIR` makes one to begin with\n"


def test_sounds_in_no_folder_are_told_with_the_key(check) -> None:
    result = check(site=SITE + "sounds: ./here\n", ivr=IVR)
    assert result.stdout.endswith("there is no here.wav: here (`sounds` in site.yaml) is no folder\n")


def test_a_rule_without_its_key_is_one_finding_with_an_example(check) -> None:
    (line,) = check(ivr=IVR.replace("{file: here.wav}", "here.wav")).stdout.splitlines()
    assert line == (
        "ivr.yaml:6: contexts.1.options.start[0].play_sound: must be a mapping, such as play_sound: {file: …}"
    )


def test_a_colon_without_a_space(check) -> None:
    lines = check(ivr=IVR.replace("{file: here.wav}", "{file:here.wav}")).stdout.splitlines()
    where = "ivr.yaml:6: contexts.1.options.start[0].play_sound"
    assert lines == [
        f"{where}: the name of a sound is missing",
        f"{where}: write a space behind the colon: file: here.wav",
    ]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("jump: 1", "jump: must be a mapping, such as jump: {context: …}"),
        ("pause: 5", "pause: must be a mapping, such as pause: {length: …}"),
        ("hangup: now", "hangup: takes nothing: write - hangup"),
        (
            "play_sound: {flie: here.wav}",
            "play_sound: the name of a sound is missing; unknown attribute 'flie' (did you mean 'file'?)",
        ),
        ("set_var: {lang: en}", "set_var: name is missing; unknown attribute 'lang'; known: name, value"),
    ],
)
def test_a_rule_with_a_wrong_key_tells_what_to_write(check, rule: str, told: str) -> None:
    (line,) = check(ivr=IVR.replace("play_sound: {file: here.wav}", rule)).stdout.splitlines()
    assert line == f"ivr.yaml:6: contexts.1.options.start[0].{told}"


FINAL = '; final="no" goes on where nobody answers'


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("hangup", "never runs, because Hangup before it does not come back"),
        ("jump: {context: 1}", "never runs, because Jump before it does not come back"),
        ("simple_transfer: {to: ['306']}", f"never runs, because SimpleTransfer before it does not come back{FINAL}"),
    ],
)
def test_a_rule_that_never_runs_is_a_warning(check, rule: str, reason: str) -> None:
    result = check(ivr=IVR.replace("play_sound: {file: here.wav}", f"{rule}\n        - hangup"))
    assert result.exit_code == 0
    assert result.stderr == f"ivr.yaml:7: warning: contexts.1.options.start[1]: {reason}\n"


def test_a_rule_behind_a_transfer_that_is_not_final_may_run(check) -> None:
    assert not check(ivr=IVR.replace('"332"]}', '"332"], final: no}\n        - hangup')).stderr


def test_an_action_of_an_answer_that_never_runs_is_a_warning(check) -> None:
    result = check("-", stdin=b"<Response>\n<Hangup/>\n<Pause/>\n<Pause/></Response>")
    assert result.exit_code == 0
    reason = "never runs, because Hangup before it does not come back"
    assert result.stderr == f"stdin: warning: line 3: <Pause>: {reason}\n"


def test_a_key_of_the_other_file_is_told_as_such(check) -> None:
    result = check(site=SITE + IVR, ivr=IVR + "trunks: []\n")
    assert [line.partition(": ")[2] for line in result.stdout.splitlines()] == [
        "ivrs: this key belongs into ivr.yaml",
        "contexts: this key belongs into ivr.yaml",
        "trunks: this key belongs into site.yaml",
    ]


def test_swapped_files_are_one_finding_each(check) -> None:
    assert check(site=IVR, ivr=SITE).stdout.splitlines() == [
        "site.yaml:1: this is a file of IVRs, where a site is wanted: are the two swapped?",
        "ivr.yaml:1: this is a site, where a file of IVRs is wanted: are the two swapped?",
    ]


def test_an_extension_that_hides_an_ivr_is_a_doubt(check) -> None:
    result = check(site=SITE.replace("000*306", "000*332"), ivr=IVR.replace('"000*306", "306", ', ""))
    assert result.exit_code == 0, result.output
    assert "site.yaml: warning: extensions: 000*332 is an IVR too: who dials it gets the IVR" in result.output


@pytest.mark.parametrize("listen", ["127.0.0.1:5060", "udp:127.0.0.1:sip"])
def test_one_mistake_in_an_address_is_one_finding(check, listen: str) -> None:
    (line,) = check(site=SITE.replace("udp:127.0.0.1:5060", listen)).stdout.splitlines()
    assert line.startswith("site.yaml:2: sip.listen[0]: must be like")


def test_a_sound_that_is_none_is_found(check, tmp_path: Path) -> None:
    (tmp_path / "sounds" / "here.wav").write_bytes(b"not a sound")
    result = check(site=SITE, ivr=IVR)
    assert result.exit_code == 1
    assert result.stdout.startswith("ivr.yaml:6: contexts.1.options.start[0]: here.wav: not readable as wav")


def test_a_sound_that_is_damaged_is_found_every_time(check, tmp_path: Path) -> None:
    write_sound(tmp_path / "sounds" / "here.mp3", *FORMATS["voice.mp3"])
    with (tmp_path / "sounds" / "here.mp3").open("ab") as file:
        file.write(bytes(5000))
    for _ in range(2):
        assert "damaged" in check(site=SITE, ivr=IVR.replace("here.wav", "here.mp3")).stdout


def test_a_ringback_is_a_sound_too(check) -> None:
    found = check(site=SITE + "defaults: {ringback: gone.wav}\n", ivr=IVR).stdout
    assert found == "site.yaml:0: defaults.ringback: there is no gone.wav in sounds\n"


def test_a_wait_sound_is_a_sound_too(check) -> None:
    found = check(site=SITE, ivr="web: {wait_sound: gone.wav}\n" + IVR).stdout
    assert found == "ivr.yaml:0: web.wait_sound: there is no gone.wav in sounds\n"


def test_a_url_that_no_ivr_may_ask_is_found_with_its_line(check) -> None:
    ivr = IVR.replace('"332"', '"+4912"') + '        - call_interactive: {url: "http://a.example/"}\n'
    for hosts, found in (("b.example", True), ("a.example", False)):
        told = check(site=SITE, ivr=f"web: {{allow_hosts: [{hosts}]}}\n{ivr}").stdout.splitlines()
        wrong = "ivr.yaml:9: contexts.1.options.start[2]: no IVR may ask this host: it is not in allow_hosts"
        assert (wrong in told) == found
        assert not [line for line in told if "unknown key" in line]


def test_a_secret_that_is_not_there_is_a_warning(check) -> None:
    result = check(site=SITE, ivr="web: {secrets: {file: webhook.key}}\n" + IVR)
    assert result.exit_code == 0
    assert "ivr.yaml: warning: IVR 000*332: web: webhook.key: No such file or directory" in result.output


def test_a_trunk_takes_every_other_number(check) -> None:
    site = SITE + 'trunks: [{name: carrier, from: ["127.0.0.2/32"], to: "sip:127.0.0.2"}]\n'
    assert check(site=site, ivr=IVR.replace('"332"', '"+4912"')).exit_code == 0


def test_a_prompt_is_a_sound_too(check) -> None:
    ivr = IVR.replace("play_sound: {file: here.wav}", "record_digits: {prompt: gone.wav, variable: x}")
    assert "no gone.wav" in check(site=SITE, ivr=ivr).stdout


def test_a_pool_must_be_one_of_the_sites(check) -> None:
    ivr = IVR.replace("    options:\n", "    pool: vip\n    options:\n")
    assert check(site=SITE, ivr=ivr).stdout == "ivr.yaml:3: contexts.1: the site has no pool 'vip' of sidecars\n"
    assert check(site=SITE + "sidecars: {pools: {vip: [1]}}\n", ivr=ivr).exit_code == 0


def test_every_finding_has_its_line(check) -> None:
    result = check(ivr=IVR.replace("play_sound", "sing").replace("entry_context: 1", "entry_context: 2"))
    assert result.exit_code == 1
    assert [line.split(": ")[0] for line in result.stdout.splitlines()] == ["ivr.yaml:1", "ivr.yaml:6"]


def test_broken_yaml_is_told_apart_by_its_first_keys(check) -> None:
    assert "site.yaml:4: " in check(site=SITE + "trunks: [").stdout.replace("site.yaml:5: ", "site.yaml:4: ")
    assert check(site=SITE.replace("node: 1", "node: x")).stdout.startswith("site.yaml:1: node: ")


@pytest.mark.parametrize(
    ("body", "status", "shown"),
    [
        (b"<Response><Hangup/></Response>", 0, "stdin: a response: Hangup\n"),
        (b"", 1, "stdin:0: nothing is in it. As an answer that means: go on with the next rule."),
        (b" \n", 1, "stdin:0: nothing is in it."),
        (b"\xef\xbb\xbf<Response/>", 0, "stdin: a response: no action: the call goes on\n"),
        (b"<Response>\n<Foo/></Response>", 1, "stdin:2: Response: unknown element <Foo>"),
        (b"<Response>\n<Hangup>", 1, "stdin:2: Response: not XML"),
    ],
)
def test_a_response_on_stdin(check, body: bytes, status: int, shown: str) -> None:
    result = check("-", stdin=body)
    assert result.exit_code == status
    assert result.stdout.startswith(shown)


def test_what_is_not_understood_in_a_response_is_a_warning(check) -> None:
    result = check("-", stdin=b'<Response><Hangup now="yes"/></Response>')
    assert result.exit_code == 0
    assert "stdin: warning: line 1: <Hangup>" in result.stderr


UTF_16 = b"\xff\xfe" + "node: 1\n".encode("utf-16-le")
"""What PowerShell writes by `>`."""


@pytest.mark.parametrize(("content", "line"), [(b"node: 1\n# \xff\n", 2), (b"ivrs: \xff", 1), (UTF_16, 1)])
def test_a_file_that_is_no_utf8(check, tmp_path: Path, content: bytes, line: int) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    result = check("bad.yaml")
    assert (result.exit_code, result.stdout) == (1, f"bad.yaml:{line}: file: not UTF-8: byte 0xff; save it as UTF-8\n")


def test_a_file_that_is_not_there(check) -> None:
    result = check("nowhere.yaml")
    assert (result.exit_code, result.stdout) == (1, "nowhere.yaml:0: file: No such file or directory\n")


@pytest.mark.parametrize(
    ("section", "warned"),
    [
        ("rtpengine: {ng: '127.0.0.1:22222'}", []),
        ("rtpengine: {ng: '10.1.2.3:22222'}\nsidecars: {host: 192.168.1.1}", []),
        ("rtpengine: {ng: '[::1]:22222'}\nsidecars: {host: 10.0.0.1}", []),
        ("rtpengine: {ng: 'media.internal:22222'}", []),
        ("rtpengine: {ng: '8.8.8.8:22222'}", ["rtpengine.ng"]),
        ("rtpengine: {ng: '8.8.4.4:22222', http_port: 22224}", ["rtpengine.ng", "rtpengine.http_port"]),
        ("rtpengine: {ng: '[2a00::1]:22222'}\nsidecars: {host: 9.9.9.9}", ["rtpengine.ng", "sidecars.host"]),
        ("rtpengine: {http_port: 22224}", ["rtpengine.http_port"]),
    ],
)
def test_a_control_address_that_strangers_may_reach_is_warned_of(
    section: str, warned: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "not_here", lambda _site: [])  # none of these addresses is here
    site = tmp_path / "site.yaml"
    site.write_text(f'node: 1\nsip: {{listen: ["udp:127.0.0.1:5060"]}}\n{section}\n')
    assert command.run([str(site)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("warning: ")[2].partition(":")[0] for line in lines] == warned


def test_a_folder_is_one_ivr_file(check, tmp_path: Path):
    folder = tmp_path / "ivr.d"
    folder.mkdir()
    (folder / "10-a.yaml").write_text(IVR)
    (folder / "20-b.yaml").write_text("contexts:\n  2: {options: {start: [play_sound: {file: gone.wav}]}}\n")
    (folder / ".#10-a.yaml").write_text("an editor's lock: [")
    result = check("site.yaml", "ivr.d", site=SITE)
    assert result.output.splitlines() == [
        "ivr.d/20-b.yaml:2: contexts.2.options.start[0]: there is no gone.wav in sounds"
    ]
    (folder / "20-b.yaml").write_text("contexts:\n  1: {options: {start: [hangup]}}\n")
    assert "context '1' is configured twice, first in ivr.d/10-a.yaml:3" in check("ivr.d").output
    (folder / "20-b.yaml").write_bytes(b"\n\xff")
    assert check("ivr.d").output == "ivr.d/20-b.yaml:2: file: not UTF-8: byte 0xff; save it as UTF-8\n"


def test_a_folder_with_a_site_is_no_folder_of_ivrs(check, tmp_path: Path):
    """As in the folder that `new` makes: `check .` is the first thing that one tries there."""
    (tmp_path / "site.yaml").write_text('node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n')
    (tmp_path / "ivr.yaml").write_text(IVR)
    result = check(".")
    assert result.exit_code == 1
    assert result.output.splitlines() == [f"site.yaml:0: {command.A_SITE}"]


def test_a_folder_without_files_is_a_finding(check, tmp_path: Path):
    (tmp_path / "ivr.d").mkdir()
    result = check("ivr.d")
    assert (result.exit_code, result.output) == (1, "ivr.d:0: folder: there is no *.yaml in it\n")


def test_a_fleet_and_what_of_it_is_here(check) -> None:
    fleet = """
node: 1
edges: [{name: a, listen: ["udp:127.0.0.1:5060"]}, {name: b, listen: ["udp:127.0.0.2:5060"]}]
sidecars: [{host: 127.0.0.3}, {host: 192.0.2.4, count: 1}]
"""
    assert check(site=fleet).stdout.splitlines() == [
        "site.yaml: a site: 0 trunks, 0 extensions, 2 edges, 3 sidecars on 2 hosts, 1 RTPengine",
        "site.yaml: on this machine: edge a, edge b, sidecars 0 to 1, rtpengine rtpengine",
    ]


def test_one_machine_that_is_another_one(check) -> None:
    result = check(site="node: 1\nsip: {listen: ['udp:127.0.0.1:5060', 'tcp:192.0.2.1:5060']}\n")
    assert result.exit_code == 0
    assert "site.yaml: warning: sip.listen: this machine has no address 192.0.2.1" in result.output


def test_a_store_s_password_that_is_not_here_is_a_warning(check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTINEL", raising=False)
    url = "valkeys+sentinel://10.0.0.1/calls"
    files = "password: {file: gone}, sentinel_password: {env: SENTINEL}, ca: gone.pem"
    result = check(site=f"{SITE}state: {{url: '{url}', {files}}}\n")
    warnings = [line.partition("warning: ")[2] for line in result.stderr.splitlines()]
    warned = [warning.partition(";")[0] for warning in warnings if warning.startswith("state")]
    assert warned == [
        "state.password: gone: No such file or directory",
        "state.sentinel_password: the environment has no variable SENTINEL",
        "state.ca: there is no file gone.pem",
    ]
    assert result.exit_code == 0


TRUNK = 'trunks: [{name: carrier, from: ["127.0.0.2/32"], to: "sip:127.0.0.2"}]\n'


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("nonsense", "nonsense is no extension and no IVR, and a carrier wants a number of digits"),
        ("000*360", "000*360 (did you mean '000*306'?) is no extension and no IVR, and no carrier knows such a number"),
        ("+4912", None),
        ("112", None),
        ("*21*5#", None),
    ],
)
def test_a_number_that_no_carrier_takes(check, number: str, reason: str | None) -> None:
    result = check(site=SITE + TRUNK, ivr=IVR.replace('"332"', f'"{number}"'))
    found = [line.partition("start[1]: ")[2] for line in result.stdout.splitlines() if "start[1]" in line]
    assert found == ([reason] if reason else [])
    assert result.exit_code == (1 if reason else 0)


URL = 'call_interactive: {url: "http://127.0.0.1:8000/?a=$order&b=$x"}'


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("record_digits: {variable: order}", ["$x"]),
        ("set_var: {name: ordr, value: 1}", ["$order (did you mean 'ordr'?)", "$x"]),
        ("play_sound: {file: here.wav, digitvar: x, where: background}", ["$order"]),
    ],
)
def test_a_variable_that_nothing_sets_is_a_warning(check, rule: str, told: list[str]) -> None:
    """The web application may set it."""
    result = check(ivr=IVR.replace("play_sound: {file: here.wav}", f"{rule}\n        - {URL}"))
    assert result.exit_code == 0, result.stdout
    lines = result.stderr.splitlines()
    assert [line.partition(" is set by no rule")[0].rpartition(": ")[2] for line in lines] == told
    assert all(line.startswith("ivr.yaml:7: warning: contexts.1.options.start[1]: ") for line in lines)


@pytest.mark.parametrize("written", ["${order}", "{order}", "{{order}}"])
def test_what_only_looks_like_a_variable_is_a_warning(check, written: str) -> None:
    """As JavaScript, Python, PHP and templates write one. It would be sent as it is."""
    rule = f'call_interactive: {{url: "http://u:{{p}}@127.0.0.1:18000/order?number={written}"}}'
    result = check(ivr=IVR.replace("play_sound: {file: here.wav}", rule))
    assert result.exit_code == 0, result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("ivr.yaml:6: warning: contexts.1.options.start[0]: ")
    assert line.endswith(f": {written} is no variable, and is sent as it is: write $order, behind the URL's ?")


def test_what_a_transfer_sets_is_known(check) -> None:
    url = URL.replace("$order", "$TRANSFER_STATUS").replace("$x", "$TRANSFER_CODE")
    ivr = IVR.replace('"332"]}', f'"332"], final: no}}\n        - {url}')
    assert check(ivr=ivr).stderr == ""
    assert "TRANSFER_STATUS" in check(ivr=ivr.replace("final: no", "timeout: 5")).stderr


@pytest.mark.parametrize(
    ("address", "chosen_by"),
    [
        ("127.0.0.1:5062", "sip.listen in site.yaml"),
        ("localhost:5062", "sip.listen in site.yaml"),
        ("127.0.0.1:9171", "sidecars.metrics_port in site.yaml"),
        ("[::1]:22222", None),
        ("127.0.0.1:8000", None),
        ("127.0.0.1", None),
    ],
)
def test_a_url_with_a_port_of_ours(check, address: str, chosen_by: str | None) -> None:
    site = SITE.replace('["udp:127.0.0.1:5060"]', '["udp:127.0.0.1:5062", "tcp:127.0.0.1:5062"]')
    ivr = IVR.replace("play_sound: {file: here.wav}", f'call_interactive: {{url: "http://{address}/"}}')
    result = check(site=site, ivr=ivr)
    assert result.exit_code == (1 if chosen_by else 0), result.stdout
    if chosen_by:
        assert f"start[0]: port {address.rpartition(':')[2]} is our own ({chosen_by})" in result.stdout


@pytest.mark.parametrize(
    ("actions", "found"),
    [
        ("<PlaySound>\nhere.wav</PlaySound>", []),
        ("\n<PlaySound>her.wav</PlaySound>", ["2: Response: there is no her.wav (did you mean 'here.wav'?) in sounds"]),
        ('<Jump context="1"/>', []),
        ('\n\n<Jump context="2"/>', ["3: Response: jumps to context '2', which is not configured"]),
        (
            '<Jump context="1" option="Start"/>',
            ["1: Response: jumps to option 'Start' (did you mean 'start'?), but context '1' has no such option"],
        ),
        (
            "<SimpleTransfer>000*306,000*307</SimpleTransfer>",
            ["1: Response: 000*307 (did you mean '000*306'?) is no extension, no IVR, and no trunk has a `to`"],
        ),
    ],
)
def test_a_response_is_held_against_site_and_ivr(check, tmp_path: Path, actions: str, found: list[str]) -> None:
    for name, text in (("site", SITE), ("ivr", IVR)):
        (tmp_path / f"{name}.yaml").write_text(text)
    result = check("-", "site.yaml", "ivr.yaml", stdin=f"<Response>{actions}</Response>".encode())
    assert result.exit_code == (1 if found else 0)
    if found:
        assert result.stdout.splitlines() == [f"stdin:{line}" for line in found]


def test_sounds_are_read(check, tmp_path: Path) -> None:
    result = check("sounds/here.wav")
    assert result.exit_code == 0
    assert re.fullmatch(r"sounds/here\.wav: a sound of \d+\.\d s\n", result.stdout)
    (tmp_path / "sounds" / "bad.wav").write_bytes(b"not a sound")
    result = check("sounds")
    assert result.exit_code == 1
    assert result.stdout.startswith("sounds/bad.wav:0: sound: bad.wav: not readable as wav (the name decides): ")


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("play_sound", "play_soud", "play_sound"),
        ("entry_context", "entry-contxt", "entry_context"),
        ("options", "option", "options"),
        ("simple_transfer", "SimpleTransfer", "simple_transfer"),
    ],
)
def test_a_near_name_is_suggested(check, old: str, new: str, meant: str) -> None:
    result = check(ivr=IVR.replace(old, new))
    assert result.exit_code == 1
    assert f"(did you mean '{meant}'?)" in result.stdout


@pytest.mark.parametrize(("written", "meant"), [("hangup", "Hangup"), ("play_sound", "PlaySound"), ("Foo", None)])
def test_a_near_element_is_suggested(check, written: str, meant: str | None) -> None:
    found = check("-", stdin=f"<Response><{written}/></Response>".encode()).stdout
    assert (f"<{written}> (did you mean '{meant}'?); known: " if meant else f"<{written}>; known: ") in found


def test_without_names_both_files_of_the_folder_are_checked(check, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 1
    assert result.stdout.startswith("there is neither site.yaml nor ivr.yaml in this folder: ")
    (tmp_path / "ivr.yaml").write_text(IVR)
    assert "site.yaml:0: file: No such file" in CliRunner().invoke(main, ["check"]).stdout
    for name, text in (("site", SITE), ("ivr", IVR)):
        (tmp_path / f"{name}.yaml").write_text(text)
    result = CliRunner().invoke(main, ["check"])
    assert (result.exit_code, result.stdout.count("\n")) == (0, 2)
