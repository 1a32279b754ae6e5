"""The MessagePack reader: four shapes, the kernel and the library alike, nothing unbounded."""

from __future__ import annotations

import math
import struct
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

import msgpack  # type: ignore[import-untyped]  # has no stubs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.errors import BadFrame
from carbon.names import NameTable
from carbon.protocols import msgpack as protocol
from carbon.protocols.msgpack import OBJECT_BYTES_MAX, MsgpackReader
from carbon.protocols.reader import BAD_MAX, TOO_MUCH_BAD, rows_for
from carbon.stats import Stats
from tests.carbon.protocols import streams
from tests.carbon.protocols.streams import NOW, Outcome, Stream, plain_item, plain_point


def read(pieces: Iterable[bytes], *, object_bytes_max: int = OBJECT_BYTES_MAX) -> Outcome:
    def make(names: NameTable, stats: Stats) -> MsgpackReader:
        return MsgpackReader(names, stats, object_bytes_max=object_bytes_max)

    return streams.read(make, pieces)


paths = (
    st.text("ab.;=", min_size=1, max_size=40)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.integers(0, 9)
)
numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.integers(-200, 2**33)
    | st.floats()
    | st.floats(width=32)
    | st.booleans()
    | st.none()
    | st.sampled_from(["12.00", "-1e3", " 7 ", "nan", "", "x", "9" * 33, b"5"])
)
things = numbers | st.lists(numbers, max_size=3) | st.dictionaries(st.integers(0, 3), numbers, max_size=2)
points = st.tuples(paths, st.tuples(numbers, numbers))
items = points | st.tuples(paths, things) | st.tuples(paths, st.tuples(things, things, things))
objects = (
    points | points | items | st.lists(points, max_size=20) | st.lists(items, min_size=1, max_size=4) | things
)


def shaped(thing: Any) -> Any:
    """An object as it comes back."""
    return msgpack.unpackb(msgpack.packb(thing, use_single_float=False), raw=False, strict_map_key=False)


def plain(things: Iterable[Any]) -> Outcome:
    taken = []
    for thing in map(shaped, things):
        if isinstance(thing, list) and thing and isinstance(thing[0], list):
            taken += [plain_item(item) for item in thing]
        else:
            taken.append(plain_item(thing if isinstance(thing, list) else None))
    return streams.plain(taken)


@given(st.lists(objects, max_size=6), st.data())
def test_a_stream_reads_alike_whole_and_split_anywhere(things: list[Any], data: st.DataObject) -> None:
    stream = b"".join(map(msgpack.packb, things))
    expected = plain(things)
    assert read([stream]) == expected
    assert read(stream[i : i + 1] for i in range(len(stream))) == expected
    cut = data.draw(st.integers(0, len(stream)))
    assert read([stream[:cut], stream[cut:]]) == expected


