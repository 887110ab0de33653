"""Write typings/KSR.pyi from the installed Kamailio's own list of what KEMI exports.

Usage: .venv/bin/python tools/make_ksr_stub.py [FILE]

The stub is made with the oldest Kamailio that we support, Debian 12's: later ones only add functions, and a test holds
them to it.

Starts Kamailio with the modules of kamailio.cfg and a script that asks app_python for its API list, then stops it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from cli.programs import locate

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "typings" / "KSR.pyi"
LONGEST_S = 50
"""For Kamailio to start and list its functions."""

# What Kamailio calls none, str, int, bool and xval, in Python. An xval is whatever the value happens to be.
RETURNS = {"none": "None", "str": "str", "int": "int", "bool": "bool", "xval": "str | int | None"}
TEXTS = re.compile(r"hdr\.get(_idx)?|kx\.get[ew]?_(?!def|env)\w+(?<!port)")
"""The functions whose xval is a text or None, by their source."""
PARAMETERS = {"str": "str", "int": "int"}

CONFIG = """#!KAMAILIO
log_stderror=yes
children=1
{modules}
loadmodule "jsonrpcs.so"
modparam("jsonrpcs", "transport", 4)
modparam("jsonrpcs", "dgram_socket", "{folder}/rpc.sock")
modparam("uac", "restore_mode", "none")
modparam("pike", "reqs_density_per_unit", 16)
modparam("xhttp", "event_callback", "ksr_request_route")
modparam("siptrace", "trace_to_database", 0)
modparam("dispatcher", "list_file", "{folder}/dispatcher.list")
modparam("dmq", "server_address", "sip:127.9.9.9:9")
modparam("dmq", "notification_address", "sip:127.9.9.9:10")
modparam("app_python3", "load", "{folder}/list_api.py")
cfgengine "python"
"""

SCRIPT = """
import os
import KSR

class Callbacks:
    def child_init(self, rank):
        if rank == 1:
            KSR.jsonrpcs.exec('{"jsonrpc": "2.0", "method": "app_python.api_list", "id": 1}')
            listed = os.path.join(os.path.dirname(__file__), "api.json")
            with open(listed + ".part", "w") as file:
                file.write(KSR.pv.get("$jsonrpl(body)"))
            os.rename(listed + ".part", listed)
        return 0

    def ksr_request_route(self, msg):
        return 1

def mod_init():
    return Callbacks()
"""


def main() -> int:
    """Write the stub; exit status 1 when Kamailio gives no list."""
    found = re.findall(r'^loadmodule "[a-z0-9_]+\.so"$', (ROOT / "kamailio.cfg").read_text(), re.MULTILINE)
    modules = list(dict.fromkeys(found))  # one may stand behind two conditions
    with tempfile.TemporaryDirectory() as folder:
        api = _ask_kamailio(Path(folder), modules)
    if not api:
        print("Kamailio did not list its API", file=sys.stderr)
        return 1
    stub = Path(sys.argv[1]) if len(sys.argv) > 1 else STUB
    stub.parent.mkdir(exist_ok=True)
    stub.write_text(_stub([method["func"] for method in api["result"]["methods"]]))
    return 0


def _ask_kamailio(folder: Path, modules: list[str]) -> dict[str, dict[str, list[dict[str, dict[str, str]]]]] | None:
    config = folder / "kamailio.cfg"
    config.write_text(CONFIG.format(modules="\n".join(modules), folder=folder))
    (folder / "list_api.py").write_text(SCRIPT)
    (folder / "dispatcher.list").write_text("1 sip:127.0.0.1:9\n")
    # Port 9 (discard) of an address that nothing else uses: Kamailio insists on listening somewhere.
    where = ("-f", str(config), "-Y", str(folder), "-l", "udp:127.9.9.9:9")
    command = [locate("kamailio"), *where, "-DD", "-E", "-n", "1"]
    listed, said = folder / "api.json", folder / "stderr"
    with said.open("w") as stderr:
        # A group of its own: a busy Kamailio that is told to stop while it starts may never do so.
        kamailio = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin"}, stderr=stderr, start_new_session=True)
        deadline = time.monotonic() + LONGEST_S
        while not listed.exists() and kamailio.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        with suppress(ProcessLookupError):
            os.killpg(kamailio.pid, signal.SIGKILL)
        kamailio.wait()
    if not listed.exists():
        print(said.read_text(), file=sys.stderr)
        return None
    api: dict[str, dict[str, list[dict[str, dict[str, str]]]]] = json.loads(listed.read_text())
    return api


def _stub(functions: list[dict[str, Any]]) -> str:
    by_module: dict[str, list[str]] = defaultdict(list)
    for function in sorted(functions, key=lambda function: (function["module"], function["name"])):
        by_module[function["module"]].append(_signature(function))
    lines = ["# Made by tools/make_ksr_stub.py from Kamailio's app_python.api_list. Do not edit.", "# ruff: noqa", ""]
    lines += [f"def {signature}" for signature in by_module.pop("")]
    for module, signatures in by_module.items():
        lines += ["", f"class _{module}:"]
        for signature in signatures:
            lines += ["    @staticmethod", f"    def {signature}"]
        lines += ["", f"{module}: _{module}"]
    return "\n".join(lines) + "\n"


def _signature(function: dict[str, Any]) -> str:
    if function["params"] is None:  # 6.0 does not tell those of a few functions with many
        parameters = ["*_: str | int"]
    else:
        kinds = [] if function["params"] == "none" else function["params"].split(", ")
        parameters = [f"_{index}: {PARAMETERS[kind]}" for index, kind in enumerate(kinds)]
        parameters += ["/"] if parameters else []
    is_text = function["ret"] == "xval" and TEXTS.fullmatch(f"{function['module']}.{function['name']}")
    returns = "str | None" if is_text else RETURNS[function["ret"]]
    return f"{function['name']}({', '.join(parameters)}) -> {returns}: ..."


if __name__ == "__main__":
    sys.exit(main())
