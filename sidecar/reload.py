"""A sidecar takes up a new configuration while it runs (`callinteractive reload`).

It looks at a file that holds nothing but what has been checked. What it has taken up, or why not, it tells by its
presence: the command waits for that before Kamailio sends calls of the new configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from callinteractive import prepared
from callinteractive.changes import restart_needed
from callinteractive.errors import ConfigError
from callinteractive.model import Site
from callinteractive.prepared import Prepared
from sidecar.files import stamp
from sidecar.media.sounds import SoundLibrary
from sidecar.presence import Presence, of_sidecar

LOG = structlog.get_logger()
LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Source:
    """Where new configurations come from. `name`: of the one at hand.

    `problem`: why that is not the one of the files, empty where it is. `key`: `callinteractive.keys.PREPARED`.
    """

    folder: Path
    key: bytes
    name: str
    problem: str = ""


class Reload:
    """Watches the file of one sidecar."""

    def __init__(
        self,
        source: Source,
        index: int,
        site: Site,
        load_sounds: Callable[[Site], SoundLibrary],
        learn: Callable[[Prepared, SoundLibrary], None],
    ) -> None:
        """`site`: the one at hand. `learn` is called in the event loop with each new configuration."""
        self._source = source
        self._file = source.folder / prepared.SIDECARS
        self._site = site
        self._load_sounds = load_sounds
        self._learn = learn
        self._presence = Presence(of_sidecar(source.folder, index))
        self._seen: tuple[int, int] | None = None
        self.name = source.name
        self.problem = source.problem
        if self.problem:
            LOG.error("the last good configuration is used", reason=self.problem)
        self._tell()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if (found := stamp(self._file)) != self._seen and found is not None:
                is_first, self._seen = self._seen is None, found
                await self._take_up(may_know=is_first)

    def close(self) -> None:
        self._presence.close()

    async def _take_up(self, *, may_know: bool) -> None:
        """may_know: it may be the one that we have started with. Later even the same one brings other sounds."""
        name = ""
        try:
            found = await asyncio.to_thread(self._read)
            name = found.sources.name
            if may_know and name == self.name:
                self._tell()
                return
            if wrong := [f"{key}: {reason}" for key, reason in restart_needed(self._site, found.site)]:
                raise ValueError(f"{wrong[0]}: restart this sidecar")
            sounds = await asyncio.to_thread(self._load_sounds, found.site)
            if sounds.is_unseen:  # then those at hand are better
                raise TimeoutError(f"the folder of sounds, {found.site.sounds}, does not answer")
            self._learn(found, sounds)
        except Exception as error:  # whatever it is: the present configuration goes on
            LOG.error("a new configuration is refused", configuration=name, reason=str(error))
            self._tell(refused=str(error))
            return
        LOG.info("new configuration", configuration=name, generation=found.ivr_file.generation)
        self._site, self.name, self.problem = found.site, name, ""
        self._tell()

    def _read(self) -> Prepared:
        """Raises OSError, ValueError and ConfigError."""
        try:
            found = prepared.unpack(self._file.read_bytes(), self._source.key)
        except ConfigError as error:
            raise ValueError("; ".join(map(str, error.findings))) from None
        if found is None:
            raise ValueError(f"{self._file} is damaged, or made with another key")
        return found

    def _tell(self, **more: str) -> None:
        """`seen`: of the file, so that who has written it knows that this is the answer."""
        self._presence.tell(configuration=self.name, seen=self._seen and self._seen[0], **more)
