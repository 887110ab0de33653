"""A party of a connected call asks by REFER that the other one be connected to somebody else (RFC 3515, RFC 5589 6)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from callinteractive.dialled import is_dialled_number
from callinteractive.events import Event, TransferAnswered, TransferFailed
from callinteractive.headers import AnsweredHeader
from sidecar import sip
from sidecar.call.callee import Callee
from sidecar.call.caller import Caller
from sidecar.call.inbox import Inbox
from sidecar.call.services import Services
from sidecar.media.call_media import CallMedia

_SEPARATORS = str.maketrans("", "", "-.()")
"""Visual separators of a telephone number (RFC 3966 5.1.1)."""


@dataclass(frozen=True, slots=True)
class BlindTransfer:
    """What was asked for. `by_callee`: the callee asked, so that the caller stays."""

    number: str
    referral: sip.ReferralResponder
    by_callee: bool


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Why a REFER is refused: a status, and words for the log."""

    status: int
    reason: str
    change: str


NOBODY = Unwanted(
    603, "nobody is connected who could be transferred", "transfer a call only after both sides are connected"
)
NOT_ALLOWED = Unwanted(403, "not an extension of ours", "only phones in extensions of site.yaml may transfer a call")
BUSY = Unwanted(491, "a transfer of this call is under way", "wait for its end")
NO_NUMBER = Unwanted(404, "Refer-To names no number", "transfer to an extension, an IVR or a telephone number")


def why_unwanted(callee: Callee | None, caller: AnsweredHeader, *, by_callee: bool, is_busy: bool) -> Unwanted | None:
    """Why nobody is to be transferred; None where somebody is. is_busy: another transfer is under way."""
    if callee is None or not callee.is_answered:
        return NOBODY
    if not (callee.who if by_callee else caller).is_extension:
        return NOT_ALLOWED
    return BUSY if is_busy else None


def number_in(uri: str) -> str | None:
    """The number that a sip, sips or tel URI names, for A14; its host does not matter. None where there is none."""
    scheme, _, rest = uri.partition(":")
    user = rest if scheme.lower() == "tel" else rest.rpartition("@")[0]
    user, _, params = user.partition(";")
    number = unquote(user.partition(":")[0])
    context = re.search(r"(?:^|;)phone-context=(\+[0-9.()-]+)(?:;|$)", params, re.ASCII)
    if context and not number.startswith("+"):
        number = context[1] + number  # RFC 3966 5.1.5
    if scheme.lower() == "tel" or number.startswith("+"):
        number = number.translate(_SEPARATORS)
    return number if is_dialled_number(number) else None


class Target(Callee):
    """The one who is called by a blind transfer."""

    def __init__(
        self,
        referral: sip.ReferralSubscription,
        on_end: Callable[[int], Awaitable[None]],
        services: Services,
        caller: Caller,
        media: CallMedia,
        b_tag: str,
        inbox: Inbox,
        on_referred: Callable[[sip.Referred], None],
    ) -> None:
        """on_end: told 200 when it has answered and is connected, else why not. The rest is for `Callee`."""
        super().__init__(services, caller, media, b_tag, inbox, on_referred)  # one by one: mypyc mixes up `*callee`
        self._referral = referral
        self._on_end = on_end

    async def _handle(self, event: sip.Event) -> Event | None:
        outcome = await super()._handle(event)
        if isinstance(event, sip.Progressed):
            self._referral.notify(event.status)
        elif isinstance(outcome, TransferAnswered):
            await self._on_end(200)
        elif isinstance(outcome, TransferFailed):
            await self._on_end(outcome.code)
        return None  # the script was over when the first callee answered (A13)
