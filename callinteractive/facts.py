"""What is known of a call when it reaches an IVR (R2). Kamailio makes it; `simulate` makes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

from callinteractive import plain
from callinteractive.model import Extension, Ivr
from callinteractive.numbers import FoundIvr

_FLAGS = ("is_outgoing", "is_hidden")
"""The facts that are true or false."""
LATER = (*_FLAGS, "sip_call_id")
"""Those that older releases do not know. They are left out where they are false or empty."""
_LONGEST_SIP_CALL_ID = 200
_T = TypeVar("_T")


@dataclass(slots=True, init=False, unsafe_hash=True)  # an `__init__` of its own: see `request.HttpRequest`
class CallFacts:
    """Who called which number, from where; the same for the call's life.

    `called_did` is present when a DID was dialled, `caller_extension` and its ID only for an internal caller.
    `called_number` is what the caller dialled, unchanged.
    """

    call_id: Final[str]
    call_api_id: Final[str]
    caller_number: Final[str]
    caller_name: Final[str]
    called_number: Final[str]
    called_extension: Final[str]
    called_extension_id: Final[int]
    called_did: Final[str | None]
    caller_extension: Final[str | None]
    caller_extension_id: Final[int | None]
    is_outgoing: Final[bool]
    """We have called: `called_number` is who was called, and the caller is whom that one saw calling."""
    is_hidden: Final[bool]
    """The caller wants to be shown to nobody, and the network has told us the number (RFC 3325 7)."""
    sip_call_id: Final[str]
    """Call-ID of the caller's side, as SIP traces show it; the beginning of a long one. Empty where there is no SIP."""

    def __init__(
        self,
        call_id: str,
        call_api_id: str,
        caller_number: str,
        caller_name: str,
        called_number: str,
        called_extension: str,
        called_extension_id: int,
        called_did: str | None = None,
        caller_extension: str | None = None,
        caller_extension_id: int | None = None,
        is_outgoing: bool = False,
        is_hidden: bool = False,
        sip_call_id: str = "",
    ) -> None:
        self.call_id = call_id
        self.call_api_id = call_api_id
        self.caller_number = caller_number
        self.caller_name = caller_name
        self.called_number = called_number
        self.called_extension = called_extension
        self.called_extension_id = called_extension_id
        self.called_did = called_did
        self.caller_extension = caller_extension
        self.caller_extension_id = caller_extension_id
        self.is_outgoing = is_outgoing
        self.is_hidden = is_hidden
        self.sip_call_id = sip_call_id[:_LONGEST_SIP_CALL_ID]

    def parameters(self, caller_name: str, caller_number: str) -> dict[str, str]:
        """The parameters of a request (R2); the caller as SetCaller left it (R6)."""
        found = {
            "EventType": "call_interactive",
            "CalledExtensionID": str(self.called_extension_id),
            "CalledNumber": self.called_number,
            "CallID": self.call_id,
            "CallerIDNum": caller_number,
        }
        if self.called_did is not None:
            found["CalledDID"] = self.called_did
        if self.caller_extension_id is not None:
            found["CallerExtensionID"] = str(self.caller_extension_id)
        if self.caller_extension is not None:
            found["CallerExtension"] = self.caller_extension
        found["CallFlow"] = "OUT" if self.is_outgoing else "IN"
        found["CalledExtension"] = self.called_extension
        found["CallAPIID"] = self.call_api_id
        found["CallerIDName"] = caller_name
        found["CallStatus"] = "ANSWER"
        return found

    def shown(self) -> dict[str, Any]:
        """Caller and called, as the records of the call have them (E1)."""
        found: dict[str, Any] = {
            "caller_number": self.caller_number,
            "caller_name": self.caller_name,
            "called_number": self.called_number,
            "called_extension": self.called_extension,
            "called_extension_id": self.called_extension_id,
        }
        if self.called_did is not None:
            found["called_did"] = self.called_did
        if self.caller_extension is not None:
            found["caller_extension"] = self.caller_extension
        if self.caller_extension_id is not None:
            found["caller_extension_id"] = self.caller_extension_id
        if self.is_outgoing:
            found["direction"] = "out"
        if self.sip_call_id:
            found["sip_call_id"] = self.sip_call_id
        return found

    def to_dict(self) -> dict[str, str]:
        """The facts as texts, absent ones left out."""
        texts = {
            "call_id": self.call_id,
            "call_api_id": self.call_api_id,
            "caller_number": self.caller_number,
            "caller_name": self.caller_name,
            "called_number": self.called_number,
            "called_extension": self.called_extension,
            "called_extension_id": str(self.called_extension_id),
        }
        if self.called_did is not None:
            texts["called_did"] = self.called_did
        if self.caller_extension is not None:
            texts["caller_extension"] = self.caller_extension
        if self.caller_extension_id is not None:
            texts["caller_extension_id"] = str(self.caller_extension_id)
        for name in _FLAGS:
            if getattr(self, name):
                texts[name] = "1"
        if self.sip_call_id:
            texts["sip_call_id"] = self.sip_call_id
        return texts

    @staticmethod
    def from_dict(values: Mapping[str, str]) -> CallFacts:
        """The reverse of `to_dict`. What a newer release has more is left out. Raises KeyError or ValueError."""
        caller_extension_id = values.get("caller_extension_id")
        return CallFacts(
            values["call_id"],
            values["call_api_id"],
            values["caller_number"],
            values["caller_name"],
            values["called_number"],
            values["called_extension"],
            int(values["called_extension_id"]),
            values.get("called_did"),
            values.get("caller_extension"),
            None if caller_extension_id is None else int(caller_extension_id),
            values.get("is_outgoing") == "1",
            values.get("is_hidden") == "1",
            values.get("sip_call_id", ""),
        )


