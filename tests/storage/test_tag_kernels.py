"""Each kernel against its plain twin."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from storage import tag_kernels as kernels
from storage.intern import Interned, lay

PAIR = st.tuples(st.sampled_from(["a", "nam", "name", "names", ""]), st.text("ab=é", max_size=3)).map(
    "=".join
)
PATHS = st.lists(
    st.lists(PAIR | st.sampled_from(["name", "x"]), max_size=4).map(lambda p: ";".join(["m.a", *p]))
)
ROWS = st.lists(st.lists(st.integers(0, 6), max_size=5, unique=True), max_size=12)
NAME = st.text("ab!é", max_size=4).map(str.encode)


def int32(numbers: Iterable[int]) -> npt.NDArray[np.int32]:
    return np.array(list(numbers), np.int32)


def interned(names: list[bytes]) -> Interned:
    out = Interned()
    out.add_all(*lay(names))
    return out


def laid(rows: list[list[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """(bounds, cells)"""
    return np.cumsum([0, *map(len, rows)]), int32(pair for row in rows for pair in row)


@given(PATHS, st.data())
def test_paths_are_cut_at_semicolons_and_the_metric_is_the_name(
    paths: list[str], data: st.DataObject
) -> None:
    paths = list(dict.fromkeys(paths))
    names = interned([path.encode() for path in paths])
    first = data.draw(st.integers(0, len(paths)))
    some = paths[first:]
    most = sum(path.count(";") + 1 for path in some)
    text = np.empty(sum(len(path.encode()) + 5 for path in some), np.uint8)
    starts, stops, bounds = (
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(len(some) + 1, np.int64),
    )
    count = kernels.cut_paths(names.arrays, first, len(paths), text, starts, stops, bounds)
    found = [text[a:b].tobytes().decode() for a, b in zip(starts[:count], stops[:count], strict=True)]
    wanted = [
        [f"name={metric}", *(pair for pair in pairs if not pair.startswith("name="))]
        for metric, *pairs in (path.split(";") for path in some)
    ]
    assert [found[a:b] for a, b in pairwise(bounds)] == wanted


@given(st.lists(PAIR.map(str.encode) | NAME, unique=True, min_size=1))
def test_a_tag_ends_at_the_first_equals_sign(pairs: list[bytes]) -> None:
    names = interned(pairs)
    ends = np.empty(len(pairs), np.int64)
    kernels.tag_ends(names.arrays, 0, ends)
    tags = [names.blob[a:b].tobytes() for a, b in zip(names.offsets[: len(pairs)], ends, strict=True)]
    assert tags == [pair.partition(b"=")[0] for pair in pairs]


@given(ROWS, st.data())
def test_postings_are_the_rows_turned_over(rows: list[list[int]], data: st.DataObject) -> None:
    bounds, cells = laid(rows)
    paths = data.draw(st.integers(0, len(rows)))
    starts, postings = np.zeros(8, np.int64), np.empty(int(bounds[paths]), np.int32)
    kernels.lay_postings(bounds, cells, paths, starts, postings)
    turned = [[path for path in range(paths) if pair in rows[path]] for pair in range(7)]
    assert [postings[starts[i] : starts[i + 1]].tolist() for i in range(7)] == turned

    pairs = data.draw(st.lists(st.integers(0, 9), unique=True))
    out = np.empty(len(postings) + 1, np.int32)
    count = kernels.gather(starts, postings, int32(pairs), out)
    assert out[:count].tolist() == [path for pair in pairs if pair < 7 for path in turned[pair]]

    marks = np.zeros(paths, np.uint32)
    kernels.mark_paths(starts, postings, int32(pairs), np.uint32(4), marks)
    assert marks.tolist() == [4 * any(pair in rows[path] for pair in pairs) for path in range(paths)]
    seen = np.zeros(10, np.bool_)
    wanted = data.draw(st.lists(st.integers(0, 9)))
    kernels.find_marked(starts, postings, int32(wanted), marks, np.uint32(4), seen)
    assert np.flatnonzero(seen).tolist() == [
        pair for pair in range(7) if pair in wanted and any(marks[path] == 4 for path in turned[pair])
    ]


@given(ROWS, st.lists(st.integers(0, 7), min_size=7, max_size=7), st.integers(0, 7), st.data())
def test_a_path_is_selected_whose_flags_are_all_and_only_those_needed(
    rows: list[list[int]], flags: list[int], need: int, data: st.DataObject
) -> None:
    bounds, cells = laid(rows)
    asked = data.draw(st.lists(st.integers(0, len(rows) - 1))) if rows else []
    out = np.empty(len(asked) + 1, np.int32)
    count = kernels.select(bounds, cells, np.array(flags, np.uint32), np.uint32(need), int32(asked), out)
    joined = [int(np.bitwise_or.reduce([0, *(flags[pair] for pair in row)])) for row in rows]
    assert out[:count].tolist() == [path for path in asked if joined[path] == need]


@given(ROWS, st.data())
def test_pairs_are_counted_and_marked_by_the_paths_that_have_them(
    rows: list[list[int]], data: st.DataObject
) -> None:
    bounds, cells = laid(rows)
    paths = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True)) if rows else []
    counts, seen = int32(range(7)), np.zeros(7, np.bool_)
    kernels.count_pairs(bounds, cells, int32(paths), -2, counts)
    kernels.mark_pairs(bounds, cells, int32(paths), seen)
    having = [sum(pair in rows[path] for path in paths) for pair in range(7)]
    assert counts.tolist() == [pair - 2 * having[pair] for pair in range(7)]
    assert seen.tolist() == [count > 0 for count in having]


@given(st.lists(NAME, unique=True, min_size=1), st.lists(NAME, min_size=1))
def test_names_begin_with_prefixes_as_pythons_do(names: list[bytes], prefixes: list[bytes]) -> None:
    apart = [p for p in set(prefixes) if not any(p != q and p.startswith(q) for q in prefixes)]
    out = np.empty(len(names), np.bool_)
    kernels.begin_with(interned(names).arrays, int32(range(len(names))), *lay(sorted(apart)), out)
    assert out.tolist() == [name.startswith(tuple(prefixes)) for name in names]
