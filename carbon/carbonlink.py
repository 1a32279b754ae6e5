"""CarbonLink, by which graphite-web asks a cache for its newest datapoints: requests read sans-IO, answers, Twisted.

A request is a 4-byte length and a pickled dict, the answer a 4-byte length and a pickle of protocol 2. Of pickles only
what such a dict needs is read: texts, lists and tuples of texts, the dict itself; whatever else a pickle can say is
refused and the connection closed. An answer is written here too, its datapoints as columns.

    {type: cache-query, metric}              {datapoints: [(timestamp, value), …]}
    {type: cache-query-bulk, metrics: […]}   {datapointsByMetric: {metric: [(timestamp, value), …]}}
    {type: get-metadata, metric, key}        {value}, for the key aggregationMethod
    {type: set-metadata, …}, others          {error}
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Generator, Sequence
from struct import Struct
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from twisted.internet import protocol
from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from carbon.errors import BadFrame
from carbon.stats import Stats

REQUEST_BYTES_MAX = 1 << 20  # carbon: 1 GiB
NAMES_MAX = 10_000  # of one request
NAME_BYTES_MAX = 4096
DATAPOINTS_MAX = 1_000_000  # of one answer: 15 MB
CONNECTIONS_MAX = 1_000
IDLE_S = 600
_KEYS_MAX = 8
_OPCODES_MAX = 4 * NAMES_MAX  # a name is a text, its place in the memo and, in protocol 0, an append
_DIGITS_MAX = 10  # of a key of the memo
_NAMES_AT_ONCE = 200  # between two turns of the reactor

Request = dict[str, str | list[str]]
Points = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]  # epoch seconds, values; of equal length


class Source(Protocol):
    """What the answers need of a store."""

    def newest(self, names: Sequence[str]) -> list[Points]:
        """The newest datapoints of each name; none for one that is unknown."""
        ...

    def aggregation(self, name: str) -> str | None:
        """What whisper calls the series' aggregationMethod; None if there is no such series."""
        ...


# --- answers ---


class Answers:
    def __init__(self, source: Source, stats: Stats) -> None:
        self._source, self._stats = source, stats

    def answer(self, request: Request) -> Generator[None, None, bytes]:
        """The pickled answer, at the end of some turns; raises BadFrame for a request that lacks what it needs."""
        kind = _text_of(request, "type")
        if kind == "cache-query":
            self._stats.queries += 1
            name = _text_of(request, "metric")
            return (yield from self._datapoints([name], lambda lists: _dict(("datapoints", lists[0]))))
        if kind == "cache-query-bulk":
            names = list(dict.fromkeys(_texts_of(request, "metrics")))
            self._stats.bulk_queries += 1
            self._stats.bulk_query_names += len(names)
            return (yield from self._datapoints(names, lambda lists: _by_name(names, lists)))
        if kind == "get-metadata":
            return self._metadata(_text_of(request, "metric"), _text_of(request, "key"))
        if kind == "set-metadata":
            return _error("metadata are read-only here: storage-aggregation.conf says them")
        return _error(f'Invalid request type "{kind}"')

    def _datapoints(
        self, names: Sequence[str], answer: Callable[[list[bytes]], bytes]
    ) -> Generator[None, None, bytes]:
        lists: list[bytes] = []
        count = 0
        for start in range(0, len(names), _NAMES_AT_ONCE):
            for timestamps, values in self._source.newest(names[start : start + _NAMES_AT_ONCE]):
                count += len(values)
                if count > DATAPOINTS_MAX:
                    return _error(f"more than {DATAPOINTS_MAX:,} datapoints: ask for fewer metrics at once")
                lists.append(_pairs(timestamps, values))
            if start + _NAMES_AT_ONCE < len(names):
                yield
        return _pickled(answer(lists))

    def _metadata(self, name: str, key: str) -> bytes:
        if key != "aggregationMethod":
            return _error(f'Unsupported metadata key "{key}"')
        method = self._source.aggregation(name)
        if method is None:
            return _error(f'no such metric "{name}"')
        return _pickled(_dict(("value", _text(method))))


