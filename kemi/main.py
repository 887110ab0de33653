"""The callbacks that Kamailio calls (KEMI). Every one is guarded: an exception becomes 500, never silence."""

from __future__ import annotations

import os
import site as python_site
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Kamailio puts this file's folder first on the path. There our modules would hide those of the standard library.
if sys.path[0] == str(ROOT / "kemi"):
    sys.path[0] = str(ROOT)
sys.path[:0] = filter(None, [os.environ.get("CALLINTERACTIVE_COMPILED")])  # cli.compiled; without it, the sources
if "CALLINTERACTIVE_PACKAGES" in os.environ:
    python_site.addsitedir(os.environ["CALLINTERACTIVE_PACKAGES"])

from callinteractive.edge import own_edge  # noqa: E402
from callinteractive.errors import ConfigError  # noqa: E402
from callinteractive.keys import EDGES, PREPARED, REPORTS, ROUTES, SIGNATURES, VIEWS, derive  # noqa: E402
from callinteractive.model import Edge, IvrFile, Site  # noqa: E402
from callinteractive.numbers import Directory  # noqa: E402
from callinteractive.prepared import Prepared  # noqa: E402
from callinteractive.report import By  # noqa: E402
from kemi import configuration, cseq, hidden, identity, ksr, log_lines, nat, too_brief, unspoken  # noqa: E402
from kemi.anchor import MediaAnchor  # noqa: E402
from kemi.anchored import AnchoredCalls  # noqa: E402
from kemi.challenge import Challenges  # noqa: E402
from kemi.companion import Companion  # noqa: E402
from kemi.edges import Edges  # noqa: E402
from kemi.engines import Engines, Watch  # noqa: E402
from kemi.flood import Floods  # noqa: E402
from kemi.fork import Forks  # noqa: E402
from kemi.guard import blame, blame_by_http, drop, fail, guarded, log, refusals, withhold  # noqa: E402
from kemi.ingress import Ingress  # noqa: E402
from kemi.limits import Limits  # noqa: E402
from kemi.lost_media import LostMedia  # noqa: E402
from kemi.names import NameFile  # noqa: E402
from kemi.places import Places  # noqa: E402
from kemi.record_route import RecordRoute  # noqa: E402
from kemi.redirect import Redirects  # noqa: E402
from kemi.refusal import TERMINATED, Outcome, Refused  # noqa: E402
from kemi.registrar import Registrar  # noqa: E402
from kemi.reload import Reload  # noqa: E402
from kemi.reports import Reports  # noqa: E402
from kemi.ringing import Ringing, is_for_lost  # noqa: E402
from kemi.sidecars import Sidecars  # noqa: E402
from kemi.sockets import Sockets  # noqa: E402
from kemi.spool import Spool  # noqa: E402
from kemi.tls_peer import TlsPeers  # noqa: E402
from kemi.transaction import transaction  # noqa: E402
from kemi.transfer import Transfer  # noqa: E402
from kemi.trunk_callers import TrunkCallers  # noqa: E402
from kemi.trunks import Trunks, credentials_of  # noqa: E402
from kemi.websocket import WebSockets  # noqa: E402

LOOK_EVERY_S = 1.0
HIGHEST_STATUS = 699
"""RFC 3261 7.2. For tm a higher one ends a call, for others it is no reply at all."""
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG
"""The process's exit status where the configuration is unusable."""


