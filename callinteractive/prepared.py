"""Both configuration files as `run` has read them, for the parts that it starts: they need not read them again.

To read 5,000 extensions and 2,000 contexts takes a second; to unpack them takes a twentieth of it.
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

from callinteractive import model
from callinteractive.actions import ACTIONS, Context
from callinteractive.config import load_ivr_files, load_site
from callinteractive.loading import without_collection
from callinteractive.model import IvrFile, Site

VARIABLE = "CALLINTERACTIVE_PREPARED"
"""The environment variable that names the file."""
_MAC = hashlib.sha256

Loaded = tuple[Site, IvrFile]


def load(
    site: tuple[str, str], ivrs: Mapping[str, str], key: bytes | None = None, prepared: bytes = b""
) -> Loaded:
    """Both files. `site`: text and file name; `ivrs`: texts by file name; `prepared`: of `pack`, maybe of other files.

    Raises ConfigError with all findings of the first file that has any.
    """
    found = unpack(prepared, key, [site[0], *ivrs.values()]) if key and prepared else None
    return found or (load_site(*site), load_ivr_files(ivrs))


def pack(loaded: Loaded, key: bytes, texts: Iterable[str]) -> bytes:
    """`texts`: what it was loaded from. It is signed with the key, since to unpack a forged one could run anything."""
    with without_collection():
        data = pickle.dumps(loaded, pickle.HIGHEST_PROTOCOL)
    return _sign(data, key, texts) + data


def unpack(packed: bytes, key: bytes, texts: Iterable[str]) -> Loaded | None:
    """None where it is not of these texts, this key, this Python and this release."""
    size = _MAC().digest_size
    data = packed[size:]
    if not hmac.compare_digest(packed[:size], _sign(data, key, texts)):
        return None
    with without_collection():
        loaded: Loaded = pickle.loads(data)
    return loaded


def _sign(data: bytes, key: bytes, texts: Iterable[str]) -> bytes:
    mac = hmac.new(key, digestmod=_MAC)
    for part in (sys.version, *_shapes(), *texts):
        mac.update(f"{len(part)}:".encode() + part.encode("utf-8", "surrogatepass"))
    mac.update(data)
    return mac.digest()


def _shapes() -> Iterator[str]:
    """The fields of what is packed: another release may have others."""
    for kind in (*vars(model).values(), *ACTIONS, Context):
        if isinstance(kind, type) and is_dataclass(kind):
            yield f"{kind.__qualname__} {[field.name for field in fields(kind)]}"
