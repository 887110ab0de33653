"""Write a large site.yaml and ivr.yaml: `python -m bench.size DIR [EXTENSIONS [IVRS [CONTEXTS]]]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

_SITE = """\
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
trunks:
  - {name: carrier, from: ["127.0.0.2/32"], to: "sip:127.0.0.2:5080"}
sidecars: {count: 2, base_port: 5070}
rtpengine: {ng: "127.0.0.1:22222"}
sounds: sounds
extensions:
"""
_CONTEXT = """\
  menu{index}:
    name: menu {index}
    digit_len: 1
    options:
      start:
        - pause: {{length: 1}}
      "1":
        - set_var: {{name: lang, value: en}}
        - jump: {{context: menu{next}, option: start}}
      "2":
        - simple_transfer: {{to: ["001*{extension}"]}}
      invalid:
        - hangup
"""


def site_text(extensions: int) -> str:
    """A site.yaml of so many extensions. Every second one has a fixed address, the others register."""
    return _SITE + "".join(_extensions(extensions))


def ivr_text(ivrs: int, contexts: int, first: int = 0) -> str:
    """An ivr.yaml. `first` counts the IVRs and contexts of files before it, so that several fit together."""
    written = (_context(first + index, first + (index + 1) % contexts) for index in range(contexts))
    numbers = "".join(
        f'  - {{number: "000*{1000 + first + index}", id: {1 + first + index}, '
        f'entry_context: menu{first + index % contexts}, dids: ["+7812{1000000 + first + index}"]}}\n'
        for index in range(ivrs)
    )
    return f"contexts:\n{''.join(written)}ivrs:\n{numbers}"


def write(directory: Path, extensions: int = 5000, ivrs: int = 500, contexts: int = 2000) -> tuple[Path, Path]:
    """Both files and the folder of sounds. Returns where they are."""
    (directory / "sounds").mkdir(parents=True, exist_ok=True)
    site, ivr = directory / "site.yaml", directory / "ivr.yaml"
    site.write_text(site_text(extensions), encoding="utf-8")
    ivr.write_text(ivr_text(ivrs, contexts), encoding="utf-8")
    return site, ivr


def _extensions(count: int) -> Iterator[str]:
    for index in range(count):
        number = f'number: "001*{10000 + index}", id: {100000 + index}'
        host = f"127.{1 + index // 62500}.{index // 250 % 250}.{1 + index % 250}"
        where = f'contact: "sip:{index}@{host}:5090"' if index % 2 else f"password: secret{index}"
        yield f"  - {{{number}, {where}}}\n"


def _context(index: int, following: int) -> str:
    return _CONTEXT.format(index=index, next=following, extension=10000)


if __name__ == "__main__":
    write(Path(sys.argv[1]), *map(int, sys.argv[2:]))
