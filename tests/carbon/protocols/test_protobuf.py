"""The protobuf reader: what the official library reads of a Payload, and bad frames refused whole."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from carbon.errors import BadFrame
from carbon.names import NameTable
from carbon.protocols.protobuf import FRAME_BYTES_MAX, ProtobufReader
from carbon.stats import Stats
from tests.carbon.protocols import streams
from tests.carbon.protocols.streams import NOW, Outcome, Stream, plain_point

protobuf = pytest.importorskip(
    "google.protobuf.message_factory", reason="the protobuf library is not installed"
)
DecodeError: Any = pytest.importorskip("google.protobuf.message").DecodeError


def _payload_class() -> Any:
    """carbon.Payload, made at run time: generated code breaks when the library moves.

    The name is bytes here, which look the same on the wire: the library would refuse the frame of one that is no UTF-8.
    """
    from google.protobuf import (  # type: ignore[import-untyped]  # its stubs are a package of their own
        descriptor_pb2,
        descriptor_pool,
    )

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="carbon.proto", package="carbon", syntax="proto3")
    for message, fields in {
        "Point": [("timestamp", 1, kinds.TYPE_UINT32, ""), ("value", 2, kinds.TYPE_DOUBLE, "")],
        "Metric": [("metric", 1, kinds.TYPE_BYTES, ""), ("points", 2, kinds.TYPE_MESSAGE, ".carbon.Point")],
        "Payload": [("metrics", 1, kinds.TYPE_MESSAGE, ".carbon.Metric")],
    }.items():
        described = file.message_type.add(name=message)
        for name, number, kind, of in fields:
            label = kinds.LABEL_REPEATED if of else kinds.LABEL_OPTIONAL
            described.field.add(name=name, number=number, type=kind, label=label, type_name=of or None)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return protobuf.GetMessageClass(pool.FindMessageTypeByName("carbon.Payload"))


Payload = _payload_class()


def read(pieces: Iterable[bytes], *, frame_bytes_max: int = FRAME_BYTES_MAX) -> Outcome:
    def make(names: NameTable, stats: Stats) -> ProtobufReader:
        return ProtobufReader(names, stats, frame_bytes_max=frame_bytes_max)

    return streams.read(make, pieces)


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def encode(metrics: list[tuple[str, list[tuple[int, float]]]]) -> bytes:
    payload = Payload()
    for name, points in metrics:
        metric = payload.metrics.add(metric=name.encode())
        for timestamp, value in points:
            metric.points.add(timestamp=timestamp, value=value)
    return bytes(payload.SerializeToString())


def plain(payload: bytes) -> Outcome:
    """What the library makes of a payload; raises DecodeError."""
    taken = []
    for metric in Payload.FromString(payload).metrics:
        for point in metric.points:
            named = plain_point(metric.metric, point.timestamp, point.value) if metric.metric else "bad name"
            taken.append(named)
    return streams.plain(taken)


points = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats()), max_size=4)
paths = st.sampled_from(["a.b", "servers.web1.load", "é", "", "a..b", "a b", "x" * 200]) | st.text(max_size=5)
metrics = st.lists(st.tuples(paths, points), max_size=5)
payloads = metrics.map(encode)


@given(st.lists(payloads, max_size=4), st.data())
def test_frames_read_alike_whole_and_split_anywhere(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, frames))
    expected = streams.read(ProtobufReader, map(frame, frames))
    assert expected.points == [point for payload in frames for point in plain(payload).points]
    assert sum(expected.rejected.values()) == sum(sum(plain(payload).rejected.values()) for payload in frames)
    assert read([stream]) == expected
    assert read(stream[i : i + 1] for i in range(len(stream))) == expected
    cut = data.draw(st.integers(0, len(stream)))
    assert read([stream[:cut], stream[cut:]]) == expected


@given(
    payloads,
    st.sampled_from([b"\0\0\0\1\xff", b"\x7f\xff\xff\xff", b"GET / HTTP/1.1\r\n", b"\0\0\0\2\x0a\x05"]),
)
def test_rubbish_after_a_frame_costs_none_of_its_datapoints(payload: bytes, rubbish: bytes) -> None:
    expected = plain(payload)
    for pieces in (
        [frame(payload) + rubbish],
        [frame(payload), rubbish],
        [frame(payload) + rubbish[:3], rubbish[3:]],
    ):
        outcome = read(pieces)
        assert outcome[:2] == expected[:2]
        assert outcome.broken is not None


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


@st.composite
def messages(draw: st.DrawFn, depth: int = 0) -> bytes:
    """Fields by hand: known ones in any order and number, unknown ones, wrong wire types."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        field, wire = (
            draw(st.sampled_from([1, 1, 2, 2, 3, 15, 16, 2000])),
            draw(st.sampled_from([0, 1, 2, 2, 2, 5])),
        )
        content = {
            0: varint(draw(st.sampled_from([0, 1, 1_700_000_000, 2**32 - 1, 2**32 + 5, 2**64 - 1]))),
            1: struct.pack("<d", draw(st.floats())),
            5: b"1234",
        }.get(wire)
        if content is None:
            inner = draw(messages(depth + 1)) if depth < 2 else draw(st.sampled_from([b"", b"a.b", b"c"]))
            content = varint(len(inner)) + inner
        parts.append(varint(field << 3 | wire) + content)
    return b"".join(parts)


