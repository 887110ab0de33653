"""Tests. With CALLINTERACTIVE_TEST_COMPILED in the environment they import what `callinteractive compile` has made."""

import os

if "CALLINTERACTIVE_TEST_COMPILED" in os.environ:
    from callinteractive.__main__ import use_compiled
    from cli import compiled

    folder = compiled.folder()
    assert folder is not None, "nothing is compiled, or not these sources: run callinteractive compile"
    use_compiled(folder)
