"""What a transaction remembers by a key: texts and records (`kemi.transaction`)."""

from __future__ import annotations

from typing import Generic, Protocol, Self, TypeVar

from callinteractive.remember import keep
from kemi import ksr


class Texts:
    """Texts by a key; empty where nothing was kept."""

    def __init__(self, name: str) -> None:
        self._prefix = f"ci_{name}:"

    def __getitem__(self, key: object) -> str:
        return ksr.recall(f"{self._prefix}{key}")

    def __setitem__(self, key: object, value: str) -> None:
        ksr.remember(f"{self._prefix}{key}", value)


class _Recordable(Protocol):
    def to_text(self) -> str: ...

    @classmethod
    def from_text(cls, text: str) -> Self: ...


Recorded = TypeVar("Recorded", bound=_Recordable)


_MOST_KNOWN = 64


class Records(Generic[Recorded]):
    """Records by a key: ``transaction.branches[index]``. Raises KeyError where nothing was recorded."""

    def __init__(self, name: str, kind: type[Recorded]) -> None:
        self._prefix = f"ci_{name}:"
        self._kind = kind
        self._known: dict[str, Recorded] = {}
        """The last ones, by their texts: the routes of one branch read the same again and again."""

    def __getitem__(self, key: object) -> Recorded:
        record = self.get(key)
        if record is None:
            raise KeyError(key)
        return record

    def get(self, key: object) -> Recorded | None:
        text = ksr.recall(f"{self._prefix}{key}")
        if not text:
            return None
        return self._known.get(text) or keep(self._known, _MOST_KNOWN, text, self._kind.from_text(text))

    def __setitem__(self, key: object, record: Recorded) -> None:
        text = record.to_text()
        keep(self._known, _MOST_KNOWN, text, record)
        ksr.remember(f"{self._prefix}{key}", text)
