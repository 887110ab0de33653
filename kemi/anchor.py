"""The media of a proxied call through RTPengine: which message carries an offer, which an answer, and when it ends.

Each anchored branch is a call of its own in RTPengine, between a "side-a", who called, and a "side-b". So branches that
ring at once can't disturb each other, a branch that failed is deleted whole, and each of several 2xx has its own media.
Parties must not choose names or tags: sidecars also name their calls in RTPengine, and whoever guessed the name of
another call could tap it. The dialog's Route carries the name (`kemi.record_route`), which also says what is converted:
a side that has begun with encrypted sound keeps it.

SDP that RTPengine rejects is never forwarded: we refuse the request, or remove the body where nothing can be refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from contextlib import suppress
from enum import Enum, auto

from callinteractive.model import Extension, Trunk
from callinteractive.multipart import media_type, session_description
from callinteractive.sdp_codecs import keep_codecs
from kemi import ksr
from kemi.anchored import AnchoredCalls, call_of_answer, target_of
from kemi.conversion import Kind, Sides, answer_flags, kinds_in, offer_flags
from kemi.engines import PREFIX, Engines, family_flag, use
from kemi.ksr import Route
from kemi.record_route import Addition
from kemi.refusal import Refused
from kemi.sdp import Screened, screen
from kemi.transaction import Exchange, media_of, transaction

_LATE = "-late"
_CALLER, _CALLEE = "side-a", "side-b"
_REWRITE = "replace-origin replace-session-connection"
CROSSING_S = 10
"""How long the media of the other branches is kept after an answer. One of them may answer while our CANCEL is under
way, and its 2xx needs its media. tm waits no longer than this."""
MOST_OWED = 16
"""How many failed deletions are repeated after one that succeeded."""
_REMEMBERED = 4096
"""How many failed deletions a worker remembers."""


_inner: dict[str, str] = {}
"""`fleet.inner_addresses` of the site. A sidecar's side of an anchored call is at an RTPengine of ours."""


class Anchoring(Enum):
    """Which branches of an INVITE have their media taken through RTPengine."""

    NEVER = auto()
    """None: the INVITE is a sidecar's, and a sidecar's media is at RTPengine already."""
    TARGETS = auto()
    """Those whose target's trunk or extension anchors."""
    ALL = auto()
    """All: the caller's trunk or extension anchors."""

    def covers(self, target: Trunk | Extension) -> bool:
        return self is Anchoring.ALL or (self is Anchoring.TARGETS and target.anchors_media)