@dataclass(eq=False, repr=False)
class Callbacks:
    """One method a callback: Kamailio's own by their fixed names, those of `ksr.Route` by theirs."""

    _ingress: Ingress
    sidecars: Sidecars
    _redirects: Redirects
    _forks: Forks
    _media: MediaAnchor
    record_route: RecordRoute
    _limits: Limits
    _floods: Floods
    _websockets: WebSockets
    _registrar: Registrar
    _tls_peers: TlsPeers
    _names: NameFile
    _watch: Watch
    sockets: Sockets
    edges: Edges
    ringing: Ringing
    reports: Reports
    reload: Reload | None = None
    _companion: Companion = field(default_factory=Companion)
    _look_again_at: float = 0.0

    def become(self, other: Callbacks) -> None:
        """Route as `other` does from now on."""
        kept = {"reload": self.reload, "_companion": self._companion, "_look_again_at": self._look_again_at}
        vars(self).update(vars(other) | kept)

    def _look(self) -> None:
        """At what other processes have written into files: once a second, before a message."""
        self._look_again_at = time.monotonic() + LOOK_EVERY_S
        if self.reload is not None:
            self.reload.look()
        if self._names.is_used:
            self._names.refresh()

    def make_ready(self) -> None:
        """At the start, before the workers are there: what they write goes into the run directory."""
        self.ringing.tidy()
        if self.reports.spool:
            self.reports.spool.make_ready()

    def child_init(self, _rank: int) -> int:
        return 0

    def ksr_received(self, _message: object) -> int:
        """Of a packet, before it is read, unless Kamailio knows its source as ours. Negative: it is not read."""
        try:
            return -1 if self._floods.is_too_much() else 1
        except Exception as error:
            log(error)
            return 1

    def ksr_companion(self, _message: object, _event: str) -> int:
        """Each second, in a process of its own (kamailio.cfg)."""
        try:
            self._companion.keep()
        except Exception as error:
            log(error)
        return 1

    @guarded(log)
    def ksr_watch_rtpengines(self) -> None:
        """In a process of its own, again and again."""
        self._watch.on_tick()

    @guarded(log)
    def ksr_deliver_reports(self) -> None:
        """In a process of its own, five times a second."""
        self.reports.deliver()

    @guarded(log)
    def ksr_dispatcher_event(self) -> None:
        """A destination of the dispatcher has been lost or found."""
        self.edges.on_change()

    @guarded(blame)
    def ksr_request_route(self) -> None:
        if time.monotonic() >= self._look_again_at:
            self._look()
        self._ingress.route()

    @guarded(log)
    def ksr_reply_route(self) -> None:
        if time.monotonic() >= self._look_again_at:  # a worker of TCP may see no requests
            self._look()
        if self._is_unwanted():
            ksr.drop()
            return
        surplus, status = ksr.surplus(), ksr.status()
        if surplus < 0 or status > HIGHEST_STATUS:
            refusals.write_discarded("its status or its Content-Length is wrong")
            ksr.drop()
            return
        if surplus:  # a peer that uses TCP would take it for a next message
            ksr.cut(surplus)
        if status == too_brief.INTERVAL_TOO_BRIEF:
            too_brief.mend()
        if ksr.has_private_headers():
            try:
                self._redirects.read_reply()
            finally:
                ksr.remove_private_headers()
        if self._ingress.anchors:
            self._ingress.on_reply()

    def _is_unwanted(self) -> bool:
        """Of a reply. One that is no UTF-8 where it is read for this answers nothing of ours."""
        try:
            if self._tls_peers.is_needed and self._tls_peers.is_impostor_s_answer():
                return True
            return self.record_route.is_stray_reply() and not self.ringing.is_answer_to_ringing()
        except UnicodeDecodeError:
            return True

    @guarded(blame_by_http)
    def ksr_xhttp_event(self) -> None:
        self._websockets.on_http_request()

    @guarded(log)
    def ksr_websocket_event(self) -> None:
        """The end of a WebSocket: the only event that the module has."""
        self._registrar.on_websocket_closed(ksr.closed_websocket())

    @guarded(drop)
    def to_sidecar(self) -> None:
        self.record_route.on_branch(self.sidecars.on_branch(), reported=transaction.reported_around)
        if self.sockets.is_choosing:
            self.sockets.choose(ksr.request_uri())

    @guarded(log)
    def sidecar_replied(self) -> None:
        self._redirects.on_reply()

    @guarded(fail)
    def sidecar_failed(self) -> None:
        self._go_on_or_end(self._redirects.on_sidecar_failure, self.reports.on_sidecar_failed)

    @guarded(drop)
    def to_target(self) -> None:
        uri = ksr.request_uri()
        self._forks.on_branch()
        self.sockets.choose(uri)

    @guarded(drop)
    def to_cancelled(self) -> None:
        uri = ksr.request_uri()
        self.ringing.on_cancel_branch()
        if self.sockets.is_choosing:
            self.sockets.choose(uri)

    @guarded(withhold)
    def target_replied(self) -> None:
        if self._tls_peers.is_needed and not is_for_lost() and self._tls_peers.is_impostor_s_reply():
            ksr.drop()
            return
        ksr.keep_connection()
        self._forks.on_reply()

    @guarded(log)
    def target_failed(self) -> None:
        self._forks.on_branch_failure()

    @guarded(fail)
    def transfer_failed(self) -> None:
        self._forks.on_all_failed()
        self._go_on_or_end(self._redirects.on_transfer_failure, self.reports.on_failed)

    def _go_on_or_end(self, go_on: Callable[[], None], report: Callable[[int, By], None]) -> None:
        """In a failure route: the call is over, unless its INVITE is sent somewhere else."""
        by: By = "callee"
        before, code = ksr.relays(), ksr.failure_code()
        try:
            go_on()
        except Refused as refused:
            code, by = refused.code, by if isinstance(refused, Outcome) else "system"
            if ksr.is_cancelled() and code != TERMINATED:  # meanwhile: tm takes no more branches then
                code = TERMINATED
                raise Refused(TERMINATED, "Request Terminated") from None  # RFC 3261 9.2
            raise
        except Exception as error:
            code, by = (503 if isinstance(error, MemoryError) else 500), "system"  # `fail` says that
            raise
        finally:
            if ksr.relays() == before:
                self._limits.on_invite_failed()
                report(code, by)

    @guarded(withhold)
    def in_dialog_replied(self) -> None:
        ksr.keep_connection()
        self._media.on_in_dialog_reply()
        identity.on_in_dialog_reply()
        cseq.on_in_dialog_reply()
        if tag := transaction.hidden_tag:
            hidden.on_in_dialog_reply(self.record_route.seal, tag)
        else:
            identity.remove_later_claims()
            nat.on_in_dialog_reply()

    @guarded(log)
    def heirs_wanted(self) -> None:
        self._ingress.ask_heirs()


