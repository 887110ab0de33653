"""What a transaction remembers between the routes that Kamailio runs for it: one typed record.

Another worker may handle a reply than the one that handled the request, so the record lives with tm's transaction, in
shared memory. Each field is read and written by itself: a route pays only for what it uses. A field that was never set
is empty: "", 0, False, None or no branch.
"""

from __future__ import annotations

import json
from typing import Generic, NamedTuple, Self

from callinteractive.jsontext import to_json
from kemi import ksr
from kemi.ksr import From
from kemi.records import Recorded, Records, Texts


class BranchPlan(NamedTuple):
    """What a branch gets when Kamailio sends it.

    `from_`: the caller to show, None for the INVITE's own From. `lines`: header lines that only this branch has.
    `next_uri`: what to try if it fails, empty for nothing. `is_spiral`: it leads to ourselves. `is_anchored`: its media
    goes through RTPengine, which converts `sides`, or `otherwise` if the peer refuses that. `label`: what the log calls
    it, empty where another transaction tells. `tells`: the number that X-CI-Answered names with its 200, empty where
    nobody is told; `is_extension`: it is one of ours. `trunk`: the name of the trunk that it leads to, empty for none;
    `is_probed`: as there. `proofs`: how often it has been sent with credentials. `shift`: how often it has been sent
    again, so that its CSeq is higher than the caller's. `via`: another edge, a SIP URI, that it is sent to; empty for
    none.
    """

    from_: From | None
    lines: str
    next_uri: str
    is_spiral: bool
    is_anchored: bool
    label: str = ""
    tells: str = ""
    is_extension: bool = False
    trunk: str = ""
    proofs: int = 0
    shift: int = 0
    is_probed: bool = True
    sides: str = ""
    otherwise: str = ""
    via: str = ""

    def to_text(self) -> str:
        return to_json(self)

    @classmethod
    def from_text(cls, text: str) -> Self:
        from_, *others = json.loads(text)
        return cls(From(*from_) if from_ else None, *others)


class Branch(NamedTuple):
    """A branch that was sent: where to, and the name of its media in RTPengine, empty if that is not anchored.

    `shift`: by how much its CSeq is higher than the caller's.
    """

    uri: str
    media: str = ""
    shift: int = 0

    def to_text(self) -> str:
        return f"{self.media} {self.shift} {self.uri}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        media, shift, uri = text.split(" ", 2)  # the name is ours and has no blank
        return cls(uri, media, int(shift))


class Redirection(NamedTuple):
    """The header values of a sidecar's 302, as they came: empty for none."""

    transfer: str = ""
    caller: str = ""
    state: str = ""
    entry: str = ""

    def to_text(self) -> str:
        return "\n".join(self)  # no header's value has a line's end

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(*text.split("\n"))


class Exchange(NamedTuple):
    """A request inside a dialog with anchored media that may carry an offer, or have one in its reply.

    `media`: its name in RTPengine. `is_from_caller`: the caller's side sent it. `has_offer`: it carried one.
    """

    media: str
    is_from_caller: bool
    has_offer: bool

    def to_text(self) -> str:
        return to_json(self)

    @classmethod
    def from_text(cls, text: str) -> Self:
        return cls(*json.loads(text))


class _Field:
    """One field of the record, kept under its own name."""

    key: str

    def __set_name__(self, _owner: type, name: str) -> None:
        self.key = f"ci_{name}"


class _Text(_Field):
    def __get__(self, _instance: object, _owner: type) -> str:
        return ksr.recall(self.key)

    def __set__(self, _instance: object, value: str) -> None:
        ksr.remember(self.key, value)


class _Number(_Field):
    def __get__(self, _instance: object, _owner: type) -> int:
        return ksr.recall_number(self.key)

    def __set__(self, _instance: object, value: int) -> None:
        ksr.remember_number(self.key, value)


class _Flag(_Field):
    def __get__(self, _instance: object, _owner: type) -> bool:
        return ksr.recall_number(self.key) != 0

    def __set__(self, _instance: object, value: bool) -> None:
        ksr.remember_number(self.key, int(value))


class _Numbers(_Field):
    def __get__(self, _instance: object, _owner: type) -> set[int]:
        return {int(number) for number in ksr.recall(self.key).split()}

    def __set__(self, _instance: object, value: set[int]) -> None:
        ksr.remember(self.key, " ".join(map(str, value)))


class _From(_Field):
    def __get__(self, _instance: object, _owner: type) -> From | None:
        text = ksr.recall(self.key)
        return From(*json.loads(text)) if text else None

    def __set__(self, _instance: object, value: From) -> None:
        ksr.remember(self.key, to_json(value))


