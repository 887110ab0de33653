"""The stream of events that RTPengine sends over TCP: a cookie, a blank and a bencoded mapping each, no line end."""

from __future__ import annotations

from collections.abc import Iterator

_LARGEST_EVENT = 4096
_DEEPEST_EVENT = 4  # the notify, its data, the data's list of tags, and one to spare
_LONGEST_NUMBER = 20

Bencoded = int | bytes | list["Bencoded"] | dict[bytes, "Bencoded"]


class NotAnEventError(Exception):
    """What came over the connection is no stream of events. Where the next one begins cannot be told."""


class EventReader:
    """Takes the stream apart: bytes in, as they come; events out, each a mapping as RTPengine sent it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[bytes, Bencoded]]:
        """The events that are complete now. Raises NotAnEventError. What follows an event is kept."""
        stream = self._rest + data
        start = 0
        try:
            while (found := _read_event(stream, start)) is not None:
                event, start = found
                yield event
        finally:
            self._rest = stream[start:]


def _read_event(stream: bytes, start: int) -> tuple[dict[bytes, Bencoded], int] | None:
    """The event that begins at `start` and where it ends; None while it is incomplete. Raises NotAnEventError."""
    limit = start + _LARGEST_EVENT
    cookie_end = stream.find(b" ", start, limit)
    try:
        if cookie_end < 0:
            raise IndexError
        event, end = _read(stream[:limit], cookie_end + 1)
    except IndexError:
        if len(stream) >= limit:
            raise NotAnEventError(f"an event of more than {_LARGEST_EVENT} octets") from None
        return None
    if not isinstance(event, dict):
        raise NotAnEventError("an event that is no mapping")
    return event, end


def _read(data: bytes, at: int) -> tuple[Bencoded, int]:
    """One bencoded value and where it ends. Raises IndexError where `data` ends before it, NotAnEventError."""
    open_lists: list[list[Bencoded]] = []  # those not yet ended; a mapping is a list of keys and values until its end
    mappings: list[bool] = []
    while True:
        value: Bencoded
        kind = data[at]
        if kind in b"dl":
            if len(open_lists) == _DEEPEST_EVENT:
                raise NotAnEventError("an event nested too deep")
            open_lists.append([])
            mappings.append(kind == ord("d"))
            at += 1
            continue
        if kind == ord("e") and open_lists:
            items = open_lists.pop()
            value, at = (_mapping(items) if mappings.pop() else items), at + 1
        elif kind == ord("i"):
            value, at = _number(data, at + 1, b"e")
        else:
            length, at = _number(data, at, b":")
            if not 0 <= length <= _LARGEST_EVENT:
                raise NotAnEventError("a text of an impossible length")
            if at + length > len(data):
                raise IndexError
            value, at = data[at : at + length], at + length
        if not open_lists:
            return value, at
        open_lists[-1].append(value)


def _number(data: bytes, at: int, terminator: bytes) -> tuple[int, int]:
    end = data.find(terminator, at, at + _LONGEST_NUMBER)
    digits = data[at : at + _LONGEST_NUMBER] if end < 0 else data[at:end]
    if digits.removeprefix(b"-").isdigit():  # int() would also take blanks and underscores
        if end >= 0:
            return int(digits), end + 1
        if len(digits) < _LONGEST_NUMBER:
            raise IndexError
    elif end < 0 and digits in (b"", b"-"):  # what there is of it
        raise IndexError
    raise NotAnEventError("a number that is none")


def _mapping(items: list[Bencoded]) -> dict[bytes, Bencoded]:
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values):
        raise NotAnEventError("a key without a value")
    return {key: value for key, value in zip(keys, values, strict=True) if isinstance(key, bytes)}
