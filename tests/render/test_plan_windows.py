"""Overlapping windows of a pattern are one read, and no answer is another for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render import reading
from render.config import Limits
from render.errors import RenderError, TooMuch
from render.plan import render
from render.series import SeriesList
from render.source import SharedStore
from storage.schema import Rules
from storage.store import Store
from tests.effort import tries
from tests.render.golden.series import NOW, START, UNTIL
from tests.render.memory import Fetched, MemorySource

_SCHEMAS = """
[fine]
pattern = fine
retentions = 10s:30m,60s:4h,5m:2d
[plain]
pattern = plain
retentions = 60s:4h,5m:2d
[short]
pattern = short
retentions = 60s:3h
"""


class Recording(SharedStore):
    """`fetches` has (series, start, until) of each, `points` how many datapoints they gave."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.forget()

    def forget(self) -> None:
        self.fetches: list[tuple[int, int, int]] = []
        self.points = 0

    def fetch(
        self, series: npt.NDArray[np.int32], start: int, until: int, *others: Any, **named: Any
    ) -> Sequence[reading.Fetched]:
        found = super().fetch(series, start, until, *others, **named)
        self.fetches.append((len(series), start, until))
        self.points += sum(part.values.size for part in found)
        return found


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """Six hours of three schemas' series, with gaps."""
    folder = tmp_path_factory.mktemp("windows")
    (folder / "storage-schemas.conf").write_text(_SCHEMAS)
    (folder / "storage-aggregation.conf").write_text(
        "[count]\npattern = count$\nxFilesFactor = 0\naggregationMethod = sum\n"
    )
    store = Store(folder / "data", Rules.load(folder))
    names = [f"{schema}.{what}" for schema in ("fine", "plain", "short") for what in ("a", "b", "count;dc=w")]
    series = store.create(names)
    rng = np.random.default_rng(1)
    for ago in range(6 * 360, -1, -1):
        there = np.flatnonzero(rng.random(len(names)) < 0.9)
        if ago % 6 == 0 or len(there):
            at = np.full(len(there), NOW - 10 * ago)
            store.append(series[there], at, rng.normal(50, 20, len(there)), NOW - 10 * ago)
    store.roll_up()
    yield Recording(store)
    store.close()


def ask(source: Any, *targets: str, **more: Any) -> list[SeriesList]:
    return render(source, targets, **{"start": START, "until": UNTIL, "now": NOW, "zone": UTC, **more})


def told(series: SeriesList) -> list[tuple[object, ...]]:
    """All that an answer has, values bit by bit."""
    return [(*one[:3], one.values.tobytes(), *one[4:]) for one in series]


# --- whatever is asked together ---

_PATTERNS = ("fine.a", "fine.*", "plain.*", "short.*", "*.{a,b}", "*.a", "seriesByTag('dc=w')", "no.such")
_LENGTHS = ("90s", "10min", "25min", "1h", "3h")
_AROUND = (
    "{0}",
    "scale({0},2)",
    "sumSeries({0})",
    "movingAverage({0},'{1}')",
    "movingMedian({0},3)",
    "movingSum(absolute({0}),5)",
    "movingMax(movingAverage({0},'{1}'),'10min')",
    "rate({0},'{1}')",
    "rate({0})",
    "cumulative({0})",
    "summarize({0},'{1}','max')",
    "hitcount({0},'{1}',true)",
    "timeShift({0},'{1}')",
    "timeShift(movingAverage({0},'{1}'),'10min')",
    "timeStack({0},'{1}',0,3)",
    "slo({0},'{1}','above',50)",
    "exponentialMovingAverage({0},'{1}')",
    "asPercent({0},movingAverage({0},'{1}'))",
    "averageSeries(movingAverage({0},'{1}'),{0})",
    "holtWintersForecast({0},'{1}','10min')",
    "timeToReach({0},70,'{1}')",
    "divideSeries({0},nosuch(1))",
)


