"""A call that somebody from outside orders: what is ordered is checked, whether there is room, and it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from callinteractive.actions import START
from callinteractive.actions.set_var import LONGEST_VALUE, variable_name
from callinteractive.dialled import is_dialled_number
from callinteractive.errors import InvalidActionError
from callinteractive.model import Ivr, IvrFile
from callinteractive.script import MAX_VARIABLES
from sidecar.call.dialled import Order, OutgoingCall, dial
from sidecar.call.services import Services
from sidecar.http_api import ApiError, text_in
from sidecar.live import NOT_HERE
from sidecar.media.errors import MediaError

KEYS = ("to", "context", "option", "ivr", "caller_number", "caller_name", "timeout_s", "variables")
LONGEST_NAME = 80
LONGEST_RING_S = 600


def read_order(body: Mapping[str, Any], file: IvrFile) -> Order:
    """What a request asks for. Raises ApiError, whose text is for a web developer."""
    if unknown := sorted(body.keys() - set(KEYS)):
        raise ApiError(422, f"unknown field {unknown[0][:40]!r}; known are {', '.join(KEYS)}")
    number, context, option = text_in(body, "to"), text_in(body, "context"), text_in(body, "option", START)
    if not is_dialled_number(number):
        raise ApiError(422, f"to: {number[:80]!r} is no number that can be dialled")
    if context not in file.contexts:
        raise ApiError(422, f"no context {context[:40]!r} in ivr.yaml")
    if option not in file.contexts[context].options:
        raise ApiError(422, f"context {context!r} has no option {option[:40]!r}")
    ivr = _ivr(body, context, file)
    caller = text_in(body, "caller_number", (*ivr.dids, ivr.number)[0])
    if caller and not is_dialled_number(caller):
        raise ApiError(422, f"caller_number: {caller[:80]!r} is no number")
    name = text_in(body, "caller_name", "")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ApiError(422, f"caller_name: at most {LONGEST_NAME} printable characters")
    timeout_s = body.get("timeout_s")
    if timeout_s is not None and (type(timeout_s) is not int or not 1 <= timeout_s <= LONGEST_RING_S):
        raise ApiError(422, f"timeout_s: a whole number of seconds from 1 to {LONGEST_RING_S}")
    return Order(number, ivr, context, option, caller, name, timeout_s, _variables(body.get("variables", {})))


def _ivr(body: Mapping[str, Any], context: str, file: IvrFile) -> Ivr:
    """The one that is named; else the only one, or the only one that is entered at this context. Raises ApiError."""
    if "ivr" in body:
        wanted = text_in(body, "ivr")
        found = [ivr for ivr in file.ivrs if wanted in (ivr.number, *ivr.dids)]
        if not found:
            raise ApiError(422, f"no IVR {wanted[:40]!r} in ivr.yaml")
        return found[0]
    found = [ivr for ivr in file.ivrs if ivr.entry_context == context] if len(file.ivrs) > 1 else list(file.ivrs)
    if len(found) != 1:
        numbers = ", ".join(ivr.number for ivr in file.ivrs[:10])
        raise ApiError(422, f"say which IVR the call counts for: ivr, one of {numbers}")
    return found[0]


def _variables(values: Any) -> dict[str, str]:
    """As SetVar would take them (A3). Raises ApiError."""
    if not isinstance(values, dict) or len(values) > MAX_VARIABLES:
        raise ApiError(422, f"variables: an object with at most {MAX_VARIABLES} names")
    for name, value in values.items():
        try:
            variable_name(name)
        except InvalidActionError as error:
            raise ApiError(422, f"variables: {error}") from None
        if not isinstance(value, str) or len(value) > LONGEST_VALUE:
            raise ApiError(422, f"variables: {name[:40]} must be a text of at most {LONGEST_VALUE} characters")
    return dict(values)


async def make(
    services: Services, node: int, body: Mapping[str, Any], why_not: Callable[[], list[str]]
) -> OutgoingCall:
    """The call, whose INVITE is sent. Start it at once. why_not: why this sidecar takes no calls. Raises ApiError."""
    order = read_order(body, services.ivr_file)
    if services.ivr_file.contexts[order.context].pool != services.pool:
        raise ApiError(NOT_HERE, f"context {order.context} is served by another pool of sidecars")
    if reasons := why_not():
        raise ApiError(503, f"no sidecar takes calls now: {reasons[0]}")
    try:
        return await dial(services, node, order)
    except MediaError as error:
        raise ApiError(503, f"no call can be made now: {error}") from None
