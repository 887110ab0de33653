"""Connections that outlive this process: the one that is started in its place gets them, and all that came meanwhile.

The store is a pair of Unix sockets, and in one message between them, which waits unread, are the connections
(SCM_RIGHTS, unix(7)). The kernel keeps both for as long as somebody holds the pair: `run`, or systemd in its file
descriptor store. Neither of them reads, so neither can lose anything. The pair has no name: nobody else can reach it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress

import structlog

from sidecar import systemd

LOG = structlog.get_logger()

VARIABLE = "CALLINTERACTIVE_DESCRIPTOR_STORE"
"""The numbers of both ends, with a comma, where `run` holds the pair."""
_NAME = "connections"  # of both in systemd's store

_MOST = 253
"""Linux's SCM_MAX_FD: so many descriptors fit into a message."""
_LONGEST = 32 * 1024

Pair = tuple[socket.socket, socket.socket]


def make_pair() -> Pair:
    """A new store, empty."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return one, other


def of_environment() -> DescriptorStore:
    """The store that whoever has started this process holds; one that keeps nothing where nobody does."""
    numbers = os.environ.pop(VARIABLE, "")  # not for a process that we start
    if left := numbers.split(",") if numbers else systemd.stored(_NAME):
        return _of_descriptors(left)
    pair = make_pair()
    if systemd.store(_NAME, [end.fileno() for end in pair]):
        return DescriptorStore(pair)
    for end in pair:
        end.close()
    return DescriptorStore()


def _of_descriptors(left: Sequence[str | int]) -> DescriptorStore:
    try:
        one, other = (socket.socket(fileno=int(number)) for number in left)
    except (OSError, ValueError) as error:
        LOG.warning("digits that come while this sidecar is started again will be lost", reason=str(error))
        return DescriptorStore()
    return DescriptorStore((one, other))


class DescriptorStore:
    """Connections by name. Nothing here waits or raises: what can't be kept is lost with the process."""

    def __init__(self, pair: Pair | None = None) -> None:
        """None keeps nothing."""
        self._pair = pair
        self._kept: dict[str, socket.socket] = {}
        self._left: dict[str, socket.socket] = {}
        self._has_message = False
        if pair is None:
            return
        for end in pair:
            end.setblocking(False)
            end.set_inheritable(False)
        for end in pair:
            while (message := _read(end)) is not None:
                _close(self._left)  # an older message: the process died before it had taken that one back
                self._left = message
        self._kept = {name: connection.dup() for name, connection in self._left.items()}
        self._write()

    def take(self, name: str) -> socket.socket | None:
        """What the process before has left under this name, the first time that it is asked for."""
        return self._left.pop(name, None)

    def drop_left(self) -> None:
        """Of those that were left, end what nobody has asked for: it is not read any more."""
        while self._left:
            name, connection = self._left.popitem()
            connection.close()
            self.drop(name)

    def keep(self, name: str, descriptor: int) -> None:
        """From now on this connection is left to the next process, in the place of one of the same name."""
        if self._pair is None:
            return
        with suppress(OSError):
            kept, self._kept[name] = self._kept.get(name), socket.socket(fileno=os.dup(descriptor))
            if kept is not None:
                kept.close()
            self._write()

    def drop(self, name: str) -> None:
        """End the connection, however many hold it. Does nothing where nothing is kept under this name."""
        connection = self._kept.pop(name, None)
        if connection is None:
            return
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        self._write()

    def _write(self) -> None:
        """The newest message counts. So the one before it goes only when the new one is there."""
        if self._pair is None:
            return
        writing, reading = self._pair
        names = list(self._kept)[:_MOST]
        try:
            socket.send_fds(writing, ["\n".join(names).encode()], [self._kept[name].fileno() for name in names])
        except OSError as error:
            LOG.warning("digits that come while this sidecar is started again will be lost", reason=str(error))
            return
        if self._has_message:
            _close(_read(reading) or {})
        self._has_message = True


def _read(end: socket.socket) -> dict[str, socket.socket] | None:
    """The next message that waits there."""
    try:
        text, descriptors, _, _ = socket.recv_fds(end, _LONGEST, _MOST, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    names = text.decode("utf-8", "replace").split("\n")
    return {name: socket.socket(fileno=number) for name, number in zip(names, descriptors, strict=False)}


def _close(connections: dict[str, socket.socket]) -> None:
    for connection in connections.values():
        connection.close()
