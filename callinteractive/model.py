"""What a site and its IVRs consist of: frozen, validated data. `config` reads it from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from callinteractive.actions import Context
from callinteractive.database import Database
from callinteractive.event_sinks import Events
from callinteractive.fleet import (
    Address,
    Edge,
    Interface,
    Kamailio,
    Listen,
    RtpEngine,
    Sidecar,
    pools_of,
    sidecars_of_host,
)
from callinteractive.secret import Secret
from callinteractive.state import State
from callinteractive.web import NOTHING, Web

__all__ = (
    "DEFAULT_IDENTITY",
    "EXTENSION_CALLS",
    "EXTENSION_SETUPS",
    "TRUNK_CALLS",
    "TRUNK_SETUPS",
    "Address",
    "Api",
    "Defaults",
    "Edge",
    "Extension",
    "IdentityHeader",
    "Interface",
    "Ivr",
    "IvrFile",
    "Kamailio",
    "Listen",
    "RtpEngine",
    "Sidecar",
    "Site",
    "Trunk",
    "pools_of",
    "sidecars_of_host",
)

IdentityHeader = Literal["from", "pai", "rpid"]
"""Where a carrier looks for the caller's number: From, P-Asserted-Identity, Remote-Party-ID."""
TRUNK_CALLS, TRUNK_SETUPS = 2000, 2000
EXTENSION_CALLS, EXTENSION_SETUPS = 30, 10
"""How many calls they may have at once, and start in a second."""
DEFAULT_IDENTITY: tuple[IdentityHeader, ...] = ("from", "pai")


@dataclass(frozen=True, slots=True)
class Ivr:
    """A number that runs a script (C1, C5, C6, R5). Times in seconds."""

    number: str
    id: int
    entry_context: str
    dids: tuple[str, ...] = ()
    answer: Literal["at_once", "on_media"] = "at_once"
    lifetime_s: int = 3600
    connect_timeout_s: float = 2
    request_timeout_s: float = 10
    follow_redirects: bool = False
    max_calls: int | None = None
    mask_digits: bool = False
    """Digits are shown in no log, event or page (E3)."""
    web: Web = NOTHING
    """How its web application is asked."""

    @property
    def short_number(self) -> str:
        return self.number.rpartition("*")[2]


@dataclass(frozen=True, slots=True)
class IvrFile:
    """All of ivr.yaml. The IVRs share the contexts.

    `generation` names what callers hear: the same on every host whose files say the same, whatever their layout.
    """

    ivrs: tuple[Ivr, ...]
    contexts: Mapping[str, Context]
    generation: str = field(default="", compare=False)


Srtp = Literal["required", "optional", "no"]


@dataclass(frozen=True, slots=True)
class Media:
    """How a party sends its sound. `srtp`: encrypted always, as it likes, or never. `webrtc`: as browsers do it."""

    srtp: Srtp = "optional"
    webrtc: bool = False

    @property
    def may_need_conversion(self) -> bool:
        """Whether others may have to be told another kind of sound than they send."""
        return self.webrtc or self.srtp != "optional"


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and its password. `realm`: the only one that may ask for them; None for any."""

    username: str
    password: Secret
    realm: str | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """We register with the carrier. It sends its calls to `contact_user`; `number` is what such a call has dialled."""

    contact_user: str
    expires_s: int = 600
    number: str | None = None


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a number is changed: `strip` characters are taken off its front, then `prefix` is put there."""

    strip: int = 0
    prefix: str = ""

    def apply(self, number: str) -> str:
        return self.prefix + number[self.strip :]


@dataclass(frozen=True, slots=True)
class Trunk:
    """A carrier: calls come from `sources`, external numbers go to `to` (SIP URIs, the first that takes them).

    `source_names` are host names in place of addresses. `login` is for carriers that ask us for a password; `inbound`
    for those that we ask, wherever they call from. Where there is a `registration`, the first of `to` is the registrar,
    and calls come from all of them. `identity` is the headers that tell it the caller's number (A5); From is anonymous
    where it is not among them. `is_trusted` lets its callers choose the context and option they enter. `anchors_media`
    takes the media of proxied calls from and to it through RTPengine. `max_calls` and `max_setups_per_s` limit the
    calls that it sends, `max_calls_out` those that it gets. `is_probed`: it gets OPTIONS. `codecs`, by their names in
    SDP, are all that it is offered and may use; empty for any. `number` and `inbound_number` change the numbers of
    calls to it and from it.
    A call is also from it if it comes by TLS with a certificate for `tls_name`. `to` must have one for that name too.
    """

    name: str
    sources: tuple[IPv4Network | IPv6Network, ...] = ()
    to: tuple[str, ...] = ()
    identity: tuple[IdentityHeader, ...] = DEFAULT_IDENTITY
    is_trusted: bool = False
    anchors_media: bool = False
    media: Media = Media()
    max_calls: int = TRUNK_CALLS
    max_setups_per_s: int = TRUNK_SETUPS
    source_names: tuple[str, ...] = ()
    login: Login | None = None
    inbound: Login | None = None
    registration: Registration | None = None
    max_calls_out: int | None = None
    number: NumberFormat = NumberFormat()
    inbound_number: NumberFormat = NumberFormat()
    is_probed: bool = True
    codecs: tuple[str, ...] = ()
    tls_name: str | None = None


