"""Where running parts say what they are."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from structlog.testing import capture_logs

from sidecar.presence import Presence, edges_in, of_edge, of_sidecar, sidecars_in


def test_only_those_that_run_are_told(tmp_path: Path) -> None:
    with closing(Presence(of_sidecar(tmp_path, 3))) as presence:
        presence.tell(seen=1)
        of_sidecar(tmp_path, 2).write_text('{"seen": 1}')
        (tmp_path / "sidecar-x.json").write_text("{}")
        assert {index: told["seen"] for index, told in sidecars_in(tmp_path).items()} == {3: 1}
    assert sidecars_in(tmp_path) == {}


def test_one_that_is_just_telling_something_shorter_is_there(tmp_path: Path) -> None:
    """It writes over what it has told before, and then cuts the rest off."""
    with closing(Presence(of_sidecar(tmp_path, 0))) as presence:
        presence.tell(seen=1)
        with of_sidecar(tmp_path, 0).open("a") as file:
            file.write('ion": "x"}')
        assert sidecars_in(tmp_path)[0]["seen"] == 1


def test_edges_have_their_run_directories(tmp_path: Path) -> None:
    of_edge(tmp_path, "b").write_text("/run/b")
    of_edge(tmp_path, "a").write_text("/run/a")
    (tmp_path / ".edge-c.tmp").write_text("/run/c")
    assert list(edges_in(tmp_path).items()) == [("a", Path("/run/a")), ("b", Path("/run/b"))]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_folder_that_can_not_be_made_costs_only_what_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with capture_logs() as lines, closing(Presence(of_sidecar(tmp_path / "file", 0))) as presence:
        presence.tell(seen=1)
    assert [line["log_level"] for line in lines] == ["warning"]


def test_a_file_that_another_process_has_locked_is_tried_again(tmp_path: Path) -> None:
    file = of_sidecar(tmp_path, 0)
    with closing(Presence(file)) as other, closing(Presence(file)) as presence:
        other.tell(seen=1)
        before = descriptors()
        with capture_logs() as lines:
            presence.tell(seen=2)
        assert [line["file"] for line in lines] == [str(file)]
        assert descriptors() == before
        other.close()
        presence.tell(seen=2)
        assert sidecars_in(tmp_path)[0]["seen"] == 2


def test_what_can_t_be_read_hides_no_other_sidecar_and_leaves_nothing_open(tmp_path: Path) -> None:
    with closing(Presence(of_sidecar(tmp_path, 0))) as one, closing(Presence(of_sidecar(tmp_path, 1))) as other:
        one.tell(seen=1)
        other.tell(seen=1)
        of_sidecar(tmp_path, 0).write_text("half")
        (tmp_path / "sidecar-2.json").symlink_to(tmp_path / "nowhere")
        before = descriptors()
        assert list(sidecars_in(tmp_path)) == [1]
        assert descriptors() == before
