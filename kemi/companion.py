"""The process beside Kamailio that looks up the host names of site.yaml and watches the trunks (`cli.resolve`).

Kamailio's timer process starts it, and starts it again when it has ended: so it is there wherever Kamailio is, and ends
with it. The workers never wait for it.
"""

from __future__ import annotations

import os
import subprocess
import time

from kemi import ksr

PAUSE_S = 5.0
"""Between two starts."""


class Companion:
    """Belongs to the process that calls `keep`. It is not started before."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = float("-inf")

    def keep(self) -> None:
        """Start it, if it does not run."""
        status = self._process.poll() if self._process is not None else None
        is_running = self._process is not None and status is None
        if is_running or time.monotonic() < self._started_s + PAUSE_S:
            return
        if status is not None:
            ksr.log_warning(f"the process that looks up names and watches trunks has ended ({status}); it starts again")
        self._started_s = time.monotonic()
        self._process = subprocess.Popen(_command(), stdin=subprocess.DEVNULL)


def _command() -> tuple[str, ...]:
    site, run_dir = os.environ["CALLINTERACTIVE_SITE"], os.environ["CALLINTERACTIVE_RUN_DIR"]
    # It ends with the process that has started it, however that ends.
    wrapper = ("/usr/bin/setpriv", "--pdeathsig", "TERM", "--")
    # -P: Kamailio's working directory is the operator's, and no module may come from there.
    resolve = ("-P", "-m", "callinteractive", "resolve", "--site", site, "--run-dir", run_dir)
    return (*wrapper, os.environ["CALLINTERACTIVE_COMPANION"], *resolve)