@dataclass(frozen=True, slots=True)
class Extension:
    """A phone: at a configured `contact` (a SIP URI), or registered with a `password`.

    `anchors_media` takes the media of proxied calls from and to it through RTPengine. `max_calls` and
    `max_setups_per_s` limit the calls that it makes.
    """

    number: str
    id: int
    contact: str | None = None
    password: str | None = field(default=None, repr=False)
    contact_host: str | None = None
    anchors_media: bool = False
    media: Media = Media()
    max_calls: int = EXTENSION_CALLS
    max_setups_per_s: int = EXTENSION_SETUPS

    @property
    def short_number(self) -> str:
        return self.number.rpartition("*")[2]

    @property
    def prefix(self) -> str:
        return self.number.rpartition("*")[0]


@dataclass(frozen=True, slots=True)
class Defaults:
    """Defaults of the whole site: `transfer_timeout_s` (A11), and `ringback`, a sound of the library (A12)."""

    transfer_timeout_s: int = 60
    ringback: str | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """Where users ask for the site's calls over HTTP (`cli.api`).

    `is_asked_for`: site.yaml says so. Else `run` goes without it where another program has the port.
    """

    listen: Address = field(default=Address("127.0.0.1", 8090))
    is_asked_for: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """All of site.yaml: where things are. There is at least one edge, one sidecar and one RTPengine."""

    node: int
    edges: tuple[Edge, ...]
    trunks: tuple[Trunk, ...] = ()
    extensions: tuple[Extension, ...] = ()
    sidecars: tuple[Sidecar, ...] = sidecars_of_host()
    kamailio: Kamailio = field(default=Kamailio())
    rtpengines: tuple[RtpEngine, ...] = (RtpEngine(),)
    sounds: str = "./sounds"
    defaults: Defaults = Defaults()
    keeps_registrations: bool = True
    """Whether registrations of phones outlive Kamailio."""
    database: Database | None = None
    """The server that keeps them for all edges; None: each edge keeps its own."""
    state: State = field(default=State())
    """Where calls are written down."""
    events: Events = field(default=Events())
    """Where their records go."""
    internal_calls: bool = True
    """Whether an extension may call another one by its number (C8)."""
    web_origins: tuple[str, ...] = ()
    """The web pages that may open a WebSocket, by their origin (RFC 6454); none: all pages."""
    refer: bool = True
    """Whether a phone of an extension may transfer a call by REFER (RFC 3515)."""
    drain_s: int | None = None
    """How long calls may go on when a part is asked to stop; None: as who runs it thinks right."""
    api: Api | None = field(default=Api())
    """None: there is none."""
    hep: Address | None = None
    """Where each Kamailio sends a copy of its SIP, as HEP over UDP; None: nowhere."""

    @property
    def listen(self) -> tuple[Listen, ...]:
        """Where the edges listen, all of them."""
        return tuple(listen for edge in self.edges for listen in edge.listen)

    @property
    def is_fleet(self) -> bool:
        """Whether it has several of anything that one machine has once."""
        return max(len(self.edges), len(self.rtpengines), len({sidecar.address.host for sidecar in self.sidecars})) > 1

    @property
    def speaks_tls(self) -> bool:
        """Whether an edge listens for TLS."""
        return any(edge.speaks_tls for edge in self.edges)

    @property
    def asks_for_certificates(self) -> bool:
        """Whether those who connect by TLS are asked for a certificate, which they need not have."""
        return any(trunk.tls_name for trunk in self.trunks)

    @property
    def secret_variables(self) -> frozenset[str]:
        """The environment variables that hold passwords of trunks."""
        logins = [login for trunk in self.trunks for login in (trunk.login, trunk.inbound) if login]
        return frozenset(login.password.variable for login in logins if login.password.variable)

    @property
    def anchors_media(self) -> bool:
        """Whether Kamailio may have to take media through RTPengine: for a party, or between IPv4 and IPv6."""
        parties: tuple[Trunk | Extension, ...] = (*self.trunks, *self.extensions)
        for_party = any(party.anchors_media or party.media.may_need_conversion for party in parties)
        return self.has_websockets or for_party or any(len(engine.families) > 1 for engine in self.rtpengines)

    @property
    def has_websockets(self) -> bool:
        """Whether browsers may connect."""
        return any(listen.is_websocket for listen in self.listen)
