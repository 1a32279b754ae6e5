"""The pickle reader: carbon's items in every protocol, the kernel and the machine alike, bombs at their price."""

from __future__ import annotations

import gc
import pickle
import struct
import time
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carbon.errors import BadFrame
from carbon.names import NameTable
from carbon.protocols import pickle_kernel
from carbon.protocols.pickle import BYTES_PER_OPCODE, FRAME_BYTES_MAX, PickleReader, loads
from carbon.protocols.reader import rows_for
from carbon.stats import Stats
from tests.carbon.protocols import streams
from tests.carbon.protocols.streams import NOW, Outcome, Stream, plain_item


def read(pieces: Iterable[bytes], *, frame_bytes_max: int = FRAME_BYTES_MAX) -> Outcome:
    def make(names: NameTable, stats: Stats) -> PickleReader:
        return PickleReader(names, stats, frame_bytes_max=frame_bytes_max)

    return streams.read(make, pieces)


class MachineReader(PickleReader):
    """The reader without its kernel: every frame goes through the machine in Python."""

    def _read(self, data: bytes, now: int, batches: Any) -> tuple[int, int]:
        at = 0
        while len(data) >= at + 4:
            size = int.from_bytes(data[at : at + 4], "big")
            if size > self._frame_bytes_max:
                raise BadFrame(f"pickle frame longer than {self._frame_bytes_max} bytes")
            if len(data) < at + 4 + size:
                break
            self._read_frame(data[at + 4 : at + 4 + size], now, batches)
            at += 4 + size
        return at, 1


def frame(pickled: bytes) -> bytes:
    return struct.pack(">I", len(pickled)) + pickled


def refused(pickled: bytes) -> str:
    """Why a frame is refused; fails if it is not."""
    outcome = read([frame(pickled)])
    assert outcome.broken is not None, outcome
    return outcome.broken


# --- what is read ---

numbers = st.integers(-(2**127), 2**127 - 1) | st.integers(0, 2**33) | st.floats() | st.booleans()
numeric_texts = st.sampled_from(["12.00", "0", "-1e3", " 7 ", "1_000", "nan", "", "x", "0x10", "9" * 33, "é"])
things = st.none() | numbers | numeric_texts | st.lists(st.integers(0, 9), max_size=3) | st.just(())
paths = st.text(max_size=12) | st.text("ab.\\'\"\n", max_size=12) | st.integers(0, 9)


def pairs(first: st.SearchStrategy[Any], second: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(first, second) | st.tuples(first, second).map(list)


points = pairs(st.text("ab.;=", min_size=1, max_size=12), pairs(st.integers(0, 2**33), st.floats(-1e9, 1e9)))
items = points | pairs(paths, pairs(things, things)) | things | st.lists(things, max_size=3)
batches = st.lists(items, max_size=8) | st.lists(items, max_size=8).map(tuple)
protocols = st.integers(0, 5)
pickles = st.builds(pickle.dumps, batches, protocols)


def plain(payloads: Iterable[Any]) -> Outcome:
    return streams.plain(plain_item(item) for payload in payloads for item in payload)


@given(st.lists(st.tuples(batches, protocols), max_size=4), st.data())
def test_frames_of_every_protocol_read_alike_whole_and_split_anywhere(
    frames: list[tuple[Any, int]], data: st.DataObject
) -> None:
    stream = b"".join(frame(pickle.dumps(payload, protocol)) for payload, protocol in frames)
    expected = plain(payload for payload, _ in frames)
    assert read([stream]) == expected
    assert read(stream[i : i + 1] for i in range(len(stream))) == expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    assert read(stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])) == expected


@given(
    batches,
    protocols,
    st.sampled_from([b"\0\0\0\2.\n", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"GET / HTTP/1.1\r\n"]),
)
def test_rubbish_after_a_frame_costs_none_of_its_datapoints(
    payload: Any, protocol: int, rubbish: bytes
) -> None:
    stream = frame(pickle.dumps(payload, protocol))
    expected = plain([payload])
    for chunks in ([stream + rubbish], [stream, rubbish], [stream + rubbish[:3], rubbish[3:]]):
        outcome = read(chunks)
        assert outcome[:2] == expected[:2]
        assert outcome.broken is not None


