"""What senders may use: buckets against a plain twin, quotas of new series, memory with its hysteresis."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.limits import SOURCES_MAX, Bucket, Memory, NewSeries, Sources, memory_of_machine, own_memory

MIB = 1 << 20


class Time:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Plain:
    """A bucket in exact numbers: what was filled in since the start, at most one second's worth at a time."""

    def __init__(self, rate: int) -> None:
        self.rate, self.left = rate, Fraction(rate)

    def wait(self, seconds: Fraction) -> None:
        self.left = min(Fraction(self.rate), self.left + seconds * self.rate)

    def take(self, wanted: int) -> int:
        granted = max(0, min(wanted, self.left.__floor__()))
        self.left -= granted
        return granted

    def charge(self, used: int) -> Fraction:
        self.left -= used
        return max(Fraction(0), -self.left / self.rate)


# waits in 1/64 s and rates of powers of two are exact in floats, too
steps = st.lists(
    st.tuples(st.sampled_from(["wait", "take", "charge"]), st.integers(0, 300)), min_size=1, max_size=60
)


@given(st.sampled_from([1, 2, 16, 64, 1024]), steps)
def test_a_bucket_grants_and_owes_what_exact_numbers_say(rate: int, steps: list[tuple[str, int]]) -> None:
    time, plain = Time(), Plain(rate)
    bucket = Bucket(rate, time)
    for what, amount in steps:
        if what == "wait":
            time.now += amount / 64
            plain.wait(Fraction(amount, 64))
        elif what == "take":
            assert bucket.take(amount) == plain.take(amount)
        else:
            assert bucket.charge(amount) == plain.charge(amount)


@given(st.integers(1, 1000), st.lists(st.integers(0, 500), max_size=50), st.floats(0, 10))
def test_no_more_is_granted_than_the_rate_and_one_second_more(
    rate: int, wanted: list[int], seconds: float
) -> None:
    time = Time()
    bucket = Bucket(rate, time)
    granted = 0
    for each in wanted:
        time.now += seconds / len(wanted)
        granted += bucket.take(each)
    assert granted <= rate * (1 + seconds) + 1e-6


def test_a_clock_that_stands_grants_one_second_at_first_and_no_more() -> None:
    bucket = Bucket(10, Time())
    assert [bucket.take(7), bucket.take(7), bucket.take(7)] == [7, 3, 0]


def test_a_debt_is_paid_by_time() -> None:
    time = Time()
    bucket = Bucket(10, time)
    assert bucket.charge(10) == 0
    assert bucket.charge(25) == 2.5
    assert bucket.take(1) == 0
    time.now += 2.5
    assert bucket.charge(0) == 0
    assert bucket.take(1) == 0
    time.now += 0.1
    assert bucket.take(5) == 1


def test_each_address_has_a_bucket_of_its_own() -> None:
    sources = Sources(5, Time())
    assert sources.of("a").take(9) == 5
    assert sources.of("b").take(9) == 5
    assert sources.of("a").take(9) == 0


def test_of_too_many_addresses_those_heard_of_longest_ago_are_forgotten() -> None:
    sources = Sources(1, Time())
    for number in range(SOURCES_MAX):
        sources.of(str(number)).take(1)
    sources.of("0")
    sources.of("new")
    assert len(sources._buckets) == SOURCES_MAX
    assert (sources.of("0").take(1), sources.of("2").take(1), sources.of("1").take(1)) == (0, 0, 1)


# --- new series ---


@pytest.mark.parametrize(
    ("a_second", "per_source", "admitted"),
    [(None, None, [50, 50, 50]), (10, None, [10, 0, 0]), (None, 4, [4, 0, 4]), (6, 4, [4, 0, 2]), (3, 4, [3, 0, 0])],
)  # fmt: skip
def test_new_series_are_admitted_by_all_and_by_address(
    a_second: int | None, per_source: int | None, admitted: list[int]
) -> None:
    new_series = NewSeries(a_second, per_source, Time())
    assert [new_series.admit(50, source) for source in ("a", "a", "b")] == admitted


def test_our_own_names_have_no_address_and_count_among_all() -> None:
    new_series = NewSeries(10, 1, Time())
    assert new_series.admit(8, "") == 8
    assert new_series.admit(8, "a") == 1


def test_while_it_is_stopped_nothing_is_admitted_and_no_quota_used() -> None:
    new_series = NewSeries(5, 5, Time())
    new_series.stopped = True
    assert new_series.admit(5, "a") == 0
    new_series.stopped = False
    assert new_series.admit(5, "a") == 5


# --- memory ---


class Machine:
    """A memory that is as full as it is told."""

    def __init__(self, limit: int | None = 1000 * MIB) -> None:
        self.used, self.new_series = 0, NewSeries(None, None, Time())
        self.memory = Memory(limit, self.new_series, lambda: self.used)

    def at(self, mib: int) -> bool:
        """Whether series are stopped with so much in use."""
        self.used = mib * MIB
        self.memory.watch()
        return self.new_series.stopped


def test_new_series_stop_above_the_limit_and_go_on_well_below_it(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    with caplog.at_level(logging.WARNING):
        found = [machine.at(mib) for mib in (0, 1000, 1001, 1001, 1000, 951, 950, 949, 1000, 1001)]
    assert found == [False, False, True, True, True, True, True, False, False, True]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR"]


def test_without_a_limit_it_is_a_quarter_of_what_there_is() -> None:
    assert Machine(None).memory.limit == memory_of_machine() // 4


def test_our_own_memory_has_what_is_allocated_and_not_what_is_mapped() -> None:
    before = own_memory()
    block = bytearray(b"x") * (64 * MIB)
    assert own_memory() - before > 48 * MIB
    del block


def cgroups(root: Path, **limits: str) -> tuple[Path, Path]:
    """A tree of cgroups; the process is in a/b."""
    for place, text in limits.items():
        folder = root.joinpath(*place.split("_")[1:])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(text)
    (root / "own").write_text("1:name=systemd:/x\n0::/a/b\n")
    return root, root / "own"


@pytest.mark.parametrize(
    ("limits", "least"),
    [
        ({"_a_b": "3000000\n"}, 3_000_000),
        ({"_a_b": "max\n", "_a": "2000000\n"}, 2_000_000),
        ({"_a_b": "5000000\n", "_": "4000000\n"}, 4_000_000),
    ],
)
def test_the_limit_of_a_cgroup_counts_and_that_of_those_around_it(
    tmp_path: Path, limits: dict[str, str], least: int
) -> None:
    assert memory_of_machine(*cgroups(tmp_path, **limits)) == least


def test_without_cgroups_it_is_the_machines(tmp_path: Path) -> None:
    machine = memory_of_machine(tmp_path, tmp_path / "none")
    assert machine > 100 * MIB
    assert memory_of_machine(*cgroups(tmp_path, _a_b="max\n")) == machine
