"""TLS of a running Kamailio: the file that its module reads, and new certificates without a restart."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

from cli.certificates import SYSTEM_CA, Files, problems
from cli.programs import locate

CONFIG = "tls.cfg"
"""Its name in Kamailio's run directory, as in kamailio.cfg."""
RELOAD_S = 20.0
"""How long Kamailio may take to read new certificates. It takes 0.2 s, on a loaded machine more."""
LOOK_EVERY_S = 5.0
"""How often a supervisor looks whether there are new ones."""
MOST_LOOKS = 64
"""Of those, so many may pass until a refused one is tried again: five minutes."""


def write_config(files: Files, run_dir: Path, *, asks: bool) -> None:
    """Write what Kamailio's TLS module reads. Nothing below 1.2 is spoken: RFC 8996.

    `asks`: whoever connects is asked for a certificate. He need not have one, and it need not be of use (phones have
    their vendor's): `kemi.ingress` judges.
    """
    own = f'method = TLSv1.2+\ncertificate = "{files.certificate}"\nprivate_key = "{files.private_key}"\n'
    # Not Debian's list of all authorities in one file: each process would read it, in all 24 MB and 4 seconds.
    believed = f'ca_path = "{SYSTEM_CA}"' if files.ca == SYSTEM_CA else f'ca_list = "{files.ca}"'
    accepted = f"[server:default]\n{own}verify_client = {'optional_no_ca' if asks else 'off'}\n{believed}\n"
    opened = f"[client:default]\n{own}verify_certificate = yes\nrequire_certificate = yes\n{believed}\n"
    new = run_dir / f"{CONFIG}.new"  # on a full disk Kamailio keeps the one that it can start with
    new.write_text(f"{accepted}\n{opened}", encoding="utf-8")
    new.replace(run_dir / CONFIG)


def reload(files: Files, run_dir: Path, *, asks: bool) -> list[str]:
    """Let Kamailio use what is in the files now, for new connections. Why it does not, a line each; else empty.

    Connections go on with the certificate that they began with. After a refusal Kamailio goes on with the old one.
    """
    try:
        if wrong := problems(files):
            return wrong
        write_config(files, run_dir, asks=asks)
    except (OSError, ValueError) as error:  # a file goes while it is read, a date that nobody understands, a full disk
        return [f"{type(error).__name__}: {error}"]
    command = (locate("kamcmd"), "-s", f"unix:{run_dir.resolve()}/ctl", "tls.reload")
    try:
        done = subprocess.run(command, capture_output=True, timeout=RELOAD_S, check=False, text=True, errors="replace")
    except FileNotFoundError:
        return ["kamcmd is not installed: apt-get install kamailio"]
    except OSError as error:  # the machine is out of memory or processes
        return [f"kamcmd can't be started: {error.strerror or error}"]
    except subprocess.TimeoutExpired:
        return [f"Kamailio has not answered within {RELOAD_S:g} s"]
    told = (done.stdout + done.stderr).strip()
    if done.returncode == 0 and "reloaded" in told:
        return []
    return [f"Kamailio refused it: {told[:300] or 'it said nothing'}"]


async def keep_current(
    files: Files, run_dir: Path, tell: Callable[[str], None], *, asks: bool, every_s: float = LOOK_EVERY_S
) -> None:
    """`reload` the files whenever they have changed and are no longer being written, and tell. Until cancelled.

    What fails is tried again, less and less often, and told once: Kamailio now and then refuses a good key (OpenSSL's
    "DECODER unsupported"), is busy, or the machine is out of memory.
    """
    used = tried = last = files.stamps()
    told: list[str] = []
    rest = looks = 1
    while True:
        await asyncio.sleep(every_s)
        now = files.stamps()
        is_settled, last = now == last, now
        if now == used or not is_settled:
            continue
        rest -= 1
        if now != tried:
            told, looks = [], 1
        elif rest > 0:
            continue
        tried = now
        try:
            wrong = await asyncio.to_thread(reload, files, run_dir, asks=asks)
        except RuntimeError as error:  # no thread can be started: whoever watches all parts must go on
            wrong = [str(error)]
        if wrong:
            rest, looks = looks, min(2 * looks, MOST_LOOKS)
            for line in wrong if wrong != told else ():
                tell(f"new certificate refused, the old one stays in use: {line}")
            told = wrong
        else:
            used = now
            tell(f"new connections get the new certificate of {files.certificate}")