@st.composite
def _few_patterns(draw: st.DrawFn) -> list[str]:
    """Two to five targets about one or two patterns."""
    patterns = draw(st.lists(st.sampled_from(_PATTERNS), min_size=1, max_size=2))
    wraps = draw(st.lists(st.sampled_from(_AROUND), min_size=2, max_size=5))
    return [wrap.format(draw(st.sampled_from(patterns)), draw(st.sampled_from(_LENGTHS))) for wrap in wraps]


@settings(max_examples=tries(150))
@given(
    targets=_few_patterns(),
    ago=st.integers(1, 5 * 3600),
    span=st.integers(0, 2 * 3600),
    stitched=st.booleans(),
)
def test_targets_asked_together_answer_as_each_by_itself(
    recording: Recording, targets: list[str], ago: int, span: int, stitched: bool
) -> None:
    how: dict[str, Any] = {"start": NOW - ago, "until": NOW - ago + span, "stitched": stitched}
    recording.forget()
    apart: dict[str, list[tuple[object, ...]]] = {}
    for target in dict.fromkeys(targets):
        with suppress(RenderError):  # of what has no answer together has none either
            apart[target] = told(ask(recording, target, **how)[0])
    points = recording.points
    recording.forget()
    assert [told(one) for one in ask(recording, *apart, **how)] == list(apart.values())
    assert recording.points <= points


# --- what is read ---


@pytest.mark.parametrize(
    "targets",
    [
        ("servers.*.cpu", "movingAverage(servers.*.cpu,'10min')"),
        ("movingAverage(servers.*.cpu,'10min')", "servers.*.cpu"),
        ("movingAverage(servers.*.cpu,'5min')", "movingAverage(servers.*.cpu,'10min')", "servers.*.cpu"),
        ("asPercent(servers.*.cpu, movingAverage(servers.*.cpu,'10min'))",),
        ("servers.*.cpu", "movingAverage(servers.*.cpu,10)"),
        ("movingAverage(servers.*.cpu,10)",),
        ("movingAverage(servers.*.cpu,'10min')", "timeShift(servers.*.cpu,'5min')"),
        (
            "servers.*.cpu",
            "timeShift(movingAverage(servers.*.cpu,'5min'),'5min')",
            "slo(servers.*.cpu,'30min','above',1)",
        ),
    ],
)
def test_windows_within_another_are_one_read(source: MemorySource, targets: tuple[str, ...]) -> None:
    ask(source, *targets)
    assert source.fetches == [(4, START - 600, UNTIL)]


def test_what_tags_name_is_one_read_too(source: MemorySource) -> None:
    ask(source, "seriesByTag('name=load')", "movingAverage(seriesByTag('name=load'),'10min')")
    assert [window for _, *window in source.fetches] == [[START - 600, UNTIL]]


def test_what_lies_within_no_other_window_is_read_by_itself(source: MemorySource) -> None:
    ask(source, "servers.*.cpu", "timeShift(servers.*.cpu,'1h')")
    assert source.fetches == [(4, START, UNTIL), (4, START - 3600, UNTIL - 3600)]


def test_points_of_a_calls_outcome_are_counted_when_that_is_known(source: MemorySource) -> None:
    ask(source, "movingAverage(scale(servers.*.cpu,2),10)")
    assert source.fetches == [(4, START, UNTIL), (4, START - 600, UNTIL)]


def test_a_window_that_another_archive_answers_is_read_by_itself(recording: Recording) -> None:
    def fetches(span: str) -> list[tuple[int, int, int]]:
        recording.forget()
        ask(recording, "fine.*", f"movingAverage(fine.*,'{span}')", start=NOW - 600, until=NOW)
        return recording.fetches

    assert len(fetches("10min")) == 1
    assert len(fetches("1h")) == 2


