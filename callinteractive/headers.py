"""The private X-CI-* headers between Kamailio and the sidecar: one type a header, ``parse(str(x)) == x``.

Each value is one ``application/x-www-form-urlencoded`` string. That is printable ASCII whatever it holds, so it needs
no quoting and cannot break a SIP header. Kamailio removes every header with `PREFIX` from messages that come from
outside and from messages that leave.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, Self

from callinteractive.dialled import is_dialled_number
from callinteractive.errors import HeaderError
from callinteractive.facts import CallFacts
from callinteractive.request import decode_form, encode_form

PREFIX = "X-CI-"
MAX_LENGTH = 16_384
"""Octets of one header's value; a UDP datagram holds four times this."""
MAX_STATE = 1024 * 1024
"""Octets of a script's state as JSON: 200 variables of 4096 ASCII characters each, and what else there is."""
MOST_BREADTH = 60  # RFC 5393 5.3.3


class Named:
    """A private header. Its name is that of its class: `CallHeader` is X-CI-Call."""

    NAME: ClassVar[str]

    def __init_subclass__(cls) -> None:
        # Not written in each class: mypyc would take it for a field of the dataclass.
        cls.NAME = PREFIX + cls.__name__.removesuffix("Header")


class _Header(Named):
    """A header whose value is an urlencoded form. Subclasses say which fields it has.

    What a newer release has more is left out.
    """

    def __str__(self) -> str:
        return encode_form(self._to_form())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a header's value. Raises HeaderError, naming the header."""
        try:
            if len(text) > MAX_LENGTH:
                raise ValueError(f"longer than {MAX_LENGTH} octets")
            return cls._from_form(decode_form(text))
        except KeyError as error:
            raise HeaderError(f"{cls.NAME}: {error} is missing") from None
        except (ValueError, TypeError) as error:
            raise HeaderError(f"{cls.NAME}: {error}") from None

    # Not abstract methods: mypyc takes no dataclass whose base is an ABC.

    def _to_form(self) -> dict[str, str]:
        """The fields as texts."""
        raise NotImplementedError

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        """The reverse of `_to_form`. Raises ValueError, TypeError or KeyError."""
        raise NotImplementedError


def _bounded(form: Mapping[str, str], name: str, least: int, most: int) -> int:
    number = int(form[name])
    if not least <= number <= most:
        raise ValueError(f"{name} is {number}")
    return number


@dataclass(slots=True, init=False, unsafe_hash=True)  # an `__init__` of its own: see `request.HttpRequest`
class CallHeader(_Header):
    """The facts of the call (R2), from Kamailio to the sidecar on every INVITE of an IVR, and with every leg back."""

    facts: Final[CallFacts]

    def __init__(self, facts: CallFacts) -> None:
        self.facts = facts

    def _to_form(self) -> dict[str, str]:
        return self.facts.to_dict()

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(CallFacts.from_dict(form))


@dataclass(frozen=True, slots=True)
class EntryHeader(_Header):
    """Where a call enters its IVR: the IVR's extended number, a context, an option. From Kamailio to the sidecar."""

    ivr: str
    context: str
    option: str

    def _to_form(self) -> dict[str, str]:
        return {"ivr": self.ivr, "context": self.context, "option": self.option}

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(form["ivr"], form["context"], form["option"])


@dataclass(frozen=True, slots=True)
class GenerationHeader(_Header):
    """The ivr.yaml that a call has begun with (`IvrFile.generation`), from Kamailio to the sidecar.

    A header of its own, not signed: one release back knows nothing of it, and it only chooses among files of ours.
    """

    name: str

    def _to_form(self) -> dict[str, str]:
        return {"ivr": self.name}

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(form["ivr"])


@dataclass(slots=True, init=False, unsafe_hash=True)
class TransferHeader(_Header):
    """A SimpleTransfer's plan (A10-A12), from the sidecar to Kamailio. `timeout_s` None is the system timeout."""

    numbers: Final[tuple[str, ...]]
    timeout_s: Final[int | None]
    early_media: Final[bool]

    def __init__(self, numbers: tuple[str, ...], timeout_s: int | None = None, early_media: bool = False) -> None:
        self.numbers = numbers
        self.timeout_s = timeout_s
        self.early_media = early_media

    def _to_form(self) -> dict[str, str]:
        timeout = {} if self.timeout_s is None else {"timeout": str(self.timeout_s)}
        return {"to": ",".join(self.numbers), "early_media": str(int(self.early_media)), **timeout}

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        numbers = tuple(form["to"].split(","))
        if not all(map(is_dialled_number, numbers)):
            raise ValueError("to holds what is no number")
        timeout_s = int(form["timeout"]) if "timeout" in form else None
        if timeout_s is not None and timeout_s < 1:
            raise ValueError("timeout is not positive")
        return cls(numbers, timeout_s, form["early_media"] == "1")


@dataclass(slots=True, init=False, unsafe_hash=True)
class CallerHeader(_Header):
    """The caller to show (A5), from the sidecar to Kamailio. As SetCaller gave it: `Identity` makes it safe for SIP."""

    name: Final[str]
    number: Final[str]

    def __init__(self, name: str, number: str) -> None:
        self.name = name
        self.number = number

    def _to_form(self) -> dict[str, str]:
        return {"name": self.name, "number": self.number}

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(form["name"], form["number"])


