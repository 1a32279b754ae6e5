"""Datagrams by the hundred: one system call reads all that wait in a socket, one kernel joins them to a text of lines.

Python's own recvfrom costs 4 µs a datagram, which is all that a core can do at 200,000 a second; recvmmsg and the rest
of this cost 1.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carbon.config import Listener
from carbon.limits import Sources
from carbon.listen import NOT_ALLOWED, TOO_FAST, Accept, Door
from carbon.protocols.reader import Batch
from carbon.stats import Stats
from storage.compiled import njit

AT_ONCE = 512
_BYTES_MAX = 65_536  # a datagram's; pages that none has filled take no memory
_NAME_BYTES = 28  # struct sockaddr_in6
_NEWLINE = 10
_NOTHING = (errno.EAGAIN, errno.EINTR)
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 8 << 20  # what waits in the kernel: 40,000 datagrams of a line

Addresses = npt.NDArray[np.uint8]


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = [
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]  # fmt: skip


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = [("header", Header), ("length", ctypes.c_uint32)]


_recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg


class Arrived(NamedTuple):
    """Datagrams joined to lines, and how many there were."""

    source: str  # "" if they are of several
    text: bytes
    datagrams: int


class DatagramReader:
    """Reads a socket that does not block. `by_source`: the datagrams of each address by themselves."""

    def __init__(self, bound: socket.socket, *, by_source: bool) -> None:
        self._fd, self._by_source = bound.fileno(), by_source
        self._data = np.empty((AT_ONCE, _BYTES_MAX), np.uint8)
        self._names = np.zeros((AT_ONCE, _NAME_BYTES), np.uint8)
        self._iovecs = (Iovec * AT_ONCE)()
        self._messages = (Message * AT_ONCE)()
        self._fields = np.frombuffer(memoryview(self._messages), np.uint8).reshape(
            AT_ONCE, ctypes.sizeof(Message)
        )
        for i in range(AT_ONCE):
            self._iovecs[i] = Iovec(self._data.ctypes.data + i * _BYTES_MAX, _BYTES_MAX)
            header = self._messages[i].header
            header.name = self._names.ctypes.data + i * _NAME_BYTES
            header.iov, header.iov_length = ctypes.addressof(self._iovecs[i]), 1
        self._lengths = self._column(Message.length.offset)
        self._name_lengths = self._column(Message.header.offset + Header.name_length.offset)

    def _column(self, offset: int) -> npt.NDArray[np.uint32]:
        column: npt.NDArray[np.uint32] = self._fields[:, offset : offset + 4].view(np.uint32)[:, 0]
        return column

    def read(self) -> list[Arrived]:
        """What waits, at most AT_ONCE datagrams; nothing if none does. Raises OSError."""
        self._name_lengths[:] = _NAME_BYTES
        count = _recvmmsg(self._fd, self._messages, AT_ONCE, socket.MSG_DONTWAIT, None)
        if count < 0:
            code = ctypes.get_errno()
            if code in _NOTHING:
                return []
            raise OSError(code, os.strerror(code))
        names = self._names[:count]
        if count and (names[0, 2:] == names[:, 2:]).all():
            return [Arrived(_address(names[0]), self._join(np.arange(count)), count)]
        if not self._by_source:
            return [Arrived("", self._join(np.arange(count)), count)] if count else []
        return list(self._groups(names))

    def _groups(self, names: Addresses) -> Iterator[Arrived]:
        """Of each address what it sent, whatever its ports were."""
        names = names.copy()
        names[:, 2:4] = 0  # the port, in both kinds of address
        for name in np.unique(names, axis=0):
            which = np.flatnonzero((names == name).all(axis=1))
            yield Arrived(_address(name), self._join(which), len(which))

    def _join(self, which: npt.NDArray[np.int64]) -> bytes:
        lengths = self._lengths[which].astype(np.int64)
        out = np.empty(int(lengths.sum()) + len(which), np.uint8)
        _join(self._data, which, lengths, out)
        return out.tobytes()


class Datagrams:
    """A listener of lines in datagrams, for the reactor to poll (IReadDescriptor)."""

    def __init__(
        self,
        listener: Listener,
        bound: socket.socket,
        read: Callable[[bytes], Batch | None],
        accept: Accept,
        stats: Stats,
        *,
        rates: Sources | None = None,
    ) -> None:
        """`rates`: datapoints a second of each address; what is beyond is dropped and counted."""
        self._bound, self._read, self._accept, self._stats, self._rates = bound, read, accept, stats, rates
        self._door = Door(listener.allow)
        self._reader = DatagramReader(bound, by_source=bool(listener.allow) or rates is not None)

    def widen(self) -> None:
        """Have the kernel keep as much as it lets us: what finds no room there is lost."""
        try:
            self._bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except PermissionError:  # beyond net.core.rmem_max is for root
            self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)

    def fileno(self) -> int:
        return self._bound.fileno()

    def logPrefix(self) -> str:  # noqa: N802  # Twisted's name
        return "datagrams"

    def connectionLost(self, reason: object) -> None:  # noqa: N802  # Twisted's name
        """The reactor ends."""

    def doRead(self) -> None:  # noqa: N802  # Twisted's name
        """Some of what waits; the reactor comes back for the rest."""
        for arrived in self._reader.read():
            self._take(arrived)

    def drain(self) -> None:
        """All that waits."""
        while found := self._reader.read():
            for arrived in found:
                self._take(arrived)

    def _take(self, arrived: Arrived) -> None:
        source = arrived.source
        if source and not self._door.admits(source):
            self._stats.reject(NOT_ALLOWED, arrived.datagrams, source=source)
            return
        bucket = self._rates.of(source) if self._rates is not None else None
        if bucket is not None and bucket.charge(0) > 0:
            lines = sum(1 for line in arrived.text.split(b"\n") if line)
            self._stats.reject(TOO_FAST, lines, source=source)
            return
        batch = self._read(arrived.text)
        self._accept(batch, source)
        if bucket is not None and batch is not None:
            bucket.charge(len(batch.ids))  # all of it: what has room for half would never have it for one


@njit(nogil=True, cache=True)
def _join(data, which, lengths, out):  # type: ignore[no-untyped-def]
    """The rows `which` of data, of these lengths, end to end, each with a newline behind."""
    at = 0
    for i in range(len(which)):
        n = lengths[i]
        out[at : at + n] = data[which[i], :n]
        out[at + n] = _NEWLINE
        at += n + 1


def _address(name: Addresses) -> str:
    """The address in a struct sockaddr_in or sockaddr_in6."""
    family = int(name[:2].view(np.uint16)[0])
    if family == socket.AF_INET6:
        return str(ipaddress.IPv6Address(name[8:24].tobytes()))
    return str(ipaddress.IPv4Address(name[4:8].tobytes()))
