"""The phones of the site's extensions, as an edge of this host knows them: configured, or registered (RFC 3261 10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from callinteractive.model import Extension, Site
from cli import kamcmd
from cli.active import Active
from sidecar.http_api import ApiError

MOST_ASKED = 500
"""Where a database has the registrations, Kamailio is asked for one extension after the other."""
AT_ONCE = 4
_UNKNOWN = ("n/a", "[not set]")
Dump = dict[str, list[dict[str, str]]]
"""The contacts of each extension, as Kamailio shows them."""


class Phones:
    """`site`: what counts now. `run_dirs`: of the edges that have started on this host, by their names."""

    def __init__(self, site: Callable[[], Site], run_dirs: Callable[[], Mapping[str, Path]]) -> None:
        self._site = site
        self._run_dirs = run_dirs

    @classmethod
    def of_host(cls, site: Site, active: Active | None) -> Phones:
        """site: that of the start. Extensions may have been reloaded since."""
        if active is None:
            return cls(lambda: site, dict)
        return cls(lambda: found.site if (found := active.read()) else site, active.edges)

    async def told(self) -> dict[str, Any]:
        """All extensions with their phones. Raises ApiError."""
        site = self._site()
        registered = await self._registered(site) if any(each.password for each in site.extensions) else {}
        return {"phones": [_shown(each, registered.get(each.number, [])) for each in site.extensions]}

    async def _registered(self, site: Site) -> Dump:
        """What the edges of this host know together. Each knows what all know (dmq_usrloc). Raises ApiError."""
        found: Dump | None = None
        problems = []
        for name, run_dir in self._run_dirs().items():
            try:
                dump = await _asked_singly(site, run_dir) if site.database else await _dumped(run_dir)
            except ApiError as error:
                problems.append(f"edge {name}: {error}")
                continue
            found = {} if found is None else found
            for number, contacts in dump.items():
                known = found.setdefault(number, [])
                known += [each for each in contacts if each["Address"] not in {one["Address"] for one in known}]
        if found is None:
            why = "; ".join(problems) or "no edge of the site runs on this host: ask the API of a host with one"
            raise ApiError(503, f"registrations can't be read: {why}")
        return found


async def _asked_singly(site: Site, run_dir: Path) -> Dump:
    """Raises ApiError."""
    numbers = [each.number for each in site.extensions if each.password]
    if len(numbers) > MOST_ASKED:
        raise ApiError(503, f"there are more than {MOST_ASKED} extensions: look into {site.database}")
    turn = asyncio.Semaphore(AT_ONCE)

    async def look_up(number: str) -> Dump:
        async with turn:
            said = await kamcmd.ask(run_dir, "ul.lookup", "location", kamcmd.text(number))
        if "AoR: " not in said and "AOR not found" not in said:
            raise ApiError(503, said.strip()[:200] or "no answer")
        return parse(said)

    found: Dump = {}
    for dump in await asyncio.gather(*map(look_up, numbers)):
        found |= dump
    return found


async def _dumped(run_dir: Path) -> Dump:
    """Raises ApiError."""
    said = await kamcmd.ask(run_dir, "ul.dump")
    if "Domains: " not in said:
        raise ApiError(503, said.strip()[:200] or "no answer")
    return parse(said)


def parse(said: str) -> Dump:
    """What kamcmd prints of `ul.dump` or `ul.lookup`: a line each, `Key: value`. Phones choose some of the values."""
    found: Dump = {}
    contacts: list[dict[str, str]] = []
    for line in said.split("\n"):
        key, _, value = line.strip(" \t").partition(": ")
        if key == "AoR":
            contacts = found.setdefault(value, [])
        elif key == "Address":
            contacts.append({key: value})
        elif contacts and value and value not in _UNKNOWN:
            contacts[-1].setdefault(key, value)
    return found


def _shown(extension: Extension, registered: list[dict[str, str]]) -> dict[str, Any]:
    """As the API tells it."""
    kind = "fixed" if extension.contact else "registers"
    contacts = [{"uri": extension.contact}] if extension.contact else list(map(_contact, _living(registered)))
    return {"extension": extension.number, "id": extension.id, "kind": kind, "contacts": contacts}


def _living(registered: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    for contact in registered:
        expires = contact.get("Expires", "")
        if expires == "permanent" or expires.isdigit():  # else expired, or deleted
            yield contact


def _contact(registered: dict[str, str]) -> dict[str, Any]:
    expires = registered["Expires"]
    names = {"User-Agent": "user_agent", "Received": "received", "Socket": "socket"}
    told = {name: registered[key] for key, name in names.items() if key in registered}
    return {"uri": registered["Address"], "expires_s": int(expires) if expires.isdigit() else None, **told}