def test_values_read_otherwise_are_read_by_themselves(recording: Recording) -> None:
    """cumulative() asks for sums, where archives have them."""
    recording.forget()
    ask(recording, "plain.*", "cumulative(plain.*)")
    assert len(recording.fetches) == 2


def test_rows_that_were_cut_out_lie_end_to_end(source: MemorySource) -> None:
    plain, _ = ask(source, "servers.*.cpu", "movingAverage(servers.*.cpu,'10min')")
    assert plain.blocks[0].values.flags.c_contiguous


# --- what it costs ---


def test_what_is_read_once_counts_once(source: MemorySource) -> None:
    both = ("servers.*.cpu", "movingAverage(servers.*.cpu,'10min')")
    ask(source, *both, limits=Limits(points_read_max=120, series_max=4))
    with pytest.raises(TooMuch, match="would read 120 points"):
        ask(source, *both, limits=Limits(points_read_max=119))
    assert len(source.fetches) == 1


def test_an_earlier_window_is_counted_before_anything_is_read(source: MemorySource) -> None:
    with pytest.raises(TooMuch):
        ask(source, "odd.zero", "movingAverage(servers.*.cpu,'10min')", limits=Limits(points_read_max=139))
    assert source.fetches == []


def test_shifted_windows_are_counted_before_anything_is_read(source: MemorySource) -> None:
    with pytest.raises(TooMuch):
        ask(source, "timeStack(servers.*.cpu,'1h',0,3)", limits=Limits(points_read_max=199))
    assert source.fetches == []


def test_windows_that_cannot_be_held_together_are_refused(source: MemorySource) -> None:
    both = ("servers.*.cpu", "movingAverage(servers.*.cpu,'10min')")
    ask(source, *both, limits=Limits(points_max=200))
    with pytest.raises(TooMuch, match="at most 199"):
        ask(source, *both, limits=Limits(points_max=199))


def test_a_long_list_is_folded_though_its_wider_window_cannot_be_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "FOLDED_POINTS", 40)
    monkeypatch.setattr(reading, "_PART_POINTS", 40)
    targets = ("sumSeries(servers.*.cpu)", "sumSeries(movingAverage(servers.*.cpu,'10min'))")
    whole, parted = MemorySource.golden(), MemorySource.golden()
    ours = ask(parted, *targets, limits=Limits(points_max=119))
    assert max(series for series, _, _ in parted.fetches[1:]) < 4
    theirs = ask(whole, *targets)
    assert whole.fetches == [(4, START - 600, UNTIL)]
    for a, b in zip(ours, theirs, strict=True):
        assert a.names == b.names
        np.testing.assert_allclose(a.blocks[0].values, b.blocks[0].values, rtol=1e-12)


# --- which windows lie within which ---


def test_series_of_several_steps_are_cut_each_on_its_grid(source: MemorySource) -> None:
    for name, step in (("m.a", 60), ("m.b", 300), ("m.c", 60)):
        source.add(name, START - 3600, step, [float(i) for i in range(2 * 3600 // step)])
    alone = told(ask(source, "m.*")[0])
    source.fetches.clear()
    together, _ = ask(source, "m.*", "movingAverage(m.*,'7min')")
    assert source.fetches == [(3, START - 420, UNTIL)]
    assert told(together) == alone


def test_a_coarser_grid_around_does_not_hold_a_window() -> None:
    class Archives(MemorySource):
        """One minute up to half an hour back, else five."""

        def fetch(self, series, start, until, now, *others, **named):  # type: ignore[no-untyped-def]  # as the base
            found: list[Fetched] = super().fetch(series, start, until, now, *others, **named)
            return [one for one in found if one.step == (300 if UNTIL - start > 1800 else 60)]

    source = Archives()
    for step in (60, 300):
        source.add(f"a.{step}", START - 3600, step, [1.0] * (2 * 3600 // step))
    plain, _ = ask(source, "a.*", "movingAverage(a.*,'1h')")
    assert plain.names == ["a.60"]