def test_a_large_batch_reads_in_every_protocol() -> None:
    batch = [(f"servers.web{i}.load", (1_700_000_000 + i, i * 1.5)) for i in range(3000)]
    expected = [(name.encode(), timestamp, value) for name, (timestamp, value) in batch]
    for protocol in range(6):
        assert read([frame(pickle.dumps(batch, protocol))]) == Outcome(expected, {}, None)


@pytest.mark.parametrize(
    "pickled",
    [
        b"(l(S'a.b'\n(L1700000000L\nS'12.00'\ntta.",  # Dropwizard 3.2, statsd 0.9
        b"(l(S'a.b'\n(L1700000000\nS'12.00'\ntta.",
        b"(lp0\n(S'a.b'\np1\n(I1700000000\nF12\ntp2\ntp3\na.",  # Python 2's pickle, protocol 0
        b'(lp0\n(S"a.b"\np1\n(I1700000000\nF12\ntp2\ntp3\na.',
        b"]q\x01((U\x03a.bq\x02(J\x00\xf1SeK\x0cttq\x03e.",  # Python 2's cPickle, protocol 1
        b"\x80\x02]q\x01U\x03a.bq\x02J\x00\xf1SeG@(\0\0\0\0\0\0\x86q\x03\x86q\x04a.",  # and protocol 2
        b"\x80\x02]T\x03\0\0\0a.bJ\x00\xf1Se\x8a\x01\x0c\x86\x86a.",
        b"\x80\x02](X\x03\0\0\0a.bM\x01\0M\x02\0\x87X\x03\0\0\0a.b](J\x00\xf1SeK\x0ce\x86e.",  # and a triple
        b"\x80\x03]C\x03a.bJ\x00\xf1SeK\x0c\x86\x86a.",
        b"\x80\x03]B\x03\0\0\0a.bJ\x00\xf1SeK\x0c\x86\x86a.",
        b"\x80\x04]\x8d\x03\0\0\0\0\0\0\0a.bJ\x00\xf1Se\x8b\x02\0\0\0\x0c\0\x86\x86a.",
        b"\x80\x05]\x96\x03\0\0\0\0\0\0\0a.bJ\x00\xf1SeK\x0c\x86\x86a.",
        b"\x80\x02X\x03\0\0\0a.bJ\x00\xf1SeK\x0c\x86\x86\x85.",  # a tuple of one
    ],
)
def test_what_clients_and_old_picklers_write_is_read(pickled: bytes) -> None:
    assert read([frame(pickled)]).points == [(b"a.b", 1_700_000_000, 12.0)]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"S'caf\\xc3\\xa9'", "café".encode()),
        (b"S'it\\'s'", b"it's"),
        (b"Vcaf\\u00e9", "café".encode()),
        (b"Vcaf\xe9", "café".encode()),
    ],
)
def test_names_in_protocol_0_are_unescaped(line: bytes, name: bytes) -> None:
    assert read([frame(b"(l(" + line + b"\n(I1\nI2\ntta.")]).points == [(name, 1, 2)]


def test_a_point_that_several_names_share_is_read_for_each() -> None:
    point = [1_700_000_000, 1.5]
    batch = [("a", point), ("b", point), ["c", point]]
    for protocol in range(6):
        names = [name for name, *_ in read([frame(pickle.dumps(batch, protocol))]).points]
        assert names == [b"a", b"b", b"c"]


def test_a_frame_as_long_as_allowed_is_read_and_a_byte_more_is_not() -> None:
    pickled = pickle.dumps([("a" * 64, (1, 2))], 2)
    assert len(read([frame(pickled)], frame_bytes_max=len(pickled)).points) == 1
    assert read([frame(pickled)], frame_bytes_max=len(pickled) - 1).broken is not None


# --- what is not read ---

