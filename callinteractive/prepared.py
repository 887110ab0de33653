"""Both configuration files, checked and read: how `run`, `reload` and the units hand them to the parts.

Parts need not read YAML: 5,000 extensions and 2,000 contexts take a second, to unpack them takes a twentieth of it. And
they don't depend on what is being written into the files just now. The texts are in it too, for another release.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

from callinteractive import model
from callinteractive.actions import ACTIONS, Context
from callinteractive.config import load_ivr_files, load_site
from callinteractive.loading import without_collection
from callinteractive.model import IvrFile, Site

VARIABLE = "CALLINTERACTIVE_PREPARED"
"""The environment variable that names the folder with what is prepared for the parts of this host."""
SIDECARS, KAMAILIO = "sidecars", "kamailio"
"""The files in it. Sidecars learn a new configuration before Kamailio does: no call meets one that does not know it."""
_MAC = hashlib.sha256
_MAC_SIZE = _MAC().digest_size

Loaded = tuple[Site, IvrFile]


@dataclass(frozen=True, slots=True)
class Sources:
    """The texts of both files, by the names that messages call them. `ivr` is where those of `ivrs` came from."""

    site_name: str
    site: str
    ivr: str
    ivrs: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of what they say, letter by letter, wherever the files are."""
        texts = json.dumps([self.site, *self.ivrs.values()])
        return hashlib.blake2s(texts.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()

    @property
    def octets(self) -> bytes:
        """All of it."""
        texts = [self.site_name, self.site, self.ivr, dict(self.ivrs)]
        return json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def load(self) -> Loaded:
        """Raises ConfigError with all findings of the first file that has any."""
        return load_site(self.site, self.site_name), load_ivr_files(self.ivrs)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that has been checked."""

    sources: Sources
    site: Site
    ivr_file: IvrFile


def pack(sources: Sources, loaded: Loaded, key: bytes) -> bytes:
    """It is signed with the key, since to unpack a forged one could run anything."""
    with without_collection():
        data = pickle.dumps(loaded, pickle.HIGHEST_PROTOCOL)
    texts = sources.octets
    head = len(texts).to_bytes(4) + texts
    return _sign(key, head) + _sign(key, head, data, *_of_this_release()) + head + data


def unpack(packed: bytes, key: bytes) -> Prepared | None:
    """None where it is damaged, or of another key. That of another release is read from its texts.

    Raises ConfigError where this release does not take them.
    """
    macs, rest = packed[: 2 * _MAC_SIZE], packed[2 * _MAC_SIZE :]
    size = int.from_bytes(rest[:4])
    head, data = rest[: 4 + size], rest[4 + size :]
    if not hmac.compare_digest(macs[:_MAC_SIZE], _sign(key, head)):
        return None
    sources = Sources(*json.loads(head[4:].decode("utf-8", "surrogatepass")))
    if not hmac.compare_digest(macs[_MAC_SIZE:], _sign(key, head, data, *_of_this_release())):
        return Prepared(sources, *sources.load())
    with without_collection():
        loaded: Loaded = pickle.loads(data)
    return Prepared(sources, *loaded)


def _sign(key: bytes, *parts: bytes) -> bytes:
    mac = hmac.new(key, digestmod=_MAC)
    for part in parts:
        mac.update(b"%d:" % len(part) + part)
    return mac.digest()


def _of_this_release() -> Iterator[bytes]:
    """The fields of what is packed: another release may have others."""
    yield sys.version.encode()
    for kind in (*vars(model).values(), *ACTIONS, Context):
        if isinstance(kind, type) and is_dataclass(kind):
            yield f"{kind.__qualname__} {[field.name for field in fields(kind)]}".encode()
