"""The Record-Route that keeps us in a dialog's path, and tells our dialogs from forged ones.

Its parameter signs the Call-ID. Without the signature anybody could write a Route that makes us an open relay. If the
dialog's media is anchored, the parameter also names the media's call in RTPengine, and signs the name. So Kamailio
keeps nothing of such a dialog, and the dialog outlives a restart. Neither side can take its media out of RTPengine by
removing the name.

With anchored media the signature differs by branch. So a site that anchors any media adds the header in each branch;
other sites add it once, on entry.
"""

from __future__ import annotations

import hashlib
import re

from kemi import ksr

_MARK = "ci"
_ANCHORED = re.compile(rf";{_MARK}=([0-9a-f]{{16}})\.([0-9a-z-]{{1,64}})(?![0-9a-z-])", re.ASCII)


class RecordRoute:
    """Writes and reads our Record-Route. `anchors`: some of the site's media is anchored."""

    def __init__(self, key: bytes, *, anchors: bool) -> None:
        self._key = key
        self._anchors = anchors

    def on_entry(self) -> None:
        """Request route, for an INVITE that has not passed here before."""
        if not self._anchors:
            self._record("")

    def on_branch(self, media: str = "") -> None:
        """Branch route, for a branch that does not spiral. `media` names its call in RTPengine, if any."""
        if self._anchors:
            self._record(media)

    def media_of(self, routes: str) -> str | None:
        """The name of the anchored media of the message at hand, empty for none. None if the dialog is not ours.

        `routes` holds its Route or Record-Route.
        """
        if f";{_MARK}={self._sign('')}" in routes:
            return ""
        named = _ANCHORED.finditer(routes) if self._anchors else ()
        return next((match[2] for match in named if match[1] == self._sign(match[2])), None)

    def _record(self, media: str) -> None:
        ksr.record_route(f";{_MARK}={self._sign(media)}{media and '.' + media}")

    def _sign(self, media: str) -> str:
        signed = ksr.call_id().encode("utf-8", "surrogateescape")
        if media:
            signed += b"\n" + media.encode("ascii")  # no Call-ID has a line's end in it
        return hashlib.blake2s(signed, key=self._key, digest_size=8).hexdigest()