# Pieces of pickles, so that random ones are often right.
pieces = st.sampled_from(
    [
        b"(", b"]", b")", b"l", b"t", b"a", b"e", b"\x85", b"\x86", b"\x87", b"N", b"\x88", b"K\x07",
        b"M\x01\x02", b"J\xff\xff\xff\xff", b"I12\n", b"I01\n", b"L-7L\n", b"F1.5\n", b"G?\xf8\0\0\0\0\0\0",
        b"\x8a\x02\x00\x80", b"\x8b\x01\0\0\0\x05", b"U\x01a", b"X\x02\0\0\0\xc3\xa9", b"\x8c\x01b",
        b"S'a'\n", b"V\\u00e9\n", b"C\x01c", b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"\x94", b"p2\n",
        b"g2\n", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"\x80\x04", b"2", b"0", b"1", b"}", b"c", b".",
    ]
)  # fmt: skip


def native(value: Any) -> Any:
    """What pickle loaded as our reader has it: texts as bytes, booleans as numbers."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(native, value))
    if isinstance(value, bool):
        return int(value)
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


@given(st.lists(pieces, max_size=25).map(b"".join) | pickles)
@example(b"]q\x00K\x01ah\x00\x86")
def test_what_is_loaded_is_what_pickle_loads(pickled: bytes) -> None:
    pickled = pickled.removesuffix(b".") + b"."
    try:
        ours = loads(pickled, 1000)
    except BadFrame:
        return
    # the standard library's reader in Python: what we took names nothing, and its memo is no bomb
    theirs = pickle._loads(pickled, encoding="bytes")  # type: ignore[attr-defined]  # private, and typed nowhere
    assert repr(native(ours)) == repr(native(theirs))  # NaN is not equal to itself


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A pickle with some bytes changed, taken out or put in."""
    pickled = bytearray(draw(pickles))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(pickled)))
        pickled[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(pickled)


@given(st.binary(max_size=60) | st.lists(pieces, max_size=20).map(b"".join) | damaged())
def test_any_bytes_are_read_or_are_a_bad_frame(data: bytes) -> None:
    read([frame(data)])
    read([data])


@given(pickles)
def test_a_frame_cut_short_or_with_a_tail_is_refused(pickled: bytes) -> None:
    assert refused(pickled[:-1]) == "pickle cut short or malformed"
    assert refused(pickled + b".") == "pickle cut short or malformed"


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"", "cut short or malformed"),
        (b".", "cut short or malformed"),
        (b"]]\x86", "cut short or malformed"),
        (b"]].", "cut short or malformed"),  # two things left
        (b"(].", "cut short or malformed"),  # an open bracket
        (b"]\x86.", "cut short or malformed"),
        (b"](\x85.", "cut short or malformed"),  # takes what is below the bracket
        (b"l.", "cut short or malformed"),
        (b"K\x01K\x02a.", "cut short or malformed"),  # appends to a number
        (b"h\x00.", "cut short or malformed"),
        (b"q\x00.", "cut short or malformed"),
        (b"]q\x00h\x00a.", "cut short or malformed"),  # a list that holds itself
        (b"](q\x00h\x00(h\x00ee.", "cut short or malformed"),
        (b"Fx\n.", "cut short or malformed"),
        (b"I\n.", "cut short or malformed"),
        (b"Sa\n.", "cut short or malformed"),
        (b"S'\n.", "cut short or malformed"),
        (b"S'\\x'\n.", "cut short or malformed"),
        (b"V\\u12\n.", "cut short or malformed"),
        (b"\x95\x05\0\0\0\0\0\0\0].", "cut short or malformed"),
        (b"\x80\x06].", "protocol above 5"),
        (b"K\x05.", "no list"),
        (b"N.", "no list"),
        (b"U\x02ab.", "no list"),
        (pickle.dumps({"a": 1}), "more than numbers and texts"),
        (pickle.dumps([("a", (1, {2}))], 4), "more than numbers and texts"),
        (b"]2.", "more than numbers and texts"),
        (b"]0.", "more than numbers and texts"),
    ],
)
def test_what_no_pickler_writes_is_refused(pickled: bytes, reason: str) -> None:
    assert reason in refused(pickled)


