"""Where running parts say what they are."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

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
