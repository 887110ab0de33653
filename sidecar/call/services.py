"""What the calls of a sidecar share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from callinteractive.model import Address, IvrFile
from callinteractive.script import Note
from sidecar.admission import Unacknowledged
from sidecar.media.dtmf import DtmfReceiver
from sidecar.media.rtpengine import NgClient
from sidecar.media.sounds import Sound, SoundLibrary
from sidecar.sip import UserAgent
from sidecar.webhook import Webhook


@dataclass(frozen=True, slots=True)
class Services:
    """Made once by `app`, used by every `Call`.

    `proxy` is where Kamailio takes our own INVITEs; `index` is this sidecar's place among those of its host and
    `pool` the pool it is in;
    `ringback` is what a caller hears while numbers ring without early media (A12).
    """

    index: int
    pool: str | None
    ivr_file: IvrFile
    agent: UserAgent
    proxy: Address
    ng: NgClient
    dtmf: DtmfReceiver
    sounds: SoundLibrary
    ringback: Sound
    webhook: Webhook
    unacknowledged: Unacknowledged
    observe: Callable[[Note], None]


def media_prefix(index: int) -> str:
    """How the names of sidecar `index`'s calls in RTPengine begin.

    The number tells whose a call is. The rest tells it from the calls that Kamailio anchors, whose random names begin
    with a word (`kemi.anchor`).
    """
    return f"{index}ci-"