def test_a_name_of_4096_bytes_is_read_and_a_longer_one_is_not() -> None:
    for protocol in range(6):
        assert len(read([frame(pickle.dumps([("é" * 2048, (1, 2))], protocol))]).points) == 1
        assert (
            refused(pickle.dumps([("é" * 2048 + "a", (1, 2))], protocol))
            == "pickled text longer than 4096 bytes"
        )


def test_an_integer_of_16_bytes_is_read_and_a_longer_one_is_not() -> None:
    for protocol in range(6):
        pickled = pickle.dumps([("a", (1, 2**127 - 1)), ("a", (1, -(2**127)))], protocol)
        assert [value for *_, value in read([frame(pickled)]).points] == [2.0**127, -(2.0**127)]
        assert refused(pickle.dumps([("a", (1, 10**42))], protocol)) == "pickled integer longer than 16 bytes"


def test_a_broken_stream_stays_broken_and_gives_nothing_twice() -> None:
    stream, good = Stream(PickleReader), frame(pickle.dumps([("a", (1, 2))]))
    for data, names in ((good + frame(b"N."), [b"a"]), (good, []), (b"", [])):
        with pytest.raises(BadFrame, match="no list") as caught:
            stream.feed(data)
        assert [name for name, *_ in stream.points(caught.value.batch)] == names


def test_a_number_in_a_text_of_32_bytes_is_read_and_a_longer_one_is_not() -> None:
    batch = [("a", ("1", "9" * 32)), ("b", ("1", "9" * 33)), ("c", ("0" * 32 + "1", "1"))]
    outcome = read([frame(pickle.dumps(batch))])
    assert outcome.points == [(b"a", 1, float("9" * 32))]
    assert outcome.rejected == {"bad value": 1, "bad timestamp": 1}


def test_a_number_in_a_bytes_pair_is_no_datapoint() -> None:
    assert read([frame(pickle.dumps([("a", b"12"), b"ab", ("a", "12"), "ab"], 4))]).rejected == {
        "bad item": 4
    }


# --- bombs ---

PER_FRAME = FRAME_BYTES_MAX // 4  # opcodes
TEXT = b"U\x20123456789012345678901234567890e9"


class Shell:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        import os

        return os.system, (self.command,)