class MediaAnchor:
    """Tells RTPengine what the messages of anchored calls say about media."""

    def __init__(self, engines: Engines, calls: AnchoredCalls | None = None, *, is_there: bool = True) -> None:
        """`calls`: where those that no sidecar is in are written down."""
        self._calls = calls
        self.is_there = is_there
        """Whether Kamailio may use RTPengine at all."""
        self.engines = engines
        _inner.clear()
        _inner.update(engines.inner_addresses)
        self._owed: deque[str] = deque(maxlen=_REMEMBERED)
        """The media whose deletion has failed; each worker has its own list."""

    # --- The INVITE that makes the dialog

    @staticmethod
    def has_acceptable_offer(kind: Kind = Kind.RTP) -> bool:
        """Whether RTPengine can be given what the INVITE at hand offers, if it offers anything."""
        if not ksr.has_body():
            return True
        screened = _screened(kind)
        return screened is not None and not screened.is_dead

    def on_branch(self, sides: str = "", *, early_media: bool, codecs: Collection[str] = ()) -> str:
        """Branch route of an INVITE: offer its media. Returns the media's name; empty where RTPengine refuses.

        `sides`: what is converted, the text of `conversion.Sides`. Without `early_media` the caller does not hear the
        callee before its 2xx, wherever the callee sends its media. `codecs`: all that the callee is offered, if any.
        """
        late = "" if ksr.has_body() else _LATE
        for new in self.engines.names(self.engines.families(ksr.request_uri())):
            name = f"{new}{sides and '-' + sides}{late}"
            if late:  # the 2xx has the offer, the ACK its answer (RFC 3261 13.2.1)
                return name
            if not _offer(name, _CALLER, _CALLEE, codecs):
                self._owed.append(name)  # it may still do what we asked; another one is asked at once
            elif not early_media and not ksr.block_media(f"call-id={name}"):
                self.release(name)
            else:
                return name
        return ""

    @staticmethod
    def on_provisional(name: str) -> None:
        """Reply route: a provisional reply whose SDP the caller may hear."""
        if ksr.has_body() and not _take_reply(name):
            ksr.turn_into_ringing()

    def on_failure(self, name: str) -> None:
        """Reply route: the body could say what the callee can do instead, and where (RFC 3261 21.4.26): remove it."""
        if ksr.has_body():
            ksr.remove_body()
        self.release(name)

    @staticmethod
    def on_success(name: str, *, early_media: bool) -> None:
        """Reply route: a 2xx, the first one or one that is sent again. Both get the same answer."""
        # Before the answer: with that RTPengine writes the call down (`rtpengine.redis`), with this it does not.
        if not early_media and use(name):
            ksr.unblock_media(f"call-id={name}")
        if ksr.has_body() and not _take_reply(name):
            ksr.remove_body()  # the callee has answered and can't be refused; the caller will hang up

    @staticmethod
    def note_caller() -> None:
        """Branch route of a branch that is anchored: no sidecar called, so nobody else looks after this media."""
        transaction.caller_target = target_of(ksr.header("Contact"), transaction.caller_source)

    def on_dialog(self, name: str, marked_with: str, added: Addition | None) -> None:
        """Reply route: a 2xx makes a dialog. `marked_with`: the alias of its Contact (`nat`); `added`: to our route."""
        if self._calls is not None and (caller := transaction.caller_target):
            routes = ksr.record_routes()
            self._calls.keep(name, call_of_answer(added.add_to(routes) if added else routes, caller, marked_with))

    @staticmethod
    def on_stray_success(name: str) -> None:
        """A 2xx of an INVITE that tm has forgotten; it is sent again because no ACK came."""
        if ksr.has_body() and not _take_reply(name):
            ksr.remove_body()

    def release_all(self, *, but: int = -1, after_s: int = 0) -> None:
        """Let RTPengine forget the media of all branches of the INVITE at hand, but of one."""
        for index in range(transaction.branches_used):
            if index != but and (name := media_of(index)):
                self.release(name, after_s=after_s)

    def release(self, name: str, *, after_s: int = 0) -> None:
        """Let RTPengine forget the media. It doesn't matter if it has already."""
        if not _delete(name, after_s):
            self._owed.append(name)
            return
        for _ in range(min(len(self._owed), MOST_OWED)):
            if not _delete(owed := self._owed.popleft()):
                self._owed.append(owed)

    @staticmethod
    def withhold() -> None:
        """A reply that could not be handled: remove the body if it may say where anchored media is."""
        is_anchored = True
        with suppress(Exception):
            is_anchored = transaction.is_anchored or transaction.exchange is not None
        if is_anchored:
            ksr.remove_body()

    # --- Requests inside the dialog

    def on_request(self, name: str) -> None:
        """A request in a dialog with anchored media. Raises Refused where it must not be relayed."""
        method = ksr.method()
        if method == "BYE":
            self._end(name)
        elif method == "ACK":
            _take_ack(name)
        elif method in ("INVITE", "UPDATE", "PRACK"):
            _take_request(name, method)

    def _end(self, name: str) -> None:
        self.release(name)
        if self._calls is not None:
            self._calls.forget(name)

    def on_in_dialog_reply(self) -> None:
        """Reply route of a request that `on_request` has seen: an answer to its offer, or an offer if it had none."""
        exchange = transaction.exchange
        if exchange is None:
            return
        if ksr.status() == 481 and ksr.method() != "PRACK":
            self._end(exchange.media)  # the offer has crossed a BYE, and began the media anew (RFC 3261 12.2.1.2)
        if not ksr.has_body():
            return
        asker, other = _sides(exchange.is_from_caller)
        if ksr.status() >= 300:
            is_taken = False  # it says what the other side could do instead, and where (RFC 3261 21.4.26)
        elif exchange.has_offer:
            is_taken = _answer(exchange.media, asker, other)
        else:
            is_taken = _offer(exchange.media, other, asker)
        if not is_taken:
            ksr.remove_body()


