from __future__ import annotations

import re

import pytest
import whisper
from hypothesis import example, given
from hypothesis import strategies as st

from storage.errors import InvalidRetention
from storage.retention import ARCHIVES_MAX, LONGEST_MAX_S, POINTS_MAX, Archive, Retention, parse

YEAR = 31_536_000


@st.composite
def retentions(draw: st.DrawFn) -> Retention:
    """Retentions that keep the rules: each archive is made of the one before, and reaches further back."""
    step = draw(st.integers(1, 120))
    archives = [Archive(step, draw(st.integers(2, 5000)))]
    for _ in range(draw(st.integers(0, 4))):
        factor = draw(st.integers(2, min(60, archives[-1].points)))
        step = archives[-1].step * factor
        points = archives[-1].duration // step + draw(st.integers(1, 1000))
        if points < 2 or step * points > LONGEST_MAX_S:
            break
        archives.append(Archive(step, points))
    return Retention(tuple(archives))


# Small numbers with common factors, so that lists break the rules about as often as they keep them.
pairs = st.tuples(st.sampled_from([1, 2, 5, 10, 15, 30, 60]), st.integers(2, 60))
units = st.sampled_from(["", "s", "sec", "m", "min", "mon", "h", "hours", "d", "days", "w", "y", "x", "M"])
parts = st.builds("{}{}:{}{}".format, st.integers(0, 90), units, st.integers(0, 90), units)


def whisper_reads(text: str) -> list[tuple[int, int]] | None:
    """What whisper makes of a retention text, finest first; None where it refuses."""
    try:
        archives = [whisper.parseRetentionDef(part) for part in text.split(",")]
        whisper.validateArchiveList(archives)
    except (ValueError, ZeroDivisionError, whisper.InvalidConfiguration):
        return None
    return archives


@given(retentions())
def test_a_retention_survives_its_text(retention: Retention) -> None:
    assert parse(str(retention)) == retention


@given(retentions(), st.randoms())
def test_archives_may_be_written_in_any_order(retention: Retention, random: object) -> None:
    shuffled = list(map(str, retention.archives))
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its Random as object
    assert parse(", ".join(shuffled)) == retention


@given(st.lists(pairs, min_size=1, max_size=4))
@example([(10, 6), (60, 60)])
@example([(10, 5), (60, 60)])
@example([(10, 6), (60, 1)])
def test_a_list_of_archives_stands_when_whisper_takes_it(archives: list[tuple[int, int]]) -> None:
    text = ",".join(f"{step}:{points}" for step, points in archives)
    expected = whisper_reads(text)
    if expected is None or any(points < 2 for _, points in archives):
        with pytest.raises(InvalidRetention):
            parse(text)
    else:
        assert [(archive.step, archive.points) for archive in parse(text).archives] == expected


@given(parts)
@example("1min:1day")
@example("1h:90m")
@example("60:1440")
@example("1mon:1y")
@example("0s:5m")
def test_an_archive_reads_as_whisper_reads_it(text: str) -> None:
    expected = whisper_reads(text)
    within = expected is not None and all(
        step >= 1 and 2 <= points <= POINTS_MAX and step * points <= LONGEST_MAX_S
        for step, points in expected
    )
    if not within:
        with pytest.raises(InvalidRetention):
            parse(text)
    else:
        assert [(archive.step, archive.points) for archive in parse(text).archives] == expected


@given(st.text(max_size=60) | st.text("0123456789smhdwy:, ", max_size=60))
def test_any_text_is_a_retention_or_an_invalid_one(text: str) -> None:
    try:
        retention = parse(text)
    except InvalidRetention:
        return
    assert parse(str(retention)) == retention


def test_a_retention_knows_its_seconds() -> None:
    retention = parse("10s:6h,1m:7d,10m:5y")
    assert [archive.duration for archive in retention.archives] == [6 * 3600, 7 * 86400, 5 * YEAR]
    assert retention.longest == 5 * YEAR


@pytest.mark.parametrize(
    ("text", "shortest"),
    [
        ("10s:6h,1m:7d,10m:5y", "10s:6h,1m:7d,10m:5y"),
        ("60:1440", "1m:1d"),
        ("90s:90", "90s:135m"),
        ("1min:1day", "1m:1d"),
        ("60sec:14days", "1m:2w"),
        ("24h:365d", "1d:1y"),
        ("7m:20m", "7m:14m"),
    ],
)
def test_the_text_is_the_shortest(text: str, shortest: str) -> None:
    assert str(parse(text)) == shortest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10s:6h,10s:7d", "archives 10s:6h and 10s:7d have the same step"),
        ("10s:6h,15s:7d", "archive 15s:7d cannot be made of those of 10s:6h: 15 s is no multiple of 10 s"),
        (
            "10s:6h,1m:6h",
            "archive 1m:6h must reach further back than the finer 10s:6h: 21,600 s against 21,600 s",
        ),
        ("1s:5s,1m:1h", "archive 1s:5s is too short: it has 5 points and one of 1m:1h is made of 60"),
        ("10x:6h", "'10x' has an unknown unit"),
        ("1.5m:6h", "'1.5m' is no number with a unit"),
        ("1M:3h", "'1M' is no number with a unit"),
        ("٣s:4h", "'٣s' is no number with a unit"),
        ("10s", "'10s' is no archive"),
        ("10s:6h,", "'' is no archive"),
        ("0s:6h", "a step of 0 s; the shortest is 1 s"),
        ("1h:30m", "step of 1h has 0 points; 2 to 2,147,483,647"),
        ("1s:100y", "3,153,600,000 points"),
        ("1y:101", "archive 1y:101y is longer than 100y"),
        (",".join(["1s:2"] * (ARCHIVES_MAX + 1)), "more than 64 archives"),
    ],
)
def test_what_is_wrong_is_said_with_both_archives(text: str, said: str) -> None:
    with pytest.raises(InvalidRetention, match=re.escape(said)) as caught:
        parse(text)
    assert len(str(caught.value)) < 400


def test_a_line_of_digits_is_refused_before_it_becomes_a_number() -> None:
    with pytest.raises(InvalidRetention, match="is no number") as caught:
        parse("9" * 1_000_000 + ":2")
    assert len(str(caught.value)) < 400


def test_archives_out_of_order_and_no_archives_are_no_retention() -> None:
    with pytest.raises(InvalidRetention, match="the finest comes first"):
        Retention((Archive(60, 100), Archive(10, 10)))
    with pytest.raises(InvalidRetention, match="0 archives"):
        Retention(())
