"""What `callinteractive run` sees to before it starts anything."""

from __future__ import annotations

import resource

from cli.run import allow_many_files


def test_the_parts_may_open_as_many_files_as_the_user() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