BOMBS = {
    "memo index 2^27": b"\x80\x02Nr\xff\xff\xff\x07.",
    "memo index 2^32 - 1": b"\x80\x02]r\xff\xff\xff\xffj\xff\xff\xff\xffe.",
    "bytearray of 16 GiB": b"\x96\0\0\0\0\x04\0\0\0.",
    "bytes of 2^63": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "text of 4 GiB": b"X\xff\xff\xff\xff.",
    "frame of 2^64": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff].",
    "long of 2 GiB": b"\x8b\xff\xff\xff\x7f.",
    "long of 255 bytes": b"\x8a\xff" + b"\xff" * 255 + b".",
    "long of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "memo key of 4,000 digits": b"]p" + b"9" * 4000 + b"\n.",
    "float of a million digits": b"F" + b"9" * 1_000_000 + b"\n.",
    "line without an end": b"V" + b"a" * 1_000_000,
    "brackets": b"(" * FRAME_BYTES_MAX,
    "empty lists": b"]" * (FRAME_BYTES_MAX - 1) + b".",
    "lists in lists": b"]" * (PER_FRAME // 2) + b"a" * (PER_FRAME // 2 - 2) + b".",
    "tuples in tuples": b")" + b"\x85" * (PER_FRAME - 10) + b".",
    "memo of 262,134 entries": b"]" + b"\x94" * (PER_FRAME - 10) + b".",
    "laughs": b"]" + b"".join(b"\x94(" + b"h%c" % i * 60 + b"l" for i in range(255)) + b".",
    "one item 87,000 times": b"(U\x01aK\x01K\x02\x86\x86q\x00" + b"h\x00" * 87_000 + b"l.",
    "one item 200,000 times": b"(U\x01aK\x01K\x02\x86\x86q\x00" + b"h\x00" * 200_000 + b"l.",
    "long numbers in texts": b"(U\x01a" + TEXT + TEXT + b"\x86\x86q\x00" + b"h\x00" * 87_000 + b"l.",
    "87,000 bad items": b"(" + b")" * 87_000 + b"l.",
    "short lines": b"(" + b"I1\n" * (FRAME_BYTES_MAX // 3 - 2) + b"l.",
    "escapes": b"(" + b"S'\\xff'\n" * (FRAME_BYTES_MAX // 8 - 2) + b"l.",
}
HEAVY = ["brackets", "empty lists", "memo of 262,134 entries", "laughs", "one item 87,000 times"]  # in memory


def yardstick() -> float:
    """Seconds of CPU for as many plain calls as a frame may have opcodes: some 15 ms on a free core."""
    items: list[int] = []

    def push(item: int) -> None:
        items.append(item)

    started = time.process_time()
    for item in range(PER_FRAME):
        push(item)
    return time.process_time() - started


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_costs_little_time(bomb: bytes) -> None:
    data, call = frame(bomb), yardstick()
    gc.freeze()  # what the tests before have left is not to be looked through for every hundred lists
    try:
        assert min(cpu_s(data) for _ in range(3)) < 40 * call  # 12 when measured
    finally:
        gc.unfreeze()


def cpu_s(data: bytes) -> float:
    started = time.process_time()
    read([data])
    return time.process_time() - started


@pytest.mark.parametrize("name", [*(n for n in BOMBS if len(BOMBS[n]) < 1000), *HEAVY])
def test_a_bomb_costs_little_memory(name: str) -> None:
    data = frame(BOMBS[name])
    tracemalloc.start()
    try:
        read([data])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32_000_000


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        ("memo index 2^27", "pickle that is no list"),
        ("bytearray of 16 GiB", "pickled text longer than 4096 bytes"),
        ("text of 4 GiB", "pickled text longer than 4096 bytes"),
        ("frame of 2^64", "pickle cut short or malformed"),
        ("long of 2 GiB", "pickled integer longer than 16 bytes"),
        ("long of a million digits", "pickled text longer than 4096 bytes"),
        ("brackets", "pickle nested deeper than 8"),
        ("empty lists", "pickle of more than 262144 opcodes"),
        ("one item 200,000 times", "pickle of more than 87381 items"),
    ],
)
def test_a_bomb_is_refused_for_what_it_is(bomb: str, reason: str) -> None:
    assert refused(BOMBS[bomb]) == reason


def test_nothing_is_ever_called(tmp_path: Any) -> None:
    for protocol in range(6):
        pickled = pickle.dumps([Shell(f"touch {tmp_path}/called")], protocol)
        assert refused(pickled) == "pickle of more than numbers and texts and lists and tuples"
    assert not list(tmp_path.iterdir())


def test_a_length_of_2_gb_is_refused_at_the_fourth_byte() -> None:
    stream = Stream(PickleReader)
    stream.feed(b"\x7f\xff\xff")
    with pytest.raises(BadFrame, match="pickle frame longer than 1048576 bytes"):
        stream.feed(b"\xff")


def test_a_frame_that_arrives_in_many_pieces_is_kept_once() -> None:
    data = frame(b"]" + b"K\x01a" * 80_000 + b".")
    stream = Stream(PickleReader)
    started = time.process_time()
    tracemalloc.start()
    for at in range(0, len(data) - 1, 16):
        stream.feed(data[at : at + 16][: len(data) - 1 - at])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * len(data)
    assert time.process_time() - started < 5


# --- the kernel and the machine ---


def alike(data: bytes) -> Outcome:
    """What the reader makes of a stream, which must be what the machine alone makes of it."""
    ours = read([data])
    assert ours == streams.read(MachineReader, [data])
    return ours


@given(st.lists(pickles | damaged() | st.lists(pieces, max_size=25).map(b"".join), max_size=4))
def test_the_kernel_reads_what_the_machine_reads(pickled: list[bytes]) -> None:
    alike(b"".join(map(frame, pickled)))


