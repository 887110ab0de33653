"""Tests. With CALLINTERACTIVE_TEST_COMPILED in the environment they import what `callinteractive compile` has made."""

import os
import signal
from pathlib import Path

# A shell starts what is in its background with these ignored, nohup with SIGHUP; what we start would inherit that.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

if "CALLINTERACTIVE_TEST_COMPILED" in os.environ:
    from callinteractive.__main__ import use_compiled
    from cli import compiled

    folder = compiled.folder()
    assert folder is not None, "nothing is compiled, or not these sources: run callinteractive compile"
    use_compiled(folder)
    # Now: pytest puts the folder of the sources before this one, and then these would be found there.
    import kemi
    import sidecar

    assert {Path(package.__path__[0]).parent for package in (kemi, sidecar)} == {folder}
