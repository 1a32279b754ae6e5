"""Whisper files, byte by byte and name by name, against the whisper package."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import whisper as graphite
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from storage import whisper
from storage.consolidation import WHISPER_METHODS
from storage.errors import CorruptWhisper, InvalidName
from storage.retention import Archive, Retention
from storage.schema import Schema
from tests.effort import tries

NOW = 1_700_000_030
Archives = list[tuple[int, int]]


@st.composite
def archive_lists(draw: st.DrawFn) -> Archives:
    step = draw(st.sampled_from([1, 7, 10, 60]))
    archives = [(step, draw(st.integers(6, 40)))]
    for _ in range(draw(st.integers(0, 2))):
        step, points = archives[-1]
        ratio = draw(st.integers(2, 6))
        archives.append((step * ratio, draw(st.integers(points // ratio + 6, points + 20))))
    return archives


Values = st.one_of(st.floats(-100, 100), st.sampled_from([np.nan, np.inf, -np.inf, -0.0, 5e-324]))
# (how long before NOW a batch is written, its points as (age then, value)): what later batches write over is stale
Batches = st.lists(
    st.tuples(
        st.integers(0, 4000), st.lists(st.tuples(st.integers(-20, 3000), Values), min_size=1, max_size=60)
    ),
    max_size=4,
)
Factors = st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0])


def make(path: Path, archives: Archives, method: str, factor: float, batches: Any) -> None:
    path.unlink(missing_ok=True)
    graphite.create(str(path), archives, factor, method)
    for before, points in sorted(batches, key=lambda batch: -batch[0]):
        then = NOW - before
        graphite.update_many(str(path), [(then - age, value) for age, value in points], then)


def of_whisper(path: Path, archive: Archive) -> np.ndarray:
    """What whisper gives for all of an archive at NOW."""
    (first, until, step), values = graphite.fetch(str(path), NOW - archive.duration, NOW, NOW, archive.step)
    assert (first // step, (until - first) // step) == whisper.span(archive, NOW, 0)
    return np.array([np.nan if value is None else value for value in values])


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whisper") / "a.wsp"


@given(archives=archive_lists(), method=st.sampled_from(WHISPER_METHODS), factor=Factors, batches=Batches)
@settings(max_examples=tries(80), deadline=None)
def test_every_archive_of_a_file_reads_as_whisper_reads_it(
    path: Path, archives: Archives, method: str, factor: float, batches: Any
) -> None:
    make(path, archives, method, factor, batches)
    data = path.read_bytes()
    found = whisper.layout(data)
    assert found.schema == Schema(Retention(tuple(Archive(*pair) for pair in archives)), method, factor)
    assert found.size == len(data)
    for i, archive in enumerate(found.schema.retention.archives):
        (row,) = whisper.decode([data], found, i, whisper.span(archive, NOW, 0))
        assert same(row, of_whisper(path, archive))


@given(
    archives=archive_lists(),
    batches=Batches,
    flips=st.lists(st.tuples(st.one_of(st.integers(0, 60), st.integers(0)), st.integers(1, 255)), max_size=3),
    cut=st.one_of(st.none(), st.integers(0)),
)
@settings(max_examples=tries(150), deadline=None)
def test_a_damaged_file_is_refused_or_reads_as_whisper_reads_it(
    path: Path, archives: Archives, batches: Any, flips: list[tuple[int, int]], cut: int | None
) -> None:
    make(path, archives, "average", 0.5, batches)
    data = bytearray(path.read_bytes())
    for at, bits in flips:
        data[at % len(data)] ^= bits
    data = data[: cut % len(data)] if cut is not None else data
    path.write_bytes(data)
    try:
        found = whisper.layout(bytes(data))
    except CorruptWhisper:
        assert flips or cut is not None
        return
    assert cut is None
    for i, archive in enumerate(found.schema.retention.archives):
        assume(archive.duration < NOW)
        (row,) = whisper.decode([bytes(data)], found, i, whisper.span(archive, NOW, 0))
        assert same(row, of_whisper(path, archive))


Raw = st.lists(
    st.one_of(
        st.just(0), st.integers(-25, 25).map(lambda at: NOW - NOW % 10 - 10 * at), st.integers(NOW - 200, NOW)
    ),
    min_size=20,
    max_size=20,
)


@given(timestamps=Raw, swaps=st.booleans(), base=st.integers(-3, 25))
@settings(max_examples=tries(200), deadline=None)
def test_points_in_any_disorder_read_as_whisper_reads_them(
    path: Path, timestamps: list[int], swaps: bool, base: int
) -> None:
    make(path, [(10, 20)], "last", 0.0, [])
    if swaps:  # most lie where they should
        ordered = [NOW - NOW % 10 + 10 * (i - base) for i in range(20)]
        timestamps = [
            one if i % 3 else other for i, (one, other) in enumerate(zip(ordered, timestamps, strict=True))
        ]
    points = b"".join(struct.pack(">Id", at, i) for i, at in enumerate(timestamps))
    data = path.read_bytes()[:28] + points
    path.write_bytes(data)
    found = whisper.layout(data)
    archive = found.schema.retention.archives[0]
    (row,) = whisper.decode([data], found, 0, whisper.span(archive, NOW, 0))
    assert same(row, of_whisper(path, archive))


def test_a_header_that_cannot_be_is_refused_with_the_reason(path: Path) -> None:
    make(path, [(60, 60), (300, 48)], "sum", 0.5, [])
    good = path.read_bytes()

    def with_field(at: int, value: bytes) -> bytes:
        return good[:at] + value + good[at + len(value) :]

    number = struct.Struct(">I").pack
    for reason, data in {
        "aggregation method 9": with_field(0, number(9)),
        "aggregation method 0": with_field(0, number(0)),
        "retention of 14,401 s": with_field(4, number(14_401)),
        "xFilesFactor of 1.5": with_field(8, struct.pack(">f", 1.5)),
        "xFilesFactor of nan": with_field(8, struct.pack(">f", np.nan)),
        "0 archives": with_field(12, number(0)),
        "4,000,000,000 archives": with_field(12, number(4_000_000_000)),
        "at byte 41": with_field(16, number(41)),
        "step of 0 s": with_field(20, number(0)),
        "no multiple": with_field(32, number(301)),
        "the file is cut short": good[:-1],
        "the header is cut short": good[:39],
        "compressed file of go-carbon": b"whisper_compressed" + good,
    }.items():
        with pytest.raises(CorruptWhisper, match=reason):
            whisper.layout(data)


Cells = st.lists(st.one_of(st.just(np.nan), st.floats(-100, 100)), min_size=1, max_size=12)


@given(archives=archive_lists(), method=st.sampled_from(WHISPER_METHODS), factor=Factors, cells=Cells)
@settings(max_examples=tries(80), deadline=None)
def test_what_is_encoded_reads_the_same_by_whisper_and_by_decode(
    path: Path, archives: Archives, method: str, factor: float, cells: list[float]
) -> None:
    schema = Schema(Retention(tuple(Archive(*pair) for pair in archives)), method, factor)
    spans = [whisper.span(archive, NOW, 0) for archive in schema.retention.archives]
    matrices = [np.resize(np.array(cells), span.slots) for span in spans]
    data = whisper.encode(schema, spans, matrices)
    path.write_bytes(data)
    assert whisper.layout(data).schema == schema
    info = graphite.info(str(path))
    assert (info["aggregationMethod"], info["xFilesFactor"]) == (method, np.float32(factor))
    for i, archive in enumerate(schema.retention.archives):
        assert same(of_whisper(path, archive), matrices[i])
        (row,) = whisper.decode([data], whisper.layout(data), i, spans[i])
        assert same(row, matrices[i])


def test_carbon_goes_on_in_a_file_that_was_encoded(path: Path) -> None:
    schema = Schema(Retention((Archive(60, 10), Archive(300, 10))), "sum", 0.0)
    spans = [whisper.span(archive, NOW, 0) for archive in schema.retention.archives]
    values = np.full(10, np.nan)
    values[3:6] = [1.0, 2.0, 3.0]
    path.write_bytes(whisper.encode(schema, spans, [values, np.full(10, np.nan)]))
    graphite.update_many(str(path), [(NOW, 7.0), (NOW - 180, 5.0)], NOW)
    values[[6, 9]] = [5.0, 7.0]
    assert same(of_whisper(path, schema.retention.archives[0]), values)
    assert np.nansum(of_whisper(path, schema.retention.archives[1])) == 5.0 + 7.0


def test_slots_that_lie_ahead_take_the_places_of_the_oldest(path: Path) -> None:
    schema = Schema(Retention((Archive(60, 10),)), "last", 0.0)
    span = whisper.span(schema.retention.archives[0], NOW, 120)
    path.write_bytes(whisper.encode(schema, [span], [np.arange(12.0)]))
    later = whisper.span(schema.retention.archives[0], NOW + 120, 0)
    (row,) = whisper.decode([path.read_bytes()], whisper.layout(path.read_bytes()), 0, later)
    assert row.tolist() == list(range(2, 12))


def test_a_large_archive_is_decoded_in_parts_that_join(path: Path) -> None:
    schema = Schema(Retention((Archive(1, 300_000),)), "last", 0.0)
    span = whisper.span(schema.retention.archives[0], NOW, 0)
    values = np.arange(300_000.0)
    values[:5] = np.nan  # so that the first point is not the first slot
    data = whisper.encode(schema, [span], [values])
    (row,) = whisper.decode([data], whisper.layout(data), 0, span)
    assert same(row, values)


# --- names ---

TAGGED = "some.metric;tag1=value2;tag2=value.2"


def test_the_path_of_tags_is_the_one_that_carbon_gives_them() -> None:
    path = "_tagged/eff/aae/some_DOT_metric;tag1=value2;tag2=value_DOT_2.wsp"
    assert whisper.path_of(TAGGED) == path
    assert whisper.name_of(path) == TAGGED


Nodes = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters=".;/"), min_size=1, max_size=9
)
Tags = st.dictionaries(
    st.text("abc_", min_size=1, max_size=4), st.text("xy.z_/", min_size=1, max_size=6), max_size=3
)


@given(nodes=st.lists(Nodes, min_size=1, max_size=5), tags=Tags)
def test_a_name_goes_to_a_path_and_back(nodes: list[str], tags: dict[str, str]) -> None:
    name = ";".join([".".join(nodes), *(f"{tag}={tags[tag]}" for tag in sorted(tags))])
    path = whisper.path_of(name)
    assert not path.startswith("/")
    if "/" not in name:
        assert whisper.name_of(path) == name
    else:
        with pytest.raises(InvalidName, match="hash"):
            whisper.name_of(path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("_tagged/eff/aae/effaae5b5595" + "0" * 52 + ".wsp", "hash of a name"),
        ("_tagged/eff/aaf/some_DOT_metric;tag1=value2;tag2=value_DOT_2.wsp", "not its own"),
        ("_tagged/e/ffaae/some_DOT_metric;tag1=value2;tag2=value_DOT_2.wsp", "not its own"),
        ("_tagged/eff/aae/some.metric;tag1=value2;tag2=value.2.wsp", "no name with tags"),
        ("_tagged/x.wsp", "no name with tags"),
        ("a.b/c.wsp", "a dot"),
        ("a;b=1.wsp", "outside"),
        ("a b/c.wsp", "white space"),
        (".wsp", "empty node"),
        ("a/.wsp", "empty node"),
        ("a/\udcff.wsp", "not utf8"),
    ],
)
def test_a_path_that_is_no_names_is_refused(path: str, reason: str) -> None:
    with pytest.raises(InvalidName, match=reason):
        whisper.name_of(path)


@pytest.mark.parametrize("name", ["/etc/passwd", "a.b/c", "a." + "x" * 300, "_tagged.a"])
def test_a_name_that_no_path_leads_back_to_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        whisper.path_of(name)