@st.composite
def usual(draw: st.DrawFn) -> bytes:
    """A frame of pieces in an order that often is a list of datapoints."""
    texts = st.sampled_from(
        [b"U\x01a", b"X\x02\0\0\0\xc3\xa9", b"\x8c\x01b", b"S'a.b'\n", b'S"c"\n', b"Va.b\n", b"C\x01c", b"h\x00",
         b"\x96\x01\0\0\0\0\0\0\0e", b"X\0\0\0\0", b"T\x03\0\0\0a.b", b"N"]
    )  # fmt: skip
    values = st.sampled_from(
        [b"K\x07", b"M\x01\x02", b"J\xff\xff\xff\xff", b"I12\n", b"I01\n", b"L-7L\n", b"F1.5\n", b"F1e400\n",
         b"G?\xf8\0\0\0\0\0\0", b"G\x7f\xf8\0\0\0\0\0\0", b"\x8a\x02\x00\x80", b"\x8a\x00", b"\x8b\x01\0\0\0\x05",
         b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00", b"U\x0512.50", b"U\x03nan", b"U\x02 7", b"\x88", b"N",
         b"h\x01", b")"]
    )  # fmt: skip
    pair = st.sampled_from([b"\x86", b"t", b"l", b"e"])

    def two(first: bytes, second: bytes, end: bytes) -> bytes:
        opening = {b"\x86": b"", b"t": b"(", b"l": b"(", b"e": b"]("}[end]
        return opening + first + second + end

    items = []
    for _ in range(draw(st.integers(0, 5))):
        memo = draw(st.sampled_from([b"", b"\x94", b"q\x00", b"q\x01", b"r\x02\0\0\0", b"p1\n"]))
        point = two(draw(values), draw(values) + memo, draw(pair))
        items.append(two(draw(texts), point, draw(pair)) + draw(st.sampled_from([b"", b"q\x02", b"h\x02"])))
    if draw(st.booleans()):
        return b"\x80\x02]q\x07(" + b"".join(items) + b"e."
    return b"]" + b"a".join([*items, b""]) + b"."


@given(st.lists(usual(), min_size=1, max_size=3))
def test_the_kernel_reads_what_the_machine_reads_of_pickles_by_hand(pickled: list[bytes]) -> None:
    alike(b"".join(map(frame, pickled)))


@pytest.mark.parametrize("protocol", range(6))
def test_what_senders_send_every_day_is_left_to_the_kernel(protocol: int) -> None:
    relay = [(f"servers.web{i}.load", (1_700_000_000, i / 8)) for i in range(500)]
    statsd = [(f"stats.counters.c{i}.rate", (1_700_000_000, f"{i / 10}")) for i in range(500)]
    mixed = [
        ["a.b", [1_700_000_000.5, 3]],
        ("a.b", (-1, -(2**40))),
        ("a.b", (1, None)),
        ("a.b", (1, float(2**53))),
    ]
    for batch in (relay, tuple(statsd), mixed, relay * 3):
        data = frame(pickle.dumps(batch, protocol))
        text, opcodes = np.frombuffer(data, np.uint8), FRAME_BYTES_MAX // BYTES_PER_OPCODE
        machine, rows = pickle_kernel.machine_for(len(data)), rows_for(len(data))
        stop, n, why = pickle_kernel.read_frames(text, 0, opcodes, len(data), NOW, machine, rows)
        assert (stop, why) == (len(data), pickle_kernel.PART)
        assert n == len(alike(data).points)


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_the_kernel_reads_what_the_machine_reads_of_bombs(bomb: bytes) -> None:
    alike(frame(bomb))


def test_rows_that_do_not_fit_at_once_are_read_in_turn() -> None:
    batch = frame(b"(U\x01aK\x01K\x02\x86\x86q\x00" + b"h\x00" * 5000 + b"l.")
    assert read([batch * 30]).points == [(b"a", 1, 2.0)] * 5001 * 30