def _take_reply(name: str) -> bool:
    """A reply to the INVITE that made the dialog."""
    return _offer(name, _CALLEE, _CALLER) if name.endswith(_LATE) else _answer(name, _CALLER, _CALLEE)


def _take_ack(name: str) -> None:
    """An ACK with SDP answers the offer of a 2xx (RFC 3261 13.2.2.4)."""
    sender, other = _sides(ksr.is_from_caller())
    if ksr.has_body() and not _answer(name, other, sender):
        ksr.remove_body()  # an ACK can't be refused


def _take_request(name: str, method: str) -> None:
    """An offer, or a PRACK's answer to a reliable 18x (RFC 3262 5, 3311 5, 3261 14.1). Raises Refused."""
    is_from_caller = ksr.is_from_caller()
    sender, other = _sides(is_from_caller)
    has_body = ksr.has_body()
    is_answer = method == "PRACK" and name.endswith(_LATE)
    if has_body:
        kind = _kind_of(name, sender)
        if _screened(kind) is None or not _has_kind(kind):
            raise Refused(488, "Not Acceptable Here")
        if not (_answer(name, other, sender) if is_answer else _offer(name, sender, other)):
            raise Refused(503, "Service Unavailable")
    transaction.exchange = Exchange(name, is_from_caller, has_body and not is_answer)
    ksr.arm_reply(Route.IN_DIALOG_REPLIED)


def _sides(is_from_caller: bool) -> tuple[str, str]:
    """Who sends the request in a dialog, and the other side."""
    return (_CALLER, _CALLEE) if is_from_caller else (_CALLEE, _CALLER)


def _delete(name: str, after_s: int = 0) -> bool:
    return use(name) and ksr.delete_media(f"call-id={name} from-tag={_CALLER} delete-delay={after_s}")


def _offer(name: str, offerer: str, answerer: str, codecs: Collection[str] = ()) -> bool:
    sender = _kind_of(name, offerer)
    flags = _flags(name, offerer, answerer, sender, codecs)
    if flags is None or not use(name):
        return False
    family = family_flag(name, of_caller=answerer == _CALLER)
    return ksr.offer_media(f"{flags} {offer_flags(sender, _kind_of(name, answerer))}{family}")


def _answer(name: str, offerer: str, answerer: str) -> bool:
    sender = _kind_of(name, answerer)
    flags = _flags(name, offerer, answerer, sender)
    if flags is None or not _has_kind(sender) or not use(name):
        return False
    return ksr.answer_media(f"{flags} {answer_flags(_kind_of(name, offerer))}")


def _kind_of(name: str, side: str) -> Kind:
    """How the sound of a side travels."""
    sides = Sides.parse(name.removesuffix(_LATE).removeprefix(PREFIX).partition("-")[2])
    return sides.caller if side == _CALLER else sides.callee


def _has_kind(kind: Kind) -> bool:
    """Whether the message at hand describes no sound that is less protected."""
    return kind is Kind.RTP or Kind.RTP not in kinds_in(ksr.body_leniently())


def _screened(kind: Kind = Kind.RTP) -> Screened | None:
    """What RTPengine can be given of the session description of the message at hand; None if nothing."""
    try:
        body = ksr.body()
        if _has_parts():
            part = session_description(ksr.header("Content-Type"), body.encode())
            body = "" if part is None else part.decode()
        return screen(body, is_browser=kind is Kind.WEBRTC, inner=_inner)
    except UnicodeError:
        return None


def _has_parts() -> bool:
    return media_type(ksr.header("Content-Type")).startswith("multipart/")


def _flags(name: str, offerer: str, answerer: str, sender: Kind, codecs: Collection[str] = ()) -> str | None:
    """Of an offer and of its answer: the tags are in the offer's order in both (RTPengine's NG protocol).

    Hands over the description of the message at hand, whose sender's packets they are about. None if that can't be.
    """
    screened = _screened(sender)
    if screened is None:
        return None
    text = keep_codecs(screened.text, codecs) if codecs else screened.text
    if text is None:
        return None
    ksr.describe_media(text)
    if _has_parts():
        ksr.body_is_sdp()
    # ICE finds out where a browser is, and DTLS who it is.
    source = "" if sender is Kind.WEBRTC else screened.source_flags(ksr.source_host())
    return f"call-id={name} from-tag={offerer} to-tag={answerer} {_REWRITE} {source}"