@given(messages() | payloads, st.binary(max_size=2), st.data())
def test_any_bytes_are_read_as_the_library_reads_them(
    payload: bytes, change: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(payload)))
    payload = payload[:at] + change + payload[at + data.draw(st.integers(0, 2)) :]
    ours = read([frame(payload)])
    try:
        theirs = plain(payload)
    except DecodeError:
        assert ours.broken == "protobuf cut short or malformed"
        return
    if ours.broken:  # for a group, which no schema of ours has
        assume(not any(byte & 7 == 3 for byte in payload))
    assert ours == theirs


def test_a_name_may_come_behind_its_points_and_the_last_one_counts() -> None:
    point = b"\x12" + varint(11) + b"\x08\x05\x11" + struct.pack("<d", 1.5)
    metric = point + b"\x0a\x01x" + b"\x0a\x03a.b" + point
    payload = b"\x0a" + varint(len(metric)) + metric
    assert read([frame(payload)]) == plain(payload) == Outcome([(b"a.b", 5, 1.5)] * 2, {}, None)


@pytest.mark.parametrize("timestamp", [0, 127, 128, 1_700_000_000, 2**32 - 1, 2**32 + 5, 2**63, 2**64 - 1])
def test_a_timestamp_has_32_bits_as_the_library_has_it(timestamp: int) -> None:
    point = b"\x08" + varint(timestamp) + b"\x11" + struct.pack("<d", 1.5)
    metric = b"\x0a\x01a\x12" + varint(len(point)) + point
    payload = b"\x0a" + varint(len(metric)) + metric
    assert read([frame(payload)]) == plain(payload) == Outcome([(b"a", timestamp % 2**32, 1.5)], {}, None)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x0a",  # a field without a size
        b"\x0a\x05a",  # longer than the frame
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a size of -1
        b"\x0a\x02\x12\x05",  # a point longer than its metric
        b"\x0a\x04\x12\x02\x11\x00",  # a value cut short
        b"\x0a\x04\x12\x02\x08\x80",  # a timestamp that does not end
        b"\x00\x01",  # field 0
        b"\x0b\x0c",  # a group
        b"\x0f",  # a wire type that there is not
        b"\x80" * 11,
    ],
)
def test_a_frame_that_is_no_payload_is_refused_whole(payload: bytes) -> None:
    good = encode([("a", [(1, 2.0)])])
    outcome = read([frame(good) + frame(good + payload) + frame(good)])
    assert outcome == Outcome([(b"a", 1, 2.0)], {}, "protobuf cut short or malformed")


def test_a_name_that_is_not_utf8_costs_its_datapoints_only() -> None:
    metric = b"\x0a\x01\xff" + b"\x12\x02\x08\x05" * 3
    payload = b"\x0a" + varint(len(metric)) + metric + encode([("b", [(1, 2.0)])])
    assert read([frame(payload)]) == Outcome([(b"b", 1, 2.0)], {"not utf8": 3}, None)


def test_a_frame_as_long_as_allowed_is_read_and_a_byte_more_is_not() -> None:
    payload = encode([("a" * 64, [(1, 2.0)])])
    assert len(read([frame(payload)], frame_bytes_max=len(payload)).points) == 1
    assert read([frame(payload)], frame_bytes_max=len(payload) - 1).broken is not None


def test_a_length_of_2_gb_is_refused_at_the_fourth_byte() -> None:
    stream = Stream(ProtobufReader)
    stream.feed(b"\x7f\xff\xff")
    with pytest.raises(BadFrame, match="protobuf frame longer than 1048576 bytes"):
        stream.feed(b"\xff")
    with pytest.raises(BadFrame, match="protobuf frame longer than 1048576 bytes"):
        stream.feed(b"")


def test_a_frame_of_half_a_million_points_of_one_long_name_costs_little() -> None:
    metric = b"\x0a\x80\x20" + b"n" * 4096 + b"\x12\x00" * 500_000
    data = frame(b"\x0a" + varint(len(metric)) + metric)
    stream = Stream(ProtobufReader)
    stream.reader.feed(frame(encode([("a", [(1, 2.0)])])), NOW)  # the kernels are compiled before
    tracemalloc.start()
    started = time.process_time()
    batch = stream.reader.feed(data, NOW)
    spent = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch is not None
    assert (len(batch.ids), batch.timestamps.max(), batch.values.max()) == (500_000, 0, 0.0)
    assert spent < 0.5  # 0.03 when measured
    assert peak < 64_000_000