@given(
    st.lists(objects, max_size=4),
    st.sampled_from([b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc6\x7f\xff\xff\xff"]),
)
def test_rubbish_after_objects_costs_none_of_their_datapoints(things: list[Any], rubbish: bytes) -> None:
    outcome = read([b"".join(map(msgpack.packb, things)) + rubbish])
    assert outcome[:2] == plain(things)[:2]
    assert outcome.broken in ("no msgpack", "msgpack object longer than 1048576 bytes")


@given(
    st.binary(max_size=60) | st.lists(objects, max_size=3).map(lambda t: b"".join(map(msgpack.packb, t))),
    st.data(),
)
def test_any_bytes_are_read_or_end_the_stream_alike_however_split(stream: bytes, data: st.DataObject) -> None:
    changed = bytearray(stream)
    for at in data.draw(st.lists(st.integers(0, max(0, len(stream) - 1)), max_size=3)):
        changed[at : at + 1] = data.draw(st.binary(max_size=2))
    whole = read([bytes(changed)])
    split = read(bytes(changed[i : i + 1]) for i in range(len(changed)))
    assert split[:2] == whole[:2]
    assert split.broken in (whole.broken, None)  # what is awaited is not looked at before it can be whole


@given(st.lists(st.binary(max_size=12) | things.map(msgpack.packb), max_size=5).map(b"".join))
def test_an_object_ends_where_the_library_says(data: bytes) -> None:
    text, rows = np.frombuffer(data, np.uint8), rows_for(len(data), odd_bytes_min=2)
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=1000)
    unpacker.feed(data)
    end = 0
    try:
        while True:
            unpacker.skip()
            end = unpacker.tell()
    except (msgpack.OutOfData, ValueError):
        pass
    at, _, why, missing = protocol.read_objects(text, 1000, NOW, rows)
    assert missing > 0 or why in (protocol.NO_MSGPACK, protocol.TOO_LONG)
    if why == protocol.WHOLE:
        assert at == end == len(data)
    elif why != protocol.TOO_LONG:
        assert at == end


@pytest.mark.parametrize("path", ["a", "b" * 31, "c" * 32, "d" * 255, "e" * 256, b"f", b"g" * 256])
@pytest.mark.parametrize(
    "value", [0, -1, -33, 200, -200, 70_000, -70_000, 2**40, -(2**40), 2**64 - 1, 1.5, "12.00"]
)
def test_every_usual_form_is_left_to_the_kernel(path: str | bytes, value: Any) -> None:
    for single in (False, True):
        data = msgpack.packb([[path, [1_700_000_000, value]]] * 20, use_single_float=single)
        data += msgpack.packb([path, [-1, value]], use_single_float=single)
        text, rows = np.frombuffer(data, np.uint8), rows_for(len(data))
        at, n, why, _ = protocol.read_objects(text, OBJECT_BYTES_MAX, NOW, rows)
        assert (at, n, why) == (len(data), 21, protocol.WHOLE)
        assert rows.values[:21].tolist() == [float(value)] * 21
        assert rows.timestamps[:21].tolist() == [1_700_000_000] * 20 + [NOW]


# --- columns ---

whens = st.integers(-1, 2**33) | st.floats(0, 1e9) | st.sampled_from([10**13, math.nan])
values = st.floats() | st.integers(-5, 5)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b.c", "é", "x..y", ""]), whens, values), max_size=8),
    st.booleans(),
)
def test_columns_are_read_as_the_datapoints_that_they_are(rows: list[Any], one: bool) -> None:
    names = [row[0] for row in rows]
    name = names[0] if names else "a"
    columns = {"timestamps": [row[1] for row in rows], "values": [row[2] for row in rows]}
    named = {"name": name} if one else {"names": names}
    expected = streams.plain(plain_item((name if one else path, (when, value))) for path, when, value in rows)
    assert read([msgpack.packb(named | columns)]) == expected


@given(st.lists(st.tuples(st.integers(-1, 2**63 - 1), st.floats()), max_size=8))
def test_packed_columns_are_little_endian_words(rows: list[tuple[int, float]]) -> None:
    whens, numbers = [when for when, _ in rows], [value for _, value in rows]
    expected = streams.plain(plain_point(b"a.b", when, value) for when, value in rows)
    packed = {
        "timestamps_i64": struct.pack(f"<{len(rows)}q", *whens),
        "values_f64": struct.pack(f"<{len(rows)}d", *numbers),
    }
    assert read([msgpack.packb({"name": "a.b"} | packed)]) == expected
    assert read([msgpack.packb({"names": ["a.b"] * len(rows)} | packed)]) == expected
    mixed = {"name": "a.b", "timestamps": whens, "values_f64": packed["values_f64"]}
    assert read([msgpack.packb(mixed)]) == expected


def test_columns_with_texts_or_nothing_among_them_are_read_one_by_one() -> None:
    columns = {"names": ["a", "b", 3, "d"], "timestamps": ["1", 2, 3, 4], "values": [1, None, 3, "4.5"]}
    outcome = read([msgpack.packb(columns)])
    assert outcome.points == [(b"a", 1, 1.0), (b"d", 4, 4.5)]
    assert outcome.rejected == {"bad value": 1, "bad name": 1}


@pytest.mark.parametrize(
    "columns",
    [
        {"name": "a", "timestamps": [1, 2], "values": [1]},
        {"names": ["a"], "timestamps": [1, 2], "values": [1, 2]},
        {"timestamps": [1], "values": [1]},
        {"name": "a", "values": [1]},
        {"name": "a", "timestamps": 1, "values": [1]},
        {"name": "a", "timestamps_i64": b"1234567", "values": [1]},
        {"name": "a", "timestamps_i64": b"1" * 15, "values": [1]},
        {"name": 5, "timestamps": [1], "values": [1]},
        {},
        {"a": 1},
    ],
)
def test_a_map_that_is_no_columns_is_one_bad_item(columns: Any) -> None:
    after = msgpack.packb(["b", [1, 2]])
    assert read([msgpack.packb(columns) + after]) == Outcome([(b"b", 1, 2.0)], {"bad item": 1}, None)