@dataclass(frozen=True, slots=True)
class AnchorHeader(_Header):
    """Whether the caller's media is anchored. From Kamailio to itself, with an INVITE that passes it twice."""

    caller: bool

    def _to_form(self) -> dict[str, str]:
        return {"caller": str(int(self.caller))}

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(form["caller"] == "1")


@dataclass(frozen=True, slots=True)
class AttemptHeader(_Header):
    """How many branches the INVITE had before this sidecar was asked, from Kamailio; none for the first.

    In a sidecar's 503: it had begun the call, and Kamailio tells how that ends, or asks another sidecar.
    """

    before: int

    def _to_form(self) -> dict[str, str]:
        return {"before": str(self.before)}

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(_bounded(form, "before", 0, 1000))


@dataclass(frozen=True, slots=True)
class BusyHeader(_Header):
    """From a sidecar with much to do (`sidecar.load`): for how long others should get new calls, if they can."""

    milliseconds: int

    def _to_form(self) -> dict[str, str]:
        return {"for": str(self.milliseconds)}

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(_bounded(form, "for", 0, 10_000))


@dataclass(frozen=True, slots=True)
class ReportedHeader(_Header):
    """The calls that end when the INVITE's dialog ends (`kemi.reports`). From Kamailio to itself, as `AnchorHeader`."""

    names: str

    def _to_form(self) -> dict[str, str]:
        return {"names": self.names}

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        if not form["names"].isalnum():
            raise ValueError("names holds what is no name")
        return cls(form["names"])


@dataclass(frozen=True, slots=True)
class BreadthHeader(_Header):
    """How many branches at once may come of an INVITE (RFC 5393 5). From Kamailio to itself, as `AnchorHeader`."""

    most: int

    def _to_form(self) -> dict[str, str]:
        return {"most": str(self.most)}

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(_bounded(form, "most", 1, MOST_BREADTH))


@dataclass(slots=True, init=False, unsafe_hash=True)
class AnsweredHeader(_Header):
    """Which number of a transfer answered, and whether it is an extension of ours. From Kamailio, with the 200.

    `source`: the IP address that the 200 came from; empty where it is not known. `agent`: what it says it is, where
    Kamailio encrypts its sound by SDES: the sidecar does not see that.
    """

    number: Final[str]
    is_extension: Final[bool]
    source: Final[str]
    agent: Final[str]

    def __init__(self, number: str, is_extension: bool, source: str = "", agent: str = "") -> None:
        self.number = number
        self.is_extension = is_extension
        self.source = source
        self.agent = agent

    def _to_form(self) -> dict[str, str]:
        form = {"number": self.number, "extension": str(int(self.is_extension)), "source": self.source}
        return form | {"agent": self.agent} if self.agent else form

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(form["number"], form["extension"] == "1", form["source"], form.get("agent", ""))


@dataclass(frozen=True, slots=True)
class StateHeader(_Header):
    """A script that waits for its transfer (`CallScript.to_json`), in a 302 to Kamailio and back to any sidecar.

    `story`: what was told of the call so far, as JSON. Empty from a sidecar of another release.
    """

    script: str
    story: str = ""

    @property
    def is_too_long(self) -> bool:
        """Whether this does not fit into a header. The sidecar must then answer the call and bridge it."""
        most = max(len(_octets(self.script)), len(_octets(self.story)))
        return most > MAX_STATE or len(str(self)) > MAX_LENGTH

    def _to_form(self) -> dict[str, str]:
        form = {"zlib": _packed(self.script)}
        return form | {"story": _packed(self.story)} if self.story else form

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        return cls(_unpacked(form["zlib"]), _unpacked(form["story"]) if "story" in form else "")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@lru_cache(maxsize=2)
def _packed(text: str) -> str:
    """Remembered for a moment: who has asked whether it fits wants it next."""
    return base64.urlsafe_b64encode(zlib.compress(_octets(text))).decode("ascii")


def _unpacked(packed: str) -> str:
    """Raises ValueError."""
    unpacking = zlib.decompressobj()
    try:
        octets = unpacking.decompress(base64.urlsafe_b64decode(packed), MAX_STATE)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not unpacking.eof:
        raise ValueError(f"cut off, or unpacks to more than {MAX_STATE} octets")
    return octets.decode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class ResultHeader(_Header):
    """The SIP code that a transfer failed with, from Kamailio to the sidecar together with `StateHeader`.

    `legs`: what became of each number (`callinteractive.report`); empty from another release.
    """

    code: int
    legs: str = ""

    def _to_form(self) -> dict[str, str]:
        form = {"code": str(self.code)}
        return form | {"legs": self.legs} if self.legs else form

    @classmethod
    def _from_form(cls, form: Mapping[str, str]) -> Self:
        code = int(form["code"])
        if not 300 <= code <= 699:
            raise ValueError(f"{code} is no failure")
        return cls(code, form.get("legs", ""))
