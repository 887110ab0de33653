"""How Kamailio is started for a site: everything that kamailio.cfg leaves open."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from callinteractive import prepared
from callinteractive.changes import needs_companion, registers
from callinteractive.dispatcher import EDGES, TRUNKS, sidecar_groups
from callinteractive.edge import VARIABLE as EDGE
from callinteractive.edge import edge_id
from callinteractive.keys import VARIABLE
from callinteractive.media_sets import module_parameters
from callinteractive.model import Address, Edge, Site, pools_of
from callinteractive.names import Names, named_uris
from cli import certificates, compiled, redis, registrations, tls, trunk_registrations, versions
from cli.active import ActiveError
from cli.configuration import handed_on
from cli.key import shared_key
from cli.known_names import probed
from cli.known_names import read as read_names
from cli.probe import SignsOfLife, answers_options
from cli.process import ProcessSpec
from cli.programs import locate
from cli.sockets import listen_arguments, probed_from
from cli.trunk_registrations import VARIABLE as REGISTERS

ROOT = Path(__file__).resolve().parents[1]
ALLOCATOR = "tlsf"
"""For both kinds of memory. Debian's default is for debugging, and took a sixth of Kamailio's CPU. `fm`, which is as
fast, searches all free pieces under a lock when memory gets short: then both workers stand still, and packets are lost.
"""
RECEIVE_BUFFER = 4 << 20
"""Octets that a socket asks for, as a sidecar does. Kamailio gets no more than `net.core.rmem_max`."""
LEAST_SHARED_MB, MOST_SHARED_MB = 256, 1024
"""A call's two transactions stay five seconds after it has ended: 40 KB. 256 MB are full at 1,100 short calls/s."""
MOST_CONNECTIONS, ONE_OF_TLS_IN = 8192, 4
CONNECTION_KB, TLS_KB, WEBSOCKET_KB = 19, 65, 65
"""Of shared memory: what a connection takes, and what more with TLS and as a WebSocket. Anybody may have many."""
CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
DISPATCHER_LIST = "dispatcher.list"
"""Its name in the run directory, as in kamailio.cfg."""
LOG_ENGINE = "--log-engine=json:M"
"""One escaped line a message, for `cli.partline`: a stranger's line breaks in it begin no new line."""


def kamailio_spec(
    site: Site,
    site_path: Path,
    ivr_path: Path,
    run_dir: Path,
    state_dir: Path | None = None,
    edge: Edge | None = None,
) -> ProcessSpec:
    """The process of an edge; None is the first. Writes what it reads at start into `run_dir`, which must exist.

    `state_dir` is for what outlives the stack (`cli.registrations`); None is `run_dir`.

    Started again from the same spec, after a crash, it still knows the dialogs from before.
    """
    edge = edge or site.edges[0]
    run_dir = run_dir.resolve()
    workers = site.kamailio.workers or _workers(site)
    tcp_workers = site.kamailio.workers or _cores()
    others = [other for other in site.edges if other != edge]
    shared_mb = site.kamailio.shared_mb or _shared_mb()
    file = (state_dir or run_dir / "state").resolve() / (edge.name if others else "") / registrations.FILE
    (run_dir / "peers.cfg").write_text(_peers(edge, others), encoding="ascii")
    write_dispatcher_list(site, edge, run_dir)
    (run_dir / "rtpengines.cfg").write_text(module_parameters(site.rtpengines), encoding="ascii")
    if registers(site, edge):
        trunk_registrations.write(site, site_path.parent, edge, read_names(run_dir), run_dir, os.environ)
    if files := tls_files(edge, site_path):
        tls.write_config(files, run_dir, asks=site.asks_for_certificates)
    return ProcessSpec(
        name="kamailio" if len(site.edges) == 1 else f"kamailio-{edge.name}",
        argv=(
            *(locate("kamailio"), "-f", str(ROOT / "kemi" / "kamailio.cfg"), "-DD", "-E", "-Y", str(run_dir)),
            LOG_ENGINE,
            *("-m", str(shared_mb), "-M", str(site.kamailio.private_mb)),
            *("-x", ALLOCATOR, "-X", ALLOCATOR, "-b", str(RECEIVE_BUFFER)),
            *("-n", str(workers), "-N", str(1 if files and _corrupts_its_heap() else tcp_workers)),
            *(("--server-id", str(edge_id(edge.name))) if others else ()),
            *listen_arguments(edge),
            # Last, since Kamailio sends from the first address by default.
            *(("-l", _peer_socket(edge)) if edge.peer and others else ()),
        ),
        env=_environment(site, site_path, ivr_path, run_dir, edge) | _most_connections(site, shared_mb, bool(files)),
        ready=partial(answers_options, edge.udp_address),
        alive=SignsOfLife(edge.udp_address),
        prepare=partial(_before_each_start, site, site_path.parent, edge, run_dir, file),
    )


