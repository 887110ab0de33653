"""`callinteractive status`: does each part of a site answer, how fast, and what does it do?

It asks over the network, from wherever it runs: edges and sidecars by OPTIONS, sidecars for their metrics, RTPengines
by their control protocol. It needs to reach those addresses, so it is best run on one of the site's hosts.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click
from prometheus_client.parser import text_string_to_metric_families

from callinteractive import prepared
from callinteractive.model import Address, Edge, RtpEngine, Sidecar, Site
from cli.configuration import active_of
from cli.files import read_site
from cli.probe import DRAINS, ask_options
from sidecar.media.ng_command import NgTimeouts
from sidecar.media.ng_failures import NgFailure
from sidecar.media.rtpengine import NgClient
from sidecar.metrics import CONFIGURATION, STALE, STATE_UP

ANSWER_S = 1.0
"""How long a part may take to answer."""
AT_ONCE = 100
"""How many parts are asked at the same time."""
MOST_METRICS = 4 * 1024 * 1024
_CALLS = "callinteractive_live_calls"
_SERVICES = {
    "edge": "callinteractive-kamailio",
    "sidecar": "callinteractive-sidecar@{name}",
    "rtpengine": "callinteractive-rtpengine",
}


@dataclass(frozen=True)
class PartStatus:
    """What a part told. `calls` are a sidecar's, `sessions` an RTPengine's; None where nobody told."""

    kind: str
    name: str
    address: str
    up: bool
    ms: float | None = None
    calls: int | None = None
    draining: bool | None = None
    sessions: int | None = None
    problem: str = ""

    @property
    def told(self) -> str:
        """For a person."""
        if not self.up:
            return f"DOWN  {self.problem}"
        more = []
        if self.calls is not None:
            more.append(f"{self.calls} call{'' if self.calls == 1 else 's'}")
        if self.sessions is not None:
            more.append(f"{self.sessions} session{'' if self.sessions == 1 else 's'}")
        if self.draining:
            more.append("drains: it takes no new calls")
        if self.problem:
            more.append(self.problem)
        return f"up    {self.ms:6.1f} ms  {', '.join(more)}".rstrip()


def run(site_path: Path, *, as_json: bool) -> int:
    """Print the state of each part. The exit status: 0 where all answer, else 1; EX_CONFIG for an unusable file."""
    site, findings = read_site(site_path)
    if site is None:
        click.echo("\n".join(map(str, findings)), err=True)
        if (site := _that_counts(site_path)) is None:
            return os.EX_CONFIG
    parts = asyncio.run(ask_all(site))
    is_up = all(part.up for part in parts)
    if as_json:
        click.echo(json.dumps({"up": is_up, "parts": [_as_json(part) for part in parts]}, indent=2))
    else:
        click.echo("\n".join(report(parts)))
    return 0 if is_up else 1


def _that_counts(site_path: Path) -> Site | None:
    """The site of the parts that run on this host, while its file has mistakes; None where nothing is known of it."""
    try:
        active = active_of(site_path)
    except ValueError:
        return None
    counts = active and active.read(prepared.SIDECARS)
    return counts.site if counts else None


def report(parts: Sequence[PartStatus]) -> Iterator[str]:
    """A line each, then what is down and where to look."""
    wide = max(len(part.name) for part in parts)
    wide_address = max(len(part.address) for part in parts)
    for part in parts:
        yield f"{part.kind:<9} {part.name:<{wide}}  {part.address:<{wide_address}}  {part.told}"
    down = [part for part in parts if not part.up]
    yield ""
    yield f"{len(parts) - len(down)} of {len(parts)} parts answer."
    if len(down) == len(parts):
        yield "Does `callinteractive run` run? Where the parts are services of their own, see:"
    for part in down:
        service = _SERVICES[part.kind].format(name=part.name)
        host = part.address.rpartition(":")[0]
        yield f"{part.kind} {part.name} is down: see `systemctl status {service}` on the host of {host}, and its log."


async def ask_all(site: Site) -> list[PartStatus]:
    """All parts, in the order of the file. Takes ANSWER_S for each AT_ONCE of them at most."""
    turn = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
        asked = [
            *(_ask_edge(edge) for edge in site.edges),
            *(_ask_sidecar(sidecar, session) for sidecar in site.sidecars),
            *(_ask_rtpengine(engine) for engine in site.rtpengines),
        ]
        return await asyncio.gather(*(_in_turn(turn, part) for part in asked))


async def _in_turn(turn: asyncio.Semaphore, part: Awaitable[PartStatus]) -> PartStatus:
    async with turn:
        return await part


async def _ask_edge(edge: Edge) -> PartStatus:
    began = time.monotonic()
    status = await ask_options(edge.udp_address, ANSWER_S)
    ms = _ms_since(began)
    if status is None:
        return PartStatus("edge", edge.name, str(edge.udp_address), False, problem=_NO_ANSWER)
    drains = status == DRAINS
    problem = "" if drains or 200 <= status < 300 else f"answers OPTIONS with {status}"
    return PartStatus("edge", edge.name, str(edge.udp_address), not problem, ms, draining=drains, problem=problem)


async def _ask_sidecar(sidecar: Sidecar, session: aiohttp.ClientSession) -> PartStatus:
    began = time.monotonic()
    status = await ask_options(sidecar.address, ANSWER_S)
    ms = _ms_since(began)
    name, address = str(sidecar.index), str(sidecar.address)
    if status is None:
        return PartStatus("sidecar", name, address, False, problem=_NO_ANSWER)
    if status != DRAINS and not 200 <= status < 300:
        return PartStatus("sidecar", name, address, False, ms, problem=f"answers OPTIONS with {status}")
    told = {name: value for name, _, value in await _samples(sidecar.metrics, session)}
    calls = int(told[_CALLS]) if _CALLS in told else None
    problem = "" if calls is not None else f"no metrics at {sidecar.metrics}"
    if told.get(STATE_UP) == 0:
        problem = "its calls are not kept, the store fails (see its log)"
    if told.get(STALE):
        problem = "its files have mistakes: it uses the last good ones (see its log)"
    return PartStatus("sidecar", name, address, True, ms, calls, status == DRAINS, problem=problem)


async def calls_of(metrics: Address, session: aiohttp.ClientSession) -> int | None:
    """How many calls a sidecar has, by its metrics; None where it does not tell."""
    for name, _, value in await _samples(metrics, session):
        if name == _CALLS:
            return int(value)
    return None


async def generation_of(metrics: Address, session: aiohttp.ClientSession) -> str | None:
    """Which ivr.yaml a sidecar serves (`IvrFile.generation`); None where it does not tell."""
    for name, labels, _ in await _samples(metrics, session):
        if name == CONFIGURATION:
            return labels.get("generation")
    return None


async def _samples(metrics: Address, session: aiohttp.ClientSession) -> list[tuple[str, Mapping[str, str], float]]:
    try:
        async with session.get(f"http://{metrics}/metrics") as response:
            data = bytearray()
            async for chunk in response.content.iter_any():
                data += chunk
                if len(data) > MOST_METRICS:
                    return []
        families = text_string_to_metric_families(data.decode("utf-8", "replace"))
        return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return []


async def _ask_rtpengine(engine: RtpEngine) -> PartStatus:
    client = NgClient(*engine.ng, NgTimeouts(retransmit_s=0.25, total_s=ANSWER_S))
    address, began = str(engine.ng), time.monotonic()
    try:
        await client.open()
        if not await client.ping():
            return PartStatus("rtpengine", engine.name, address, False, problem=_NO_ANSWER)
        ms = _ms_since(began)
        return PartStatus("rtpengine", engine.name, address, True, ms, sessions=await _sessions_of(client))
    except OSError as error:
        return PartStatus("rtpengine", engine.name, address, False, problem=error.strerror or str(error))
    finally:
        client.close()


async def _sessions_of(client: NgClient) -> int | None:
    try:
        statistics: Any = (await client.command("statistics")).get("statistics")
        return int(statistics["currentstatistics"]["sessionstotal"])
    except (NgFailure, KeyError, TypeError, ValueError):
        return None


_NO_ANSWER = "does not answer"


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


def _as_json(part: PartStatus) -> dict[str, Any]:
    """Without what was not told."""
    return {key: value for key, value in asdict(part).items() if value not in (None, "")}
