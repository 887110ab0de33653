"""The file of what host names lead to (`callinteractive.names`): written beside Kamailio, read at its start."""

from __future__ import annotations

from pathlib import Path

from callinteractive.model import Site
from callinteractive.names import FILE, Names


def probed(site: Site, names: Names) -> tuple[str, ...]:
    """The addresses behind the trunks' names that get OPTIONS."""
    uris = [uri for trunk in site.trunks if trunk.is_probed for uri in trunk.to]
    return tuple(dict.fromkeys(hop.uri for uri in uris for hop in names.hops.get(uri, ())))


def read(run_dir: Path) -> Names:
    """What was found before; nothing where there is no file, or none of ours."""
    try:
        return Names.parse((run_dir / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Names()


def write(run_dir: Path, names: Names) -> None:
    """Whole, or not at all."""
    new = run_dir / f"{FILE}.new"
    new.write_text(str(names), encoding="utf-8")
    new.replace(run_dir / FILE)