def mod_init() -> Callbacks:
    """Kamailio calls this once, before it forks. Ends the process with clear findings if a file is unusable."""
    log_lines.make_whole()
    for text in unspoken.forget():
        about = f"may still have {text.decode()!r} in its program, and one message over TCP may then end it"
        print(f"callinteractive: Kamailio {about}: see {unspoken.WHY}", file=sys.stderr)
    try:
        key = configuration.key_of_site()
        present = configuration.read(derive(key, PREPARED))
        configuration.check_pools(present.site, present.ivr_file)
        edge = own_edge(present.site, os.environ)
        callbacks = compose(present.site, present.ivr_file, key, edge)
        callbacks.make_ready()
    except (ConfigError, OSError, KeyError, ValueError) as error:
        print(f"callinteractive: cannot start: {error}", file=sys.stderr, flush=True)
        os._exit(EXIT_CONFIG)

    def take_up(new: Prepared) -> None:
        callbacks.become(compose(new.site, new.ivr_file, key, own_edge(new.site, os.environ), callbacks))

    callbacks.reload = Reload(configuration.prepared_file(), derive(key, PREPARED), present, take_up)
    missing = [route for route in ksr.Route if not hasattr(Callbacks, route)]
    assert not missing, f"no callback for {missing}"
    return callbacks


def compose(
    site: Site, ivr_file: IvrFile, key: bytes, edge: Edge | None = None, before: Callbacks | None = None
) -> Callbacks:
    """Make everything that routes and join it.

    `key` is the site's secret (`callinteractive.keys`). `edge`: which Kamailio of the site this is; None: the first.
    `before`: what has routed in this worker so far. What it has learned of sockets and of other edges stays.
    """
    edge = edge or site.edges[0]
    directory = Directory(site, ivr_file)
    places, floods = Places(site, edge), Floods(site, directory)
    run_dir = Path(os.environ.get("CALLINTERACTIVE_RUN_DIR", "."))
    names, ringing = NameFile(site, run_dir), before.ringing if before else Ringing(run_dir)
    tls_peers = TlsPeers(site)
    names.on_change += [directory.learn, places.learn, tls_peers.learn]
    routes = before.record_route if before else None
    record_route = RecordRoute(derive(key, ROUTES), derive(key, VIEWS), places, routes)
    calls = AnchoredCalls(run_dir)
    media = MediaAnchor(Engines(site.rtpengines), calls, is_there=site.anchors_media)
    limits = Limits(site.trunks)
    edges = before.edges if before else Edges(site, edge, derive(key, EDGES))
    sockets = before.sockets if before else Sockets(edge)
    challenges = Challenges(credentials_of(site, os.environ, configuration.read_secret))
    spool = before.reports.spool if before else Spool(run_dir / "reports")
    reports = Reports(site.sidecars, derive(key, REPORTS), spool)
    forks = Forks(media, record_route, challenges, limits, edges, ringing, reports, site.trunks)
    registrar = Registrar(directory, edges, sockets.remember)
    transfer = Transfer(site, directory, registrar.ways_to, forks, Trunks(site, limits, names), names, edge)
    earlier = before.sidecars if before else None
    sidecars = Sidecars(site.sidecars, ivr_file, derive(key, SIGNATURES), media, earlier)
    redirects = Redirects(sidecars, transfer, media, reports, anchors=site.anchors_media)
    ingress = Ingress(
        site,
        edge,
        directory,
        ivr_file.contexts,
        places=places,
        record_route=record_route,
        media=media,
        registrar=registrar,
        sidecars=sidecars,
        transfer=transfer,
        redirects=redirects,
        limits=limits,
        names=names,
        callers=TrunkCallers(site, os.environ, configuration.read_secret),
        edges=edges,
        ringing=ringing,
        reports=reports,
    )
    watch = Watch(site.rtpengines, LostMedia(calls, edge.udp_address).on_tick)
    return Callbacks(
        ingress, sidecars, redirects, forks, media, record_route, limits, floods, WebSockets(site, refusals),
        registrar, tls_peers, names, watch, sockets, edges, ringing, reports,
    )  # fmt: skip
