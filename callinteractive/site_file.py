"""site.yaml: from text to validated, frozen data, or to findings with file, line and reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from callinteractive.database import Database
from callinteractive.database import parse as parse_database
from callinteractive.document import Document, Value
from callinteractive.event_sinks_file import read_events
from callinteractive.fit import misfits
from callinteractive.fleet_file import read_edges, read_kamailio, read_rtpengines, read_sidecars
from callinteractive.loading import without_collection
from callinteractive.model import Address, Api, Defaults, Edge, Site
from callinteractive.names import is_address
from callinteractive.overlap import Ports
from callinteractive.party_file import read_extension, read_trunk
from callinteractive.spelling import check_origin, check_unique, read_address, read_sound
from callinteractive.state_file import read_state
from callinteractive.tls_file import check_trunk_tls, read_tls, with_tls

MOST_DRAIN_S = 86_400
"""No IVR's call lasts longer (`lifetime`)."""
_OF_IVR = dict.fromkeys(("contexts", "ivrs", "web"), "this key belongs into ivr.yaml")
SITE_KEYS = (
    "node",
    "sip",
    "edges",
    "trunks",
    "extensions",
    "sidecars",
    "kamailio",
    "rtpengine",
    "rtpengines",
    "sounds",
    "defaults",
    "internal_calls",
    "refer",
    "tls",
    "web_origins",
    "registrations",
    "state",
    "events",
    "drain_s",
    "api",
    "hep",
)
"""The keys of site.yaml."""
_EXAMPLE_HEP = Address("192.0.2.60", 9060)


@without_collection()
def load_site(text: str, filename: str) -> Site:
    """Read site.yaml. Raises ConfigError with all findings."""
    document = Document(text, filename)
    document.refuse_swapped(_OF_IVR, "this is a file of IVRs, where a site is wanted: are the two swapped?")
    root = document.root.section(*SITE_KEYS, withdrawn=_OF_IVR)
    ports = Ports()
    trunks = [(item, read_trunk(item)) for item in root["trunks"].items()]
    extensions = [(item, read_extension(item)) for item in root["extensions"].items()]
    edges = with_tls(root["tls"], read_tls(root["tls"]), read_edges(root["sip"], root["edges"], ports))
    keeps, database = _registrations(root["registrations"])
    site = Site(
        node=root["node"].integer(None, 0, 2**63),
        edges=_without_peers(edges) if database else edges,
        trunks=tuple(trunk for _, trunk in trunks),
        extensions=tuple(extension for _, extension in extensions),
        sidecars=read_sidecars(root["sidecars"], ports),
        kamailio=read_kamailio(root["kamailio"], ports),
        rtpengines=read_rtpengines(root["rtpengine"], root["rtpengines"], ports),
        sounds=root["sounds"].text("./sounds"),
        defaults=_defaults(root["defaults"]),
        internal_calls=root["internal_calls"].boolean(True),
        refer=root["refer"].boolean(True),
        keeps_registrations=keeps,
        database=database,
        state=read_state(root["state"]),
        events=read_events(root["events"]),
        drain_s=root["drain_s"].optional_integer(0, MOST_DRAIN_S),
        api=_api(root["api"], ports),
        hep=_hep(root["hep"]),
        web_origins=tuple(item.checked(check_origin) for item in root["web_origins"].items()),
    )
    for item, trunk in trunks:
        check_trunk_tls(item, trunk, speaks_tls=site.speaks_tls)
    check_unique("name of tls", ((item, trunk.tls_name or "") for item, trunk in trunks))
    ports.check()
    for key, reason in misfits(site):
        root[key].wrong(reason)
    check_unique("trunk", ((item, trunk.name) for item, trunk in trunks))
    check_unique(
        "contact_user of register",
        ((item, trunk.registration.contact_user) for item, trunk in trunks if trunk.registration),
    )
    check_unique("user name of inbound", ((item, trunk.inbound.username) for item, trunk in trunks if trunk.inbound))
    check_unique("extension", ((item, extension.number) for item, extension in extensions))
    check_unique("extension id", ((item, str(extension.id)) for item, extension in extensions))
    document.finish()
    return site


def _registrations(value: Value) -> tuple[bool, Database | None]:
    """Whether they are kept, and the server that keeps them for all edges."""
    chosen = value.section("database")["database"]
    text = chosen.text("sqlite")
    if text in ("sqlite", "none"):
        return text == "sqlite", None
    try:
        return True, parse_database(text)
    except ValueError as error:
        chosen.wrong(str(error))
        return True, None


def _without_peers(edges: Iterable[Edge]) -> tuple[Edge, ...]:
    """What peers tell each other, the database that they share knows already."""
    return tuple(replace(edge, peer=None) for edge in edges)


def _api(value: Value, ports: Ports) -> Api | None:
    """``{listen: "127.0.0.1:8090"}``, or ``no``."""
    if value.is_missing:
        return Api()
    if not value.is_mapping:
        if value.scalar() is not False:
            value.wrong('write api: {listen: "127.0.0.1:8090"}, or api: no')
        return None
    api = Api(read_address(value.section("listen")["listen"], Api().listen), True)
    ports.claim(value, "tcp", api.listen)
    return api


def _hep(value: Value) -> Address | None:
    """Kamailio sends there, and looks up no names."""
    if value.is_missing:
        return None
    hep = read_address(value, _EXAMPLE_HEP)
    if not is_address(hep.host):
        value.wrong(f'must be an IP address, like "{_EXAMPLE_HEP}": Kamailio looks up no names')
    return hep


def _defaults(value: Value) -> Defaults:
    section, default = value.section("transfer_timeout_s", "ringback"), Defaults()
    return Defaults(
        transfer_timeout_s=section["transfer_timeout_s"].integer(default.transfer_timeout_s, 1, 3600),
        ringback=read_sound(section["ringback"]),
    )
