"""Boots a chroot that has the Debian package, with its own systemd: do the units do what they promise?

For `tools/try_package.py`. A service in it asks and ends the machine, so that nothing has to get in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LIMIT_S = 600
PARTS = " ".join(f"callinteractive-{name}" for name in ("rtpengine", "kamailio", "api", "sidecar@0", "sidecar@1"))
ASKS = f"""#!/bin/bash
# Each step is told before it is tried: the last one in the file is the one that failed.
exec >/root/told 2>&1
parts="{PARTS}"
within() {{ for _ in $(seq $1); do "${{@:2}}" && return; sleep 1; done; return 1; }}
all_are_active() {{ [ "$(systemctl is-active $parts | sort -u)" = active ]; }}
try() {{ echo "+ $*"; "$@" || {{ journalctl --no-pager -b | tail -n 80; systemctl --no-block poweroff; exit; }}; }}
no_line_of_the_log() {{ ! journalctl --no-pager -b -u 'callinteractive*' | grep -m 5 "$1"; }}
is_another() {{ [ "$(systemctl show -p MainPID --value $1)" != $2 ]; }}
is_of_the_user() {{ [ -z "$(find /{{var/lib,var/cache,run}}/callinteractive* ! -user callinteractive)" ]; }}

try within 180 all_are_active
try callinteractive status
try no_line_of_the_log 'calls are not kept'
try no_line_of_the_log 'its conversion'
try callinteractive reload
try systemctl reload callinteractive-kamailio
try callinteractive sounds
before=$(systemctl show -p MainPID --value callinteractive-kamailio)
try dpkg -i --force-confold /root/package.deb
try all_are_active
try [ "$(systemctl show -p MainPID --value callinteractive-kamailio)" = "$before" ]
try callinteractive drain
try callinteractive drain --edges --wait
try systemctl restart callinteractive-kamailio
sidecar=$(systemctl show -p MainPID --value callinteractive-sidecar@0)
try kill -KILL $sidecar
try within 60 is_another callinteractive-sidecar@0 $sidecar
try within 60 all_are_active
try is_of_the_user
try systemctl stop callinteractive.target
echo all is well
systemctl --no-block poweroff
"""
SERVICE = """[Service]
ExecStart=/root/asks
[Install]
WantedBy=multi-user.target
"""


def boot(root: Path, package: Path, inside: Callable[[Path, str], str]) -> str:
    """Why it can't be tried, or nothing. `inside`: runs a command in it. Raises SystemExit where a part fails."""
    if shutil.which("systemd-nspawn") is None:
        return "the units were not tried: systemd-nspawn is missing (apt-get install systemd-container)"
    inside(root, "apt-get update -q && apt-get install -y -q --no-install-recommends systemd-sysv dbus")
    shutil.copy(package, root / "root/package.deb")
    inside(root, "dpkg -i /root/package.deb")
    (root / "root/asks").write_text(ASKS)
    (root / "root/asks").chmod(0o755)
    (root / "etc/systemd/system/asks.service").write_text(SERVICE)
    (root / "root/told").unlink(missing_ok=True)
    # Debian's own services hold the same ports: as the package says when it is installed.
    inside(root, "systemctl disable kamailio rtpengine-daemon && systemctl enable asks")
    alone = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")  # the machine ends with us, whatever happens
    nspawn = ("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network")
    command = (*alone, *nspawn, "-D", str(root))
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}  # newer systemds know no other
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, env=environment, timeout=LIMIT_S, check=False, **quiet)
    told = (root / "root/told").read_text() if (root / "root/told").exists() else "it did not boot\n"
    if not told.endswith("all is well\n"):
        raise SystemExit(f"{told[-8000:]}try_package: the units do not do that")
    inside(root, "apt-get purge -y -q callinteractive")
    left = [str(path) for path in root.glob("var/*/callinteractive")]
    assert not left, f"purging it left {left}"
    return ""