def _environment(site: Site, site_path: Path, ivr_path: Path, run_dir: Path, edge: Edge) -> dict[str, str]:
    """What kamailio.cfg and `kemi` read. Kamailio gets nothing else of ours."""
    has_others = len(site.edges) > 1
    return {
        # Debian's Python first: the first python3 in PATH decides which standard library libpython loads.
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "CALLINTERACTIVE_ROOT": str(ROOT),
        "CALLINTERACTIVE_RUN_DIR": str(run_dir),
        "CALLINTERACTIVE_SITE": str(site_path.absolute()),
        "CALLINTERACTIVE_IVR": str(ivr_path.absolute()),
        EDGE: edge.name,
        "CALLINTERACTIVE_PACKAGES": sysconfig.get_path("purelib"),
        **compiled.environment(),
        # Only where it is needed: without it the module that talks to RTPengine isn't even loaded.
        **({"CALLINTERACTIVE_ANCHORING": "1"} if site.anchors_media else {}),
        **({"CALLINTERACTIVE_PEERS": "1"} if edge.peer and has_others else {}),
        **({"CALLINTERACTIVE_SHARED": "1"} if has_others and (edge.peer or site.database) else {}),
        **({"CALLINTERACTIVE_TLS": "1"} if tls_files(edge, site_path) else {}),
        **(_hep(site.hep, edge) if site.hep else {}),
        **({"CALLINTERACTIVE_WEBSOCKET": "1"} if site.has_websockets else {}),
        # Kept in the environment of a service, it lets dialogs outlive a restart of Kamailio.
        VARIABLE: shared_key(),
        **{name: os.environ[name] for name in (prepared.VARIABLE, *site.secret_variables) if name in os.environ},
        # Only where there is something to do beside Kamailio (kemi/companion.py).
        **({"CALLINTERACTIVE_COMPANION": sys.executable} if needs_companion(site, edge) else {}),
        **({REGISTERS: trunk_registrations.contact_of(edge)} if registers(site, edge) else {}),
    }