class _Record(_Field, Generic[Recorded]):
    """None where nothing was recorded."""

    def __init__(self, kind: type[Recorded]) -> None:
        self._kind = kind

    def __get__(self, _instance: object, _owner: type) -> Recorded | None:
        text = ksr.recall(self.key)
        return self._kind.from_text(text) if text else None

    def __set__(self, _instance: object, value: Recorded) -> None:
        ksr.remember(self.key, value.to_text())


class Transaction:
    """The memory of the transaction of the message at hand. Header values are as they came: most go on unread."""

    # --- An INVITE in an IVR (`kemi.redirect`, `kemi.sidecars`)
    call = _Text()
    """The value of X-CI-Call."""
    user = _Text()
    """The user of the Request-URI that the caller sent, escaped."""
    caller_anchors = _Flag()
    """The caller's trunk or extension anchors its media."""
    caller_kind = _Text()
    """How the caller's sound travels, a `conversion.Kind`; empty for RTP."""
    sidecar_sides = _Text()
    """What is converted towards the sidecars, the text of `conversion.Sides`; empty where nothing is."""
    returns = _Number()
    """How often the INVITE has come back to a sidecar."""
    is_counted = _Flag()
    """It counts against the limits (`kemi.limits`)."""
    asked = _Text()
    """The pool that is asked, and the addresses of its sidecars that were, in lines (`kemi.sidecars`)."""
    refused_by = _Number()
    """The last branch whose sidecar said 503, counted from 1. 0 for none."""
    sidecar_headers = _Text()
    """The header lines for the sidecar that is asked."""
    teller = _Text()
    """The sidecar that had the call last: it sent the last 302, or began the call and said 503 (`reports.name_of`)."""
    reported = _Text()
    """That sidecar and the CallID, while we carry out its transfer."""
    is_reported = _Flag()
    """That it was answered."""
    reported_around = _Text()
    """Of an INVITE that spirals: the calls that lead to it, named as `reported`, and that end with its dialog."""
    breadth = _Number()
    """How many branches at once may come of an INVITE that spirals (`kemi.breadth`). 0 for no bound but the usual."""
    returned_from = _Number()
    """What `reported_branches` was before the INVITE came back to a sidecar for the last time."""
    reported_branches = _Number()
    """How many branches were reported before this transfer, or were others' than a transfer's."""
    redirection = _Record(Redirection)
    """What the last 302 said."""

    # --- Its branches (`kemi.fork`)
    branches_used = _Number()
    """How many the INVITE has had, to sidecars and to targets."""
    early_media = _Flag()
    """The caller may hear a callee before the answer (A12)."""
    hides_from = _Flag()
    """Callees must not learn whose INVITE it is."""
    is_anchored = _Flag()
    """The media of at least one branch goes through RTPengine."""
    answered = _Number()
    """The branch that has answered first, counted from 1. Only noted if some are anchored, or there are several."""
    presented = _From()
    """Whom an INVITE that spirals shows, if not its own From (`kemi.identity`)."""
    caller_source = _Text()
    """Where the INVITE came from, a SIP URI, if its Contact was marked with that (`kemi.nat`)."""
    caller_target = _Text()
    """Where the caller's Contact leads, if media is anchored (`kemi.anchored`)."""
    own_from = _Text()
    """The INVITE's own From, as it wrote it; set once another was shown to any branch."""
    ringing_file = _Text()
    """Where it is written down that the INVITE rings (`kemi.ringing`)."""
    ringing = _Numbers()
    """Indexes of the branches that ring."""
    is_busy = _Flag()
    """A branch was busy."""
    failure = _Number()
    """The lowest status of those that failed for good, except challenges. 0 for none."""
    challenges = Texts("challenge")
    """By index of the branch: the values of the challenge's headers, one a line."""
    plans = Records("plan", BranchPlan)
    """By Request-URI."""
    branches = Records("branch", Branch)
    """By index."""
    legs = Texts("leg")
    """By index, of those that are reported: when it began, rang and ended, in milliseconds, and its final status."""

    # --- A request inside a dialog
    cseq_shift = _Number()
    """By how much the callee knows the caller's CSeq higher than the caller does."""
    replaced = _Text()
    """The name and value of the From or To that we have replaced (`kemi.identity`)."""
    hidden_tag = _Text()
    """The tag of a caller who must not be told of, where the callee sent the request (`kemi.hidden`)."""
    goes_to_alias = _Flag()
    """The request went to the alias of its Request-URI (`kemi.nat`)."""
    sidecar = _Text()
    """The address of the sidecar that it went to."""
    exchange = _Record(Exchange)
    """What the reply answers (`kemi.anchor`)."""


transaction = Transaction()
"""The one instance. It holds nothing itself."""


def media_of(index: int) -> str:
    """The name of a branch's media in RTPengine; empty where that is not anchored, or forgotten."""
    branch = transaction.branches.get(index)
    return branch.media if branch else ""


def forget_media(index: int) -> None:
    transaction.branches[index] = transaction.branches[index]._replace(media="")
