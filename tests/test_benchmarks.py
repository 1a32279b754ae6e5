"""The benchmarks stay runnable, and their table says what was measured; the figures are not for a test."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.client import SPAN, Asked
from benchmarks.lines import make_lines
from benchmarks.measure import Row, table

ROOT = Path(__file__).parent.parent


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def cells(text: str, question: str) -> list[list[str]]:
    """The rows of a question in a printed table."""
    return [re.split(r"  +", line) for line in text.splitlines() if line.startswith(f"{question}: ")]


def test_each_figure_stands_beside_that_of_a_twin_of_the_same_run() -> None:
    done = benchmarks("kernel", "storage", "--quick")
    assert done.returncode == 0, done.stderr
    assert [len(cells(done.stdout, question)) for question in ("kernel", "storage")] == [1, 3]
    for _, ours, _, twin, theirs, ratio, *_ in cells(done.stdout, "kernel") + cells(done.stdout, "storage"):
        assert float(ours.replace(",", "")) > 0
        assert re.match("plain|whisper", twin)
        assert float(theirs.replace(",", "")) > 0
        assert ratio.endswith(" ×")


def test_a_question_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    done = benchmarks("kernels")
    assert done.returncode == 2
    assert re.search("no such question: kernels; there are receive, wire", done.stderr)


@pytest.mark.parametrize(
    ("unit", "ours", "theirs", "ratio"),
    [("points/s", 50.0, 10.0, 5.0), ("points/CPU-s", 5.0, 10.0, 0.5), ("ms", 2.0, 10.0, 5.0)],
)
def test_a_ratio_says_how_many_times_better_ours_is(
    unit: str, ours: float, theirs: float, ratio: float
) -> None:
    assert Row("", ours, unit, "", theirs).ratio == ratio


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        (Row("", 50, "lines/s", "", 10), None),
        (Row("", 50, "lines/s", "", 10, limit=50), True),
        (Row("", 50, "lines/s", "", 10, limit=51), False),
        (Row("", 50, "ms", "", 10, limit=50), True),
        (Row("", 50, "ms", "", 10, limit=49), False),
        (Row("", 50, "lines/s", "", 10, times=5), True),
        (Row("", 50, "lines/s", "", 10, times=6), False),
        (Row("", 50, "lines/s", "", 10, limit=51, times=5), False),
        (Row("", 50, "lines/s", "", None, limit=50, times=5), None),
        (Row("", 50, "lines/s", "", None, limit=51, times=5), False),
    ],
)
def test_what_must_hold_is_judged_by_the_limit_and_the_ratio(row: Row, holds: bool | None) -> None:
    assert row.holds is holds


def test_a_peer_that_is_not_installed_leaves_our_figure_and_an_open_question() -> None:
    row = Row("render: a sum", 1234.5, "requests/s", "graphite-web", None, times=80)
    assert cells(table([row]), "render") == [
        ["render: a sum", "1,234", "requests/s", "graphite-web", "not installed", "≥ 80 ×", "?"]
    ]


def test_the_table_is_aligned() -> None:
    rows = [Row("a", 1.0, "ms", "b", 1e9), Row("a long question", 1e9, "points/CPU-s", "a long peer", 1.0)]
    head, _, *lines = table(rows).splitlines()[2:]
    places = [line.index(unit) for line, unit in zip(lines, ("ms", "points"), strict=True)]
    assert places == [head.index("unit")] * 2


def test_lines_come_round_by_round_and_each_connection_has_names_of_its_own() -> None:
    lines = make_lines(["a", "b", "c"], [60, 120], connections=2)
    sent = [[line.split() for line in buffer.decode().splitlines()] for buffer in lines.buffers]
    assert [[(name, int(timestamp)) for name, _, timestamp in each] for each in sent] == [
        [("a", 60), ("b", 60), ("a", 120), ("b", 120)],
        [("c", 60), ("c", 120)],
    ]
    newest = {
        name: float(value) for each in sent for name, value, timestamp in each if int(timestamp) == lines.last
    }
    assert [newest[name] for name in "abc"] == lines.values
    assert lines.points == 6


def test_no_window_is_asked_for_twice_and_all_lie_within_the_data() -> None:
    asked = Asked("/render?target=a", 600, 60, 1440)
    urls = [asked.at(i) for i in range(21_600)]
    assert len(set(urls)) == len(urls)
    windows = [tuple(map(int, re.findall(r"=(\d+)", url))) for url in urls]
    assert min(start for start, _ in windows) == 600
    assert max(until for _, until in windows) <= 600 + (1440 + SPAN) * 60
    assert {(until - start) // 60 for start, until in windows} == set(range(1381, 1441))