def _most_connections(site: Site, shared_mb: int, has_tls: bool) -> dict[str, str]:
    """In Kamailio's environment: of TCP, and how many of them of TLS. Half of the memory stays for calls."""
    each_kb = CONNECTION_KB + TLS_KB // ONE_OF_TLS_IN * has_tls + WEBSOCKET_KB * site.has_websockets
    most = min(MOST_CONNECTIONS, shared_mb * 1024 // 2 // each_kb)
    return {"CALLINTERACTIVE_CONNECTIONS": str(most), "CALLINTERACTIVE_TLS_CONNECTIONS": str(most // ONE_OF_TLS_IN)}


def _before_each_start(
    site: Site, site_dir: Path, edge: Edge, run_dir: Path, file: Path, tell: Callable[[str], None]
) -> Mapping[str, str]:
    """Let Kamailio know what was found out since the last start. Returns more of its environment.

    `site`: as it was when Kamailio first started; the configuration that is active now counts. Raises StackError where
    the database of the registrations can't be used.
    """
    active = handed_on()
    if active and (found := active.read()):
        site = found.site
    try:
        write_dispatcher_list(site, edge, run_dir)
        if registers(site, edge):
            trunk_registrations.write(site, site_dir, edge, read_names(run_dir), run_dir, os.environ)
    except OSError as error:
        tell(f"{run_dir / DISPATCHER_LIST}: {error.strerror or error}; Kamailio starts with the one that is there")
    try:
        if active:
            active.note_edge(edge.name, run_dir)
    except ActiveError as error:
        tell(f"`callinteractive reload` will not find this Kamailio: {error}")
    if not registrations.are_kept(site):
        return {}
    return redis.make_ready(site.database) if site.database else registrations.make_ready(file, run_dir, tell)


def write_dispatcher_list(site: Site, edge: Edge, run_dir: Path, *, beside: Site | None = None) -> bool:
    """With the addresses behind names that are known by now: `cli.resolve` tells a running Kamailio only of changes.

    `beside`: with what that site needs too. Returns whether it has changed.
    """
    names, file = read_names(run_dir), run_dir / DISPATCHER_LIST
    members = _members(site, edge, names) + (_members(beside, edge, names) if beside else [])
    text = "".join(f"{group} {uri}{probed_from(edge, uri)}\n" for group, uri in dict.fromkeys(members))
    if file.exists() and file.read_text(encoding="ascii") == text:
        return False
    new = run_dir / f"{DISPATCHER_LIST}.new"
    new.write_text(text, encoding="ascii")
    new.replace(file)
    return True


def tls_files(edge: Edge, site_path: Path) -> certificates.Files | None:
    """The certificate and key of an edge; None if it does not speak TLS."""
    return certificates.Files.of(edge.tls, site_path.parent) if edge.tls else None


def certificate_problems(edges: Iterable[Edge], site_path: Path) -> list[str]:
    """Why these edges can't start with their certificates, a line each."""
    found = (tls_files(edge, site_path) for edge in edges)
    return [line for files in dict.fromkeys(filter(None, found)) for line in certificates.problems(files)]


def _hep(server: Address, edge: Edge) -> dict[str, str]:
    """A copy of all SIP goes there, from this edge's own address."""
    return {
        "CALLINTERACTIVE_HEP": str(server),
        "CALLINTERACTIVE_HEP_FROM": str(edge.udp_address_for(server.host)),
        "CALLINTERACTIVE_HEP_ID": str(edge_id(edge.name)),
    }


def _corrupts_its_heap() -> bool:
    """Whether several processes for TCP do so while TLS is on, as in 5.6. 6.0 has no such fault."""
    return versions.kamailio_version() < (6,)


def _members(site: Site, edge: Edge, names: Names) -> list[tuple[int, str]]:
    """Groups and URIs: whom this edge probes. Who gets a call is up to `kemi.sidecars` and `kemi.trunks`."""
    pools = pools_of(site.sidecars)
    groups = sidecar_groups(site.sidecars).items()
    members = [(group, f"sip:{sidecar.address}") for name, group in groups for sidecar in pools[name]]
    gateways = [uri for trunk in site.trunks if trunk.is_probed for uri in trunk.to if uri not in named_uris(site)]
    members += [(TRUNKS, uri) for uri in (*gateways, *probed(site, names))]
    return members + [(EDGES, f"sip:{other.udp_address}") for other in site.edges if other != edge]


def _peer_socket(edge: Edge) -> str:
    """With itself for its advertised address, where others have one (`listen_arguments`)."""
    return f"udp:{edge.peer}/{edge.peer}" if any(listen.advertised for listen in edge.listen) else f"udp:{edge.peer}"


def _peers(edge: Edge, others: Sequence[Edge]) -> str:
    """Kamailio's parameters for what the edges tell each other."""
    addresses = [("server_address", edge.peer), *(("notification_address", other.peer) for other in others)]
    return "".join(f'modparam("dmq", "{name}", "sip:{address}")\n' for name, address in addresses if address)


def _workers(site: Site) -> int:
    """Processes that read from a UDP address. The kernel wakes them in turn, and one that has rested is dearer.

    Half the cores are more than Kamailio's share where sidecars and RTPengine run beside it. All of them where edges
    have hosts of their own, or where a worker may have to wait: for RTPengine, for Redis.
    """
    if site.anchors_media or site.database or len(site.edges) > 1:
        return _cores()
    return max(1, _cores() // 2)


def _cores() -> int:
    return max(2, min(8, os.cpu_count() or 2))


def _shared_mb() -> int:
    """A quarter of what this machine has, or this container may take. The kernel gives it only as calls need it."""
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no cgroups of version 2, or "max"
        available = min(available, int(CGROUP_MEMORY.read_text()))
    return max(LEAST_SHARED_MB, min(MOST_SHARED_MB, available // 4 >> 20))
