"""Sealed blocks come back to the last bit, read as their specification says, and damage does no harm."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import kinds
from storage.codec import bytes_max, damage, encode
from storage.codec_kernels import RUNS_PAD, check, decode_row, decode_rows
from storage.format import NAN_BITS
from tests.effort import tries

Bits = npt.NDArray[np.uint64]


def stored(values: npt.ArrayLike) -> Bits:
    """Stored bits of floats; NaN of any kind is missing."""
    floats = np.ascontiguousarray(values, np.float64)
    return np.where(np.isnan(floats), 0, floats.view(np.uint64) ^ np.uint64(NAN_BITS)).astype(np.uint64)


def decoded(data: bytes, rows: list[int], slots: int) -> Bits | None:
    out = np.full((len(rows), slots), 0xDEAD, np.uint64)
    whole = decode_rows(np.frombuffer(data, np.uint8), 0, np.array(rows, np.int64), out)
    return out if whole else None


def assert_comes_back(block: Bits) -> None:
    data = encode(block)
    rows, slots = block.shape
    assert damage(data) is None
    assert len(data) <= bytes_max(rows, slots)
    np.testing.assert_array_equal(decoded(data, list(range(rows)), slots), block)
    for row in range(rows):
        assert twin(data, row) == block[row].tolist()


def twin(data: bytes, row: int) -> list[int]:
    """A row's stored bits, read with plain numbers straight from the specification."""
    _, _, slots, _, _, _, *ends = struct.unpack_from(f"<4sHHIII{row + 1}I", data)
    rows = struct.unpack_from("<I", data, 8)[0]
    text = data[([20 + 6 * rows, *ends])[-2] : ends[-1]]
    h = 0x9E3779B97F4A7C15
    for i in range(0, len(text), 8):
        h = (h ^ int.from_bytes(text[i : i + 8], "little")) * 0xD6E8FEB86659FD93 % (1 << 64)
    assert struct.unpack_from("<H", data, 20 + 4 * rows + 2 * row)[0] == h >> 48
    if len(text) in (0, 8 * slots):
        return list(struct.unpack(f"<{len(text) // 8}Q", text)) or [0] * slots
    flags, scale, low, sizes, *more = text[: 5 if text[0] & 16 else 4]
    factor_bytes, nudge_bits = (more[0] & 15, more[0] >> 4) if more else (0, 0)
    at = 4 + len(more)

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int.from_bytes(text[at - count : at], "little")

    if flags & 3 == 0:
        places = list(range(slots))
    elif flags & 3 == 1:
        first, stride, n = take(2), take(2), take(2)
        places = [first + stride * i for i in range(n)]
    else:
        bitmap = take((slots + 7) // 8)
        places = [slot for slot in range(slots) if bitmap >> slot & 1]
    n, order = len(places), flags >> 2 & 3
    base, centre = unfold(take(sizes & 15)), unfold(take(sizes >> 4))
    factor = unfold(take(factor_bytes)) if factor_bytes else 1
    patches = [(take(2), take(8)) for _ in range(take(1))] if flags & 32 else []
    count = {0: 0, 1: n}.get(order, n - 1)
    lows = fields(take((count * low + 7) // 8), low)
    nudges = fields(take((n * nudge_bits + 7) // 8), nudge_bits)
    highs, bit, escapes, codes = int.from_bytes(text[at:], "little"), 0, len(text), []
    for _ in range(count):
        high = 0
        while not highs >> bit & 1:
            high, bit = high + 1, bit + 1
        bit += 1
        code = high << low | next(lows)
        if high == 24:
            escapes -= 8
            code = struct.unpack_from("<Q", text, escapes)[0]
        codes.append(unfold(code))
    known = [nudged(quotient(base + factor * x, scale), next(nudges)) for x in walk(codes, order, centre, n)]
    for index, bits in patches:
        known[index] = bits
    out = dict.fromkeys(range(slots), 0) | {p: v ^ NAN_BITS for p, v in zip(places, known, strict=True)}
    return list(out.values())


def unfold(code: int) -> int:
    return code >> 1 if code & 1 == 0 else -(code >> 1) - 1


def fields(number: int, width: int) -> Iterator[int]:
    while True:
        yield number & ((1 << width) - 1)
        number >>= width


def walk(codes: list[int], order: int, centre: int, n: int) -> list[int]:
    """x(0) … x(n-1)"""
    if order < 2:
        return [centre + code for code in codes] if order else [0] * n
    x, step = [0], centre
    for code in codes:
        if order == 3:
            step += code
        x.append(x[-1] + (step if order == 3 else centre + code))
    return x


def quotient(whole: int, scale: int) -> int:
    """The bits of whole / scale."""
    whole = (whole + (1 << 63)) % (1 << 64) - (1 << 63)
    if scale == 255:
        return whole if whole >= 0 else (whole ^ ((1 << 63) - 1)) % (1 << 64)
    divisor = 10**scale if scale < 16 else 3 * 10 ** (scale - 16)
    return int(struct.unpack("<Q", struct.pack("<d", whole / divisor))[0])


def nudged(bits: int, code: int) -> int:
    return (bits + unfold(code)) % (1 << 64)


# --- round trips ---

NASTY = {
    "all missing": [np.nan] * 9,
    "one value": [np.nan] * 5 + [7.25] + [np.nan] * 3,
    "one slot": [1e300],
    "two slots": [1.5, 2.5],
    "minus zero among zeros": [0.0, -0.0, 0.0, 0.0, -0.0] * 4,
    "only minus zero": [-0.0] * 20,
    "infinite": [np.inf, -np.inf, 1.5, 2.5] * 5,
    "denormal": [5e-324, -5e-324, 2.2e-308, 0.0] * 5,
    "the largest": [1.7976931348623157e308, -1.7976931348623157e308] * 8,
    "integers that no float between": [2.0**53 + 2 * i for i in range(20)],
    "integers beyond int64": [2.0**63, -(2.0**63), 2.0**64, 0.0] * 5,
    "a counter that was reset": [1e15 + 7 * i for i in range(20)] + [7.0 * i for i in range(20)],
    "a counter that goes by a slope": [float(i * i * i) for i in range(60)],
    "decimals": [17.25, 3.1, -0.05, 99.99] * 5,
    "one digit more in between": [0.5] * 30 + [0.123456789] + [0.25] * 30,
    "seventeen digits in between": [1.25, 1.5, 1.75, 2.5] * 12 + [np.pi] + [1.5] * 11,
    "first without a quotient": [np.pi] + [1.25, 1.5] * 20,
    "sums that are a bit off": [0.1 + 0.2, 0.1 + 0.7, 0.3, 1.1 + 2.2] * 6,
    "the same sum that is a bit off": [0.1 + 0.2] * 20,
    "thirds": [1 / 3, 2 / 3, 7 / 6, 1.0, 100 / 3] * 5,
    "pages of memory": [4096.0 * i for i in (900, 7, 7, 88, 0, 12)] * 4,
    "spikes": [3.0] * 40 + [1e9] + [4.0] * 40,
    "one slot in six": ([np.nan] * 3 + [1.5] + [np.nan] * 2) * 6,
    "gaps": [1.5, np.nan, np.nan, 2.5, 2.5, np.nan, 9.5] * 5,
    "smooth, 17 digits": np.sin(np.arange(100) / 50).tolist(),
}


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_row_comes_back(name: str) -> None:
    assert_comes_back(stored([NASTY[name]]))


def test_every_pattern_of_bits_that_is_a_nan_comes_back() -> None:
    nans = [0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF, 0xFFF8000000000000, 0x7FF8000000000001]
    assert_comes_back(np.array([nans * 5], np.uint64) ^ np.uint64(NAN_BITS))


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_series_as_hosts_send_them_come_back(kind: str) -> None:
    assert_comes_back(stored(kinds.make(kind, 30, 120)))


Decimals = st.builds(lambda n, e: n / 10**e, st.integers(-(10**9), 10**9), st.integers(0, 6))
Values = st.one_of(
    st.just(st.integers(-50, 50).map(float)),
    st.just(st.integers(0, 1 << 62).map(float)),
    st.just(Decimals),
    st.just(st.floats(allow_nan=False)),
    st.just(st.sampled_from([0.0, -0.0, 1e-300, np.inf, 0.1 + 0.2, 1 / 3, 5e-324])),
    st.just(st.one_of(Decimals, st.floats(allow_nan=False))),
)


@st.composite
def blocks(draw: st.DrawFn) -> Bits:
    """Rows of different kinds, each with its own gaps; sometimes any bits."""
    slots = draw(st.integers(1, 70))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.integers(0, 5)) == 0:
            rows.append(draw(st.lists(st.integers(0, (1 << 64) - 1), min_size=slots, max_size=slots)))
            continue
        values = draw(Values)
        if draw(st.booleans()):
            values = st.one_of(values, st.just(np.nan))
        rows.append(stored(draw(st.lists(values, min_size=slots, max_size=slots))).tolist())
    return np.array(rows, np.uint64).reshape(len(rows), slots)


@given(block=blocks())
@settings(max_examples=tries(250), deadline=None)
def test_any_block_comes_back_and_reads_as_it_is_specified(block: Bits) -> None:
    assert_comes_back(block)


@given(block=blocks(), before=st.integers(0, 20), picked=st.lists(st.integers(0, 2), max_size=5))
@settings(max_examples=tries(80), deadline=None)
def test_rows_are_read_in_any_order_from_the_midst_of_other_bytes(
    block: Bits, before: int, picked: list[int]
) -> None:
    rows = np.array([row for row in picked if row < len(block)], np.int64)
    data = np.frombuffer(b"\xff" * before + encode(block) + b"\xff" * 9, np.uint8)
    out = np.empty((len(rows), block.shape[1]), np.uint64)
    assert decode_rows(data, before, rows, out)
    np.testing.assert_array_equal(out, block[rows])


def test_a_row_that_is_not_there_or_another_number_of_slots_is_refused() -> None:
    data = encode(stored([[1.0, 2.0, 3.0]] * 4))
    assert decoded(data, [3], 3) is not None
    assert decoded(data, [4], 3) is None
    assert decoded(data, [-1], 3) is None
    assert decoded(data, [0], 4) is None


@pytest.mark.parametrize("slots", [0, 1 << 16])
def test_a_block_with_too_few_or_too_many_slots_is_not_written(slots: int) -> None:
    with pytest.raises(ValueError, match=f"not 2 × {slots}"):
        encode(np.zeros((2, slots), np.uint64))


# --- sizes ---


def test_random_bits_take_no_more_than_they_are() -> None:
    block = np.random.default_rng(1).integers(1, 1 << 64, (512, 120), dtype=np.uint64)
    assert len(encode(block)) == bytes_max(512, 120)


def test_a_row_without_values_takes_its_place_in_the_directory_and_the_checks_only() -> None:
    assert len(encode(np.zeros((512, 120), np.uint64))) == 20 + 6 * 512 + 8


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        ("gauges, 2–3 decimals", 1.4),
        ("integer gauges", 0.8),
        ("counters", 1.2),
        ("rates, 17 digits", 6.5),
        ("constants", 0.11),
        ("mostly zero", 0.25),
        ("states", 0.3),
        ("p99 latencies", 2.5),
        ("averages of 6", 1.7),
    ],
)
def test_a_kind_of_series_takes_few_bytes_a_point(kind: str, limit: float) -> None:
    assert len(encode(stored(kinds.make(kind, 512, 120)))) / (512 * 120) < limit


def test_a_fleets_mix_takes_less_than_two_bytes_a_point() -> None:
    values = kinds.make_mix(512, 120)
    assert len(encode(stored(values))) / (~np.isnan(values)).sum() < 2


# --- damage ---


SAMPLE = encode(
    np.concatenate([stored(kinds.make(kind, 3, 60)) for kind in kinds.KINDS])
    ^ (np.arange(60) == 9) * np.uint64(1 << 40)  # a value of no scale, to be patched
)


SAMPLE_ROWS = 3 * len(kinds.KINDS)


def agree(data: bytearray, row: int) -> None:
    """Make a row's check that of its bytes, if the directory says where they are."""
    begin = struct.unpack_from("<I", data, 16 + 4 * row)[0] if row else 20 + 6 * SAMPLE_ROWS
    end = struct.unpack_from("<I", data, 20 + 4 * row)[0]
    if begin <= end <= len(data) - 8:
        found = check(np.frombuffer(bytes(data), np.uint8), begin, end)
        struct.pack_into("<H", data, 20 + 4 * SAMPLE_ROWS + 2 * row, found)


@given(row=st.integers(0, SAMPLE_ROWS - 1), at=st.integers(0, 1 << 20), change=st.integers(1, 255))
@settings(max_examples=tries(300), deadline=None)
def test_a_row_with_a_changed_byte_is_not_read(row: int, at: int, change: int) -> None:
    data = bytearray(SAMPLE)
    begin = struct.unpack_from("<I", data, 16 + 4 * row)[0] if row else 20 + 6 * SAMPLE_ROWS
    size = struct.unpack_from("<I", data, 20 + 4 * row)[0] - begin
    at %= size + 2
    data[begin + at if at < size else 20 + 4 * SAMPLE_ROWS + 2 * row + at - size] ^= change
    assert decoded(bytes(data), [row], 60) is None


@given(at=st.integers(0, len(SAMPLE) - 1), change=st.integers(1, 255))
@settings(max_examples=tries(300), deadline=None)
def test_a_changed_byte_is_found(at: int, change: int) -> None:
    changed = bytearray(SAMPLE)
    changed[at] ^= change
    assert damage(bytes(changed)) is not None


@given(size=st.integers(0, len(SAMPLE) - 1))
@settings(max_examples=tries(100), deadline=None)
def test_missing_bytes_are_found_and_not_read(size: int) -> None:
    assert damage(SAMPLE[:size]) is not None
    assert decoded(SAMPLE[:size], [0], 60) is None


def test_more_bytes_than_there_should_be_are_found() -> None:
    assert damage(SAMPLE + b"\0") is not None


@given(
    row=st.integers(0, SAMPLE_ROWS - 1),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
@settings(max_examples=tries(1500), deadline=None)
def test_damaged_rows_are_read_within_their_block_and_written_within_their_slots(
    row: int, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(SAMPLE)
    begin = struct.unpack_from("<I", data, 16 + 4 * row)[0] if row else 20 + 6 * SAMPLE_ROWS
    size = struct.unpack_from("<I", data, 20 + 4 * row)[0] - begin
    if size == 0:
        return
    for place, byte in changes:
        # mostly the front, where sizes are; sometimes where the row ends
        at = 20 + 4 * row + place % 4 if place >= 390 else begin + min(place, place % size)
        data[at] = byte
    agree(data, row)
    seen = []
    for outside in (b"\0", b"\xff"):
        around = np.frombuffer(outside * 64 + bytes(data) + outside * 64, np.uint8)
        out = np.full((3, 60), 0xABC, np.uint64)
        runs = np.full(3 * (60 + RUNS_PAD), 77, np.uint8)
        inner = slice(60 + RUNS_PAD, 2 * (60 + RUNS_PAD))
        whole = decode_row(around, 64, row, np.uint64(0), runs[inner], out[1])
        assert (np.delete(runs, inner) == 77).all()
        assert (out[[0, 2]] == 0xABC).all()
        seen.append((whole, out[1].tolist() if whole else None))
    assert seen[0] == seen[1]


@given(data=st.binary(max_size=120), start=st.integers(-5, 130), row=st.integers(-3, 9))
@settings(max_examples=tries(300), deadline=None)
def test_rubbish_is_no_block_and_does_no_harm(data: bytes, start: int, row: int) -> None:
    assert damage(data) is not None
    room = (np.uint64(0), np.empty(4 + RUNS_PAD, np.uint8), np.empty(4, np.uint64))
    decode_row(np.frombuffer(data, np.uint8), start, row, *room)
    assert not decode_row(np.frombuffer(bytes(120), np.uint8), max(start, 0), row, *room)