# --- bounds ---


def test_an_object_as_long_as_allowed_is_read_and_a_byte_more_ends_the_stream() -> None:
    data = msgpack.packb(["a" * 64, [1, 2]])
    assert len(read([data], object_bytes_max=len(data)).points) == 1
    assert (
        read([data], object_bytes_max=len(data) - 1).broken
        == f"msgpack object longer than {len(data) - 1} bytes"
    )


def test_a_size_of_4_gb_ends_the_stream_as_soon_as_it_is_said() -> None:
    for data in (
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x7f\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff",
    ):
        stream = Stream(MsgpackReader)
        stream.feed(data[:-1])
        with pytest.raises(BadFrame, match="longer than"):
            stream.feed(data[-1:])
        with pytest.raises(BadFrame, match="longer than"):
            stream.feed(b"")


SIZE = OBJECT_BYTES_MAX - 10
BOMBS = {
    "nothing a million times": b"\xdd" + SIZE.to_bytes(4, "big") + b"\xc0" * SIZE,
    "a million empty lists": b"\xdd" + SIZE.to_bytes(4, "big") + b"\x90" * SIZE,
    "lists in lists": b"\x91" * SIZE + b"\xc0",
    "maps in maps": b"\x81\x01" * (SIZE // 2) + b"\xc0",
    "262,000 empty lists": b"\xdd" + (SIZE // 4).to_bytes(4, "big") + b"\x90" * (SIZE // 4),
    "a map of 130,000": b"\xdf"
    + (SIZE // 8).to_bytes(4, "big")
    + b"".join(b"\xce" + i.to_bytes(4, "big") + b"\x90" for i in range(SIZE // 8)),
    "a long text": b"\x92\xdb" + SIZE.to_bytes(4, "big") + b"a" * SIZE + b"\xc0",
    "numbers at the top": b"\x01" * SIZE,
    "datapoints without a name": b"\xdd" + (SIZE // 5).to_bytes(4, "big") + b"\x92\xa0\x92\x01\x01" * (SIZE // 5),
    "texts that are no numbers": b"\x92\xa1a\x92\x01\xa1x" * (SIZE // 28),
    "maps at the top": (b"\x83\xa4name\x01\xaatimestamps\x01\xa5value\x01" + b"\x80" * 4) * (SIZE // 31),
    "a size after a size": b"\x92\xdd\0\0\0\x01" * (SIZE // 6),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_costs_little(bomb: bytes) -> None:
    read([msgpack.packb(["a", [1, 2]])])  # the kernels are compiled before
    started = time.process_time()
    read([bomb[:100]])
    assert time.process_time() - started < 1
    tracemalloc.start()
    try:
        read([bomb])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000
    started = time.process_time()
    read([bomb])
    assert (
        time.process_time() - started < 3
    )  # 0.5 when measured, for small maps and texts that are no numbers


def test_an_object_that_arrives_in_many_pieces_is_kept_once_and_looked_at_seldom() -> None:
    data = msgpack.packb([["a.b", [1_700_000_000, i / 8]] for i in range(40_000)])
    stream = Stream(MsgpackReader)
    started = time.process_time()
    points = []
    for at in range(0, len(data), 16):
        points += stream.feed(data[at : at + 16])
    assert len(points) == 40_000
    assert time.process_time() - started < 5


def test_a_stream_of_nothing_but_rubbish_is_ended() -> None:
    stats = Stats()
    reader = MsgpackReader(NameTable(None, stats), stats)
    good = msgpack.packb(["a", [NOW, 1.0]]) * 10
    assert reader.feed(bytes(BAD_MAX) + good, NOW) is not None
    assert reader.feed(bytes(10), NOW) is None
    with pytest.raises(BadFrame, match=TOO_MUCH_BAD):
        reader.feed(bytes(1), NOW)