plain.tell_types(CallFacts, called_did=str | None, caller_extension=str | None, caller_extension_id=int | None)
NAMES = tuple(fact.name for fact in fields(CallFacts))


def known_facts(values: Mapping[str, _T]) -> dict[str, _T]:
    """Without those of a newer release: while a fleet is upgraded its parts tell each other of calls."""
    return {name: values[name] for name in NAMES if name in values}


def facts_of_new_call(
    call_id: str,
    node: int,
    found: FoundIvr,
    dialled: str,
    *,
    name: str,
    number: str,
    extension: Extension | None,
    sip_call_id: str = "",
) -> CallFacts:
    """The facts of a call that enters an IVR.

    `call_id` is random and new: 32 lower-case hex digits. `name` and `number` are the caller's, `extension` is who an
    internal caller is.
    """
    return CallFacts(
        call_id=call_id,
        call_api_id=f"{node}:{call_id}",
        caller_number=number,
        caller_name=name,
        called_number=dialled,
        called_did=found.did,
        called_extension=found.ivr.number,
        called_extension_id=found.ivr.id,
        caller_extension=extension.number if extension else None,
        caller_extension_id=extension.id if extension else None,
        sip_call_id=sip_call_id,
    )


def facts_of_internal_call(
    call_id: str,
    node: int,
    called: Extension | None,
    dialled: str,
    *,
    name: str,
    number: str,
    extension: Extension | None,
    sip_call_id: str = "",
) -> CallFacts:
    """The facts of a call that enters no IVR (C8). called: the extension; None where the number leads nowhere."""
    return CallFacts(
        call_id=call_id,
        call_api_id=f"{node}:{call_id}",
        caller_number=number,
        caller_name=name,
        called_number=dialled,
        called_extension=called.number if called else "",
        called_extension_id=called.id if called else 0,
        caller_extension=extension.number if extension else None,
        caller_extension_id=extension.id if extension else None,
        sip_call_id=sip_call_id,
    )


def facts_of_transferred_call(
    facts: CallFacts, call_id: str, found: FoundIvr, dialled: str, *, name: str, number: str, sip_call_id: str = ""
) -> CallFacts:
    """The facts of a call that an IVR transfers to another IVR: a new call of the same CallAPIID.

    `name` and `number` are the caller's as the first IVR left them.
    """
    return replace(
        facts,
        call_id=call_id,
        caller_number=number,
        caller_name=name,
        called_number=dialled,
        called_did=found.did,
        called_extension=found.ivr.number,
        called_extension_id=found.ivr.id,
        is_outgoing=False,
        is_hidden=facts.is_hidden and number == facts.caller_number,
        sip_call_id=sip_call_id,
    )


def facts_of_outgoing_call(call_id: str, node: int, ivr: Ivr, number: str, *, name: str, caller: str) -> CallFacts:
    """The facts of a call that we make, for the script of `ivr`. `caller` and `name` are whom `number` sees calling."""
    return CallFacts(
        call_id=call_id,
        call_api_id=f"{node}:{call_id}",
        caller_number=caller,
        caller_name=name,
        called_number=number,
        called_extension=ivr.number,
        called_extension_id=ivr.id,
        is_outgoing=True,
    )
