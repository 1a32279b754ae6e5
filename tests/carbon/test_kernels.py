"""Names found by their spans: the plain twin, the bound, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.kernels import REASONS, Reject, words
from carbon.names import NameTable
from carbon.stats import Stats
from storage.intern import lay
from storage.naming import Fault
from tests.carbon.memory import MemorySeries
from tests.carbon.protocols.streams import fault

paths = st.sampled_from(
    [b"a.b", b"a.c", b"x", b"a..b", b"", b"a b", b"\xff", b"\xc3\xa9", b"long." * 20 + b"er", b"a\x01"]
)


def table(names_max: int = 1_000_000) -> tuple[NameTable, Stats]:
    stats = Stats()
    return NameTable(MemorySeries(), stats, names_max=names_max), stats


@given(st.lists(st.lists(paths | st.binary(max_size=20), max_size=30), max_size=4))
def test_spans_are_the_ids_that_the_names_have(rounds: list[list[bytes]]) -> None:
    names, stats = table()
    known: dict[bytes, int] = {}
    refused: dict[str, int] = {}
    for some in rounds:
        expected = []
        for name in some:
            reason = fault(name)
            if reason:
                refused[reason] = refused.get(reason, 0) + 1
            expected.append(-1 if reason else known.setdefault(name, len(known)))
        assert names.ids_of_spans(*lay(some)).tolist() == expected
    assert dict(stats.rejected) == refused
    assert names.interned.names(np.arange(len(known), dtype=np.int32)) == [name.decode() for name in known]


@given(st.lists(st.sampled_from([(0, 3), (4, 7), (4, 9), (0, 0), (2, 5), (10, 11)]), max_size=40))
def test_spans_may_be_the_same_again_and_overlap(spans: list[tuple[int, int]]) -> None:
    text = np.frombuffer(b"a.b c.d.e \xff", np.uint8)
    names, stats = table()
    starts, stops = np.array(spans, np.int64).reshape(-1, 2).T.copy()
    ids = names.ids_of_spans(text, starts, stops)
    each = [bytes(text[start:stop]) for start, stop in spans]
    assert [None if one < 0 else names.interned.name(int(one)).encode() for one in ids] == [
        None if fault(name) else name for name in each
    ]
    assert stats.rejected.total() == sum(fault(name) is not None for name in each)


def test_a_hundred_thousand_new_names_make_their_room() -> None:
    names, _ = table()
    some = [b"servers.web%d.load" % i for i in range(100_000)]
    assert names.ids_of_spans(*lay(some)).tolist() == list(range(100_000))
    assert names.ids_of_spans(*lay(some[::-1])).tolist() == list(range(100_000))[::-1]


def test_one_long_name_said_a_million_times_takes_the_room_of_one() -> None:
    names, _ = table()
    text = np.frombuffer(b"n" * 4096, np.uint8)
    n = 1_000_000
    ids = names.ids_of_spans(text, np.zeros(n, np.int64), np.full(n, 4096, np.int64))
    assert ids.max() == 0
    assert names.interned.nbytes < 200_000


def test_names_beyond_the_bound_are_refused_and_the_known_ones_kept() -> None:
    names, stats = table(names_max=2)
    assert names.ids_of_spans(*lay([b"a", b"b", b"c", b"a", b"d", b"b"])).tolist() == [0, 1, -1, 0, -1, 1]
    assert dict(stats.rejected) == {"too many names": 2}


def test_lines_and_spans_share_their_names() -> None:
    from carbon.protocols.line import LineReader

    names, stats = table()
    batch = LineReader(names, stats).feed(b"a 1 1\nb 1 1\n", 0)
    assert batch is not None
    assert names.ids_of_spans(*lay([b"b", b"a", b"c"])).tolist() == [1, 0, 2]


def test_every_reason_has_its_words() -> None:
    assert len({words(reason) for reason in range(REASONS)}) == REASONS
    assert words(int(Fault.TOO_LONG)) == "too long"
    assert words(int(Reject.ITEM)) == "bad item"


@pytest.mark.parametrize(("line", "logged"), [(b"a nan 1\n", 0), (b"a x 1\n", 1)])
def test_a_nan_is_counted_without_a_word(line: bytes, logged: int, caplog: pytest.LogCaptureFixture) -> None:
    from carbon.protocols.line import LineReader

    names, stats = table()
    with caplog.at_level("WARNING", "carbon.stats"):
        LineReader(names, stats).feed(line, 0)
    assert stats.rejected.total() == 1
    assert len(caplog.records) == logged
