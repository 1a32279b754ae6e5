"""A short run of the fuzzer, and the stream without an end."""

from __future__ import annotations

import gc
import random

import pytest

from tests.carbon.protocols.spoken import SPOKEN
from tests.carbon.protocols.streams import Stream
from tests.fuzz.__main__ import main
from tests.fuzz.streams import check, mutated, rss_bytes


def test_nearly_right_bytes_break_no_promise(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["3", "--seed", "42"]) == 0, capsys.readouterr().out


def test_a_mutator_changes_what_it_is_given() -> None:
    source = random.Random(1)
    changed = {mutated(b"a.b 1 10\n" * 5, b"other", source) for _ in range(200)}
    assert len(changed) > 150


@pytest.mark.parametrize("name", SPOKEN)
def test_a_check_finds_a_reader_that_loses_datapoints(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = SPOKEN[name]._replace(encode=lambda points: SPOKEN_BEFORE[name].encode(points[1:]))
    monkeypatch.setitem(SPOKEN, name, deaf)
    with pytest.raises(AssertionError, match="before were lost"):
        check(name, b"", [])


SPOKEN_BEFORE = dict(SPOKEN)


@pytest.mark.parametrize("name", ["line", "lines perhaps compressed"])
def test_100_mb_without_an_end_take_less_than_2_mb(name: str) -> None:
    stream, piece = Stream(SPOKEN[name].make), b"x" * (1 << 18)
    for _ in range(40):
        assert stream.feed(piece) == []
    gc.collect()
    before = most = rss_bytes()
    for _ in range(400):
        assert stream.feed(piece) == []
        most = max(most, rss_bytes())
    assert most - before < 2_000_000
    assert stream.feed(b"\na 1 10\n") == [(b"a", 10, 1.0)]
    assert stream.stats.rejected == {"line too long": 1}