def _text_of(request: Request, key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise BadFrame(f"query without a text as {key}")
    return value


def _texts_of(request: Request, key: str) -> list[str]:
    value = request.get(key)
    if not isinstance(value, list):
        raise BadFrame(f"query without a list as {key}")
    return value


# --- objects → pickle, protocol 2: a piece each, between _pickled's header and end ---

_PAIR_32 = np.dtype([("int", "u1"), ("t", "<i4"), ("float", "u1"), ("v", ">f8"), ("tuple", "u1")])
_PAIR_64 = np.dtype(
    [("long", "u1"), ("size", "u1"), ("t", "<i8"), ("float", "u1"), ("v", ">f8"), ("tuple", "u1")]
)


def _pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def _dict(*items: tuple[str, bytes]) -> bytes:
    return b"}(" + b"".join(_text(key) + value for key, value in items) + b"u"


def _by_name(names: Sequence[str], lists: Sequence[bytes]) -> bytes:
    return _dict(("datapointsByMetric", _dict(*zip(names, lists, strict=True))))


def _error(why: str) -> bytes:
    return _pickled(_dict(("error", _text(why))))


def _pairs(timestamps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> bytes:
    """A list of (timestamp, value); what is no number is left out."""
    known = ~np.isnan(values)
    timestamps, values = timestamps[known], values[known]
    short = len(timestamps) == 0 or (timestamps.min() >= -(1 << 31) and timestamps.max() < 1 << 31)
    rows = np.empty(len(values), _PAIR_32 if short else _PAIR_64)
    rows["t"], rows["v"] = timestamps, values
    rows["float"], rows["tuple"] = ord("G"), 0x86
    if short:
        rows["int"] = ord("J")
    else:
        rows["long"], rows["size"] = 0x8A, 8
    return b"](" + rows.tobytes() + b"e"


# --- pickle → requests ---

_LENGTH = Struct(">I")
_MALFORMED: Final = "query cut short or malformed"
_FORBIDDEN: Final = "query of more than texts and lists in a dict"
_TOO_LONG: Final = f"query longer than {REQUEST_BYTES_MAX} bytes"
_TOO_MANY: Final = f"query of more than {NAMES_MAX} metrics"


class RequestReader:
    """Reads one stream: `feed` takes any split of it, `next` gives its requests one by one."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Request | None:
        """The next whole request, None if there is none yet; raises BadFrame."""
        if len(self._buffer) < 4:
            return None
        (size,) = _LENGTH.unpack_from(self._buffer)
        if size > REQUEST_BYTES_MAX:
            raise BadFrame(_TOO_LONG)
        if len(self._buffer) < 4 + size:
            return None
        frame = bytes(self._buffer[4 : 4 + size])
        del self._buffer[: 4 + size]
        return read_request(frame)


def read_request(data: bytes) -> Request:
    """The dict of texts and lists of texts that a pickle of protocol 0 to 5 holds; raises BadFrame."""
    machine, at = _Machine(data), 0
    try:
        for _ in range(_OPCODES_MAX):
            opcode = data[at]
            if opcode == _STOP:
                break
            step = _OPCODES.get(opcode)
            if step is None:
                raise BadFrame(_FORBIDDEN)
            at = step(machine, at + 1)
        else:
            raise BadFrame(_TOO_MANY)
        (found,) = machine.stack
        if machine.below or at != len(data) - 1 or not isinstance(found, dict):
            raise BadFrame(_MALFORMED)
        return _checked(found)
    except (IndexError, KeyError, ValueError, TypeError):
        # the end of the data, an empty stack, a memo that was never put, a text that is none
        raise BadFrame(_MALFORMED) from None


def _checked(found: dict[Any, Any]) -> Request:
    """Its values as text; a list in a list, which may be itself, is refused before anyone looks into it."""
    request: Request = {}
    for key, value in found.items():
        if isinstance(value, (list, tuple)):
            if len(value) > NAMES_MAX:
                raise BadFrame(_TOO_MANY)
            request[_name(key)] = list(map(_name, value))
        else:
            request[_name(key)] = _name(value)
    return request


def _name(value: object) -> str:
    if not isinstance(value, bytes):
        raise BadFrame(_FORBIDDEN)
    return value.decode()


class _Machine:
    """The state that opcodes change. An opcode is a function of it and the place behind itself → the next.

    A place beyond the end of the data needs no check: fetching the next opcode there raises IndexError.
    """

    __slots__ = ("below", "data", "memo", "stack")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.stack: list[Any] = []  # since the last MARK: texts as bytes, lists, tuples, dicts
        self.below: list[list[Any]] = []  # the stacks of the brackets around
        self.memo: dict[int, Any] = {}  # a list would let LONG_BINPUT choose its size

    def close(self) -> list[Any]:
        """End the bracket that the last MARK opened, and give what is in it."""
        items = self.stack
        self.stack = self.below.pop()
        return items

    def line(self, at: int) -> bytes:
        """The text up to the next newline, which must come."""
        return self.data[at : self.data.index(b"\n", at, at + 4 * NAME_BYTES_MAX + 3)]

    def push(self, text: bytes, after: int) -> int:
        if len(text) > NAME_BYTES_MAX:
            raise BadFrame(f"queried text longer than {NAME_BYTES_MAX} bytes")
        self.stack.append(text)
        return after

    def put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def set_items(self, items: Sequence[Any]) -> None:
        """Pairs into the dict on top."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError
        target.update(zip(items[::2], items[1::2], strict=True))  # TypeError for a key that is a list
        if len(target) > _KEYS_MAX:
            raise BadFrame(f"query of more than {_KEYS_MAX} keys")

    def extend(self, items: Sequence[Any]) -> None:
        """Into the list on top."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError
        target.extend(items)


_Step = Callable[[_Machine, int], int]
# what repr writes: another backslash is no escape, and to decode it is deprecated
_LITERAL = re.compile(rb"""['"](?:[^\\]|\\[\\'"nrt]|\\x[0-9a-f]{2})*['"]""")


def _text_of_size(width: int) -> _Step:
    def step(machine: _Machine, at: int) -> int:
        start = at + width
        size = int.from_bytes(machine.data[at:start], "little")
        return machine.push(machine.data[start : start + size], start + size)

    return step


def _string_line(machine: _Machine, at: int) -> int:
    """STRING of protocol 0: a Python 2 literal, in quotes."""
    line = machine.line(at)
    if _LITERAL.fullmatch(line) is None or line[:1] != line[-1:]:
        raise ValueError
    return machine.push(codecs.escape_decode(line[1:-1])[0], at + len(line) + 1)


def _unicode_line(machine: _Machine, at: int) -> int:
    """UNICODE of protocol 0: Latin-1 with \\uNNNN for the rest."""
    line = machine.line(at)
    return machine.push(codecs.raw_unicode_escape_decode(line)[0].encode(), at + len(line) + 1)


def _mark(machine: _Machine, at: int) -> int:
    machine.below.append(machine.stack)
    machine.stack = []
    return at


def _push(make: Callable[[], Any]) -> _Step:
    def step(machine: _Machine, at: int) -> int:
        machine.stack.append(make())
        return at

    return step


def _from_mark(make: Callable[[list[Any]], Any]) -> _Step:
    def step(machine: _Machine, at: int) -> int:
        items = machine.close()
        machine.stack.append(make(items))
        return at

    return step


def _tuple_of(size: int) -> _Step:
    def step(machine: _Machine, at: int) -> int:
        items = [machine.stack.pop() for _ in range(size)]
        machine.stack.append(tuple(reversed(items)))
        return at

    return step


def _dict_from_mark(machine: _Machine, at: int) -> int:
    items = machine.close()
    machine.stack.append({})
    machine.set_items(items)
    return at


def _set_item(machine: _Machine, at: int) -> int:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])
    return at


def _set_items(machine: _Machine, at: int) -> int:
    items = machine.close()
    machine.set_items(items)
    return at


def _append(machine: _Machine, at: int) -> int:
    item = machine.stack.pop()
    machine.extend([item])
    return at


def _appends(machine: _Machine, at: int) -> int:
    items = machine.close()
    machine.extend(items)
    return at


def _memo(width: int | None, use: Callable[[_Machine, int], None]) -> _Step:
    """An opcode with a key of the memo behind it: so many bytes, or None = a line of digits."""

    def step(machine: _Machine, at: int) -> int:
        if width is None:
            line = machine.line(at)
            if len(line) > _DIGITS_MAX:
                raise ValueError
            use(machine, int(line))
            return at + len(line) + 1
        use(machine, int.from_bytes(machine.data[at : at + width], "little"))
        return at + width

    return step


def _get(machine: _Machine, key: int) -> None:
    machine.stack.append(machine.memo[key])


def _memoize(machine: _Machine, at: int) -> int:
    machine.put(len(machine.memo))
    return at


def _proto(machine: _Machine, at: int) -> int:
    if machine.data[at] > 5:
        raise BadFrame(_FORBIDDEN)
    return at + 1


_STOP: Final = ord(".")
_OPCODES: Final[dict[int, _Step]] = {
    ord(opcode): step
    for opcode, step in {
        b"\x80": _proto, b"\x95": lambda machine, at: at + 8,
        # SHORT_BINSTRING, SHORT_BINUNICODE; BINSTRING, BINUNICODE; BINUNICODE8
        b"U": _text_of_size(1), b"\x8c": _text_of_size(1), b"T": _text_of_size(4), b"X": _text_of_size(4),
        b"\x8d": _text_of_size(8), b"S": _string_line, b"V": _unicode_line,
        b"(": _mark, b"]": _push(list), b"l": _from_mark(list), b"a": _append, b"e": _appends,
        b")": _push(tuple), b"t": _from_mark(tuple), b"\x85": _tuple_of(1), b"\x86": _tuple_of(2),
        b"\x87": _tuple_of(3),
        b"}": _push(dict), b"d": _dict_from_mark, b"s": _set_item, b"u": _set_items,
        b"\x94": _memoize, b"q": _memo(1, _Machine.put), b"r": _memo(4, _Machine.put), b"p": _memo(None, _Machine.put),
        b"h": _memo(1, _get), b"j": _memo(4, _get), b"g": _memo(None, _get),
    }.items()
}  # fmt: skip


# --- Twisted ---


class Clock(Protocol):
    """What a connection needs of a reactor."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any: ...  # noqa: A002, N802


class Queries(protocol.Protocol, TimeoutMixin):
    """One connection: its requests are answered one by one, with turns of the reactor between.

    Nothing is read while an answer is made, and none is made while the client does not read: what a connection
    can hold is one piece of what was read and one answer.
    """

    transport: Any  # of a TCP connection: more than ITransport says

    def __init__(self, factory: QueriesFactory) -> None:
        self.callLater = factory.clock.callLater  # type: ignore[method-assign]  # as TimeoutMixin wants it
        self._factory = factory
        self._requests = RequestReader()
        self._work: Generator[None, None, bytes] | None = None
        self._turn: Any = None
        self._unread = False  # the client does not read its answers at the moment
        self._peer = ""

    def connectionMade(self) -> None:  # noqa: N802
        self._peer = str(getattr(self.transport.getPeer(), "host", None) or "local")
        if not self._factory.admits(self._peer):
            self._refuse("address not allowed")
            return
        if len(self._factory.connections) >= self._factory.connections_max:
            self._refuse("too many connections")
            return
        self._factory.connections.add(self)
        self.transport.registerProducer(self, True)
        self.setTimeout(self._factory.idle_s)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.resetTimeout()
        self._requests.feed(data)
        self.transport.pauseProducing()
        self._go_on()

    def _go_on(self) -> None:
        if self._turn is None and not self._unread:
            self._turn = self._factory.clock.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        try:
            more = self._work_on()
        except BadFrame as error:
            self._refuse(error.reason)
            return
        if more:
            self._go_on()
        else:
            self.transport.resumeProducing()

    def _work_on(self) -> bool:
        """Go on with an answer, or with the next request; False if there is none."""
        if self._work is None:
            request = self._requests.next()
            if request is None:
                return False
            self._work = self._factory.answers.answer(request)
        try:
            next(self._work)
        except StopIteration as end:
            self._work = None
            self.transport.writeSequence([_LENGTH.pack(len(end.value)), end.value])
        return True

    def _refuse(self, reason: str) -> None:
        self._factory.stats.reject(reason, source=self._peer, listener="carbonlink")
        self.transport.abortConnection()

    def timeoutConnection(self) -> None:  # noqa: N802
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        self.setTimeout(None)
        self._factory.connections.discard(self)
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._unread = True  # no more turns

    # --- a producer: the transport says when too much is unread ---

    def pauseProducing(self) -> None:  # noqa: N802
        self._unread = True

    def resumeProducing(self) -> None:  # noqa: N802
        self._unread = False
        self._go_on()

    def stopProducing(self) -> None:  # noqa: N802
        self._unread = True


class QueriesFactory(protocol.Factory):
    """Makes a Queries for each connection. `idle_s` None = a silent connection is never closed."""

    noisy = False

    def __init__(
        self,
        answers: Answers,
        stats: Stats,
        clock: Clock,
        *,
        idle_s: int | None = IDLE_S,
        connections_max: int = CONNECTIONS_MAX,
        admits: Callable[[str], bool] = lambda address: True,
    ) -> None:
        """`admits` tells whether an address may ask."""
        self.admits = admits
        self.answers, self.stats, self.clock = answers, stats, clock
        self.idle_s, self.connections_max = idle_s, connections_max
        self.connections: set[Queries] = set()

    def buildProtocol(self, addr: IAddress | None) -> Queries:  # noqa: N802
        return Queries(self)
