"""What the calls of a sidecar share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from callinteractive.model import Defaults, IvrFile
from callinteractive.script import Note
from sidecar.admission import Unacknowledged
from sidecar.edges import Edges
from sidecar.media.engines import Engines
from sidecar.media.sounds import Sound, SoundLibrary
from sidecar.sip import UserAgent
from sidecar.state.keeper import Keeper
from sidecar.story import Stories
from sidecar.webhook import Webhook


@dataclass(frozen=True, slots=True)
class Services:
    """Made once by `app`, used by every `Call`.

    `edges` knows where Kamailio takes our own INVITEs; `media_prefix` is how the names of this sidecar's calls in
    RTPengine begin, and `pool` the pool it is in;
    `ringback` is what a caller hears while numbers ring without early media (A12); `defaults` has how long they ring;
    `keeper` writes calls down; `stories` is told what happens to them.
    """

    media_prefix: str
    pool: str | None
    ivr_file: IvrFile
    agent: UserAgent
    edges: Edges
    engines: Engines
    sounds: SoundLibrary
    ringback: Sound
    defaults: Defaults
    webhook: Webhook
    unacknowledged: Unacknowledged
    observe: Callable[[Note], None]
    keeper: Keeper
    stories: Stories


def media_prefix(node: int, index: int) -> str:
    """How the names of sidecar `index`'s calls in RTPengine begin: with its site and its number in the whole site.

    So sidecars on several hosts, even of several sites, may share an RTPengine. A digit comes first: it tells them from
    the calls that Kamailio anchors (`kemi.anchor`).
    """
    return f"{node}-{index}-"
