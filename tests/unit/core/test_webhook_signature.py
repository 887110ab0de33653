"""Signed webhooks, and the verifiers that users copy, each in its own language (W1)."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from callinteractive.webhook_signature import key_of, sign

EXAMPLES = Path(__file__).parents[3] / "examples/webhooks"
OLD, NEW = (f"whsec_{base64.b64encode(bytes([number] * 32)).decode()}" for number in (1, 2))
AT = 1_795_671_721
BODY = b"CallID=1&CallerIDName=%D0%98%20+x"
TARGET = b"/menu?EventType=call_interactive&CalledExtension=000%2A332"

PYTHON = """
import json, sys
from webhook_signature import verify
print(json.dumps([verify(s, h, p.encode("latin-1"), now) for s, h, p, now in json.load(sys.stdin)]))
"""
NODE = """
import { readFileSync } from "node:fs";
import { verify } from "./webhook_signature.mjs";
const cases = JSON.parse(readFileSync(0));
console.log(JSON.stringify(cases.map(([s, h, p, now]) => verify(s, h, p, now))));
"""
PHP = """
require "webhook_signature.php";
$cases = json_decode(file_get_contents("php://stdin"), true);
echo json_encode(array_map(fn($c) => verify($c[0], $c[1], $c[2], $c[3]), $cases));
"""
LANGUAGES = {
    "python": [sys.executable, "-c", PYTHON],
    "node": ["node", "--input-type=module", "-e", NODE],
    "php": ["php", "-r", PHP],
}


def signed(payload: bytes, *secrets: str) -> dict[str, str]:
    return {"webhook-id": "ab12-1", **sign([key_of(secret) for secret in secrets], "ab12-1", AT, payload)}


def test_W1_the_example_of_standard_webhooks():
    headers = sign(
        [key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


@pytest.mark.parametrize("command", LANGUAGES.values(), ids=LANGUAGES)
def test_W1_the_examples_of_verifiers(command):
    headers, both = signed(BODY, NEW), signed(BODY, OLD, NEW)
    forged = {"webhook-id": "ab12-1", **sign([b""], "ab12-1", AT, BODY)}
    cases = {
        "a POST": ([NEW], headers, BODY, AT, True),
        "a GET": ([NEW], signed(TARGET, NEW), TARGET, AT, True),
        "both sides have two secrets": ([OLD, NEW], both, BODY, AT + 10, True),
        "the application has the old one": ([OLD], both, BODY, AT, True),
        "the application has the new one": ([NEW], both, BODY, AT, True),
        "without whsec_": ([NEW.removeprefix("whsec_")], headers, BODY, AT, True),
        "another secret": ([OLD], headers, BODY, AT, False),
        "no secret": ([], headers, BODY, AT, False),
        "an empty secret": (["", "whsec_"], forged, BODY, AT, False),
        "an empty secret beside a good one": (["", NEW], headers, BODY, AT, True),
        "a time without end": ([NEW], headers | {"webhook-timestamp": "9" * 5000}, BODY, AT, False),
        "another body": ([NEW], headers, BODY + b"x", AT, False),
        "another id": ([NEW], headers | {"webhook-id": "ab12-2"}, BODY, AT, False),
        "another time": ([NEW], headers | {"webhook-timestamp": str(AT + 1)}, BODY, AT, False),
        "too old": ([NEW], headers, BODY, AT + 301, False),
        "of the future": ([NEW], headers, BODY, AT - 301, False),
        "no headers": ([NEW], {}, BODY, AT, False),
        "no number": ([NEW], headers | {"webhook-timestamp": f"{AT}\n"}, BODY, AT, False),
        "no signature": ([NEW], headers | {"webhook-signature": "v1,"}, BODY, AT, False),
        "another version": ([NEW], headers | {"webhook-signature": headers["webhook-signature"][3:]}, BODY, AT, False),
        "strange octets": ([NEW], headers | {"webhook-signature": "v1,é"}, BODY, AT, False),
    }
    told = json.dumps([[s, h, payload.decode("ascii"), now] for s, h, payload, now, _ in cases.values()])
    out = subprocess.run(command, cwd=EXAMPLES, input=told.encode(), capture_output=True, timeout=60, check=False)
    assert out.returncode == 0, out.stderr.decode()
    assert dict(zip(cases, json.loads(out.stdout), strict=True)) == {name: case[-1] for name, case in cases.items()}


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("whsec_geheim!", "is not base64"),
        ("", "must be from 24 to 64 octets"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "must be from 24 to 64 octets in base64, not 23"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "not 65"),
        ("Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", "is not base64"),
    ],
)
def test_W1_what_is_no_secret(secret, reason):
    with pytest.raises(ValueError, match=reason) as raised:
        key_of(secret)
    assert "openssl rand -base64 32" in str(raised.value)
    assert not secret or secret not in str(raised.value)
