"""A store against a dict: whatever comes in whatever order, with seals, packing, syncs, kills and restarts between."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.schema import Rules
from storage.store import AHEAD_MAX_S, Store
from tests.effort import tries

START = 1_700_000_000
STEP, POINTS, RATIO = 10, 60, 6  # 10s:10m,1m:1h
NAMES = ["a.one", "a.two", "b.three"]
RULES = "[all]\npattern = .\nretentions = 10s:10m,1m:1h\n"
AGGREGATION = "[all]\npattern = .\naggregationMethod = max,count\nxFilesFactor = 0\n"

Ages = st.one_of(
    st.integers(0, 30),  # live
    st.integers(0, STEP * POINTS - 1),  # late, into whatever has become of its slot
    st.integers(-AHEAD_MAX_S, 0),  # early
    st.integers(0, 4000),  # backfilled, beyond the finest archive and beyond all
)
Batches = st.lists(st.tuples(st.integers(0, len(NAMES) - 1), Ages), min_size=1, max_size=20)


class Machine(RuleBasedStateMachine):
    """`fine` is the model: the last value sent for (name, slot) while the finest archive took it."""

    @initialize(pack_after=st.sampled_from([None, 0, 120]))
    def begin(self, pack_after: int | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        (self.folder / "storage-schemas.conf").write_text(RULES)
        (self.folder / "storage-aggregation.conf").write_text(AGGREGATION)
        self.rules, self.pack_after = Rules.load(self.folder), pack_after
        self.now, self.value, self.newest = START, 0.0, 0
        self.fine: dict[tuple[int, int], float] = {}
        self.sent: dict[tuple[int, int], set[float]] = {}  # by coarse slot, whatever archive took it
        self.store = self.opened()
        self.series = self.store.create(NAMES)
        self.reader = Store(self.folder / "data", self.rules, writable=False)

    def opened(self) -> Store:
        store = Store(self.folder / "data", self.rules, pack_after=self.pack_after)
        for shard in store.shards():
            for ring in shard.every_ring():
                ring.places.quiet_s = 0.0
        return store

    def kept_from(self) -> int:
        """The oldest slot of the finest archive that nothing ahead of now can have taken the place of."""
        geometry = self.store.shard_of(int(self.series[0])).rings[0].geometry
        return (self.newest // geometry.block - geometry.places + 1) * geometry.block

    @rule(batch=Batches)
    def append(self, batch: list[tuple[int, int]]) -> None:
        rows, ages = (np.array(column) for column in zip(*batch, strict=True))
        timestamps = self.now - ages
        values = self.value + np.arange(1.0, len(batch) + 1)
        self.value += len(batch)
        dropped = self.store.append(self.series[rows], timestamps, values, self.now)
        self.newest = max(self.newest, int(timestamps.max()) // STEP)
        refused = (ages >= 3600).sum()
        assert refused <= dropped.too_old <= refused + (timestamps // STEP < self.kept_from()).sum()
        for row, age, time, value in zip(
            rows.tolist(), ages.tolist(), timestamps.tolist(), values, strict=True
        ):
            if age < STEP * POINTS:
                self.fine[row, time // STEP] = float(value)
            self.sent.setdefault((row, time // (STEP * RATIO)), set()).add(float(value))

    @rule(seconds=st.sampled_from([1, 10, 45, 200, 900, 5000]))
    def time_goes_on(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def roll_up(self) -> None:
        self.store.roll_up()

    @rule()
    def seal(self) -> None:
        self.store.seal_ahead(64)

    @rule()
    def pack(self) -> None:
        self.store.pack_some(self.now, 64)

    @rule()
    def sync(self) -> None:
        self.store.sync()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule()
    def kill(self) -> None:
        """Maps and locks go with a process; nothing is rolled up, sealed or synced."""
        self.store.close(synced=True)
        self.store = self.opened()

    @rule()
    def new_reader(self) -> None:
        self.reader.close()
        self.reader = Store(self.folder / "data", self.rules, writable=False)

    @invariant()
    @precondition(lambda self: hasattr(self, "store"))
    def the_finest_archive_has_what_was_sent_last(self) -> None:
        first = max(self.now // STEP - POINTS + 1, self.kept_from())
        points = max(0, self.now // STEP - first + 1)
        expected = np.full((len(NAMES), points), np.nan)
        for (row, slot), value in self.fine.items():
            if first <= slot < first + points:
                expected[row, slot - first] = value
        for store in (self.store, self.reader):
            store.refresh()
            np.testing.assert_array_equal(store.read_archive(self.series, 0, first, points), expected)

    @rule()
    def coarse_archives_are_made_of_the_finest(self) -> None:
        self.store.roll_up()
        ring = STEP * RATIO
        first = -(-max(self.now - STEP * POINTS + STEP, self.kept_from() * STEP) // ring)
        last = self.now // ring
        held = self.store.read_archive(self.series, 1, last - 59, 60)
        for at, slot in enumerate(range(last - 59, last + 1)):
            for row in range(len(NAMES)):
                value = held[row, at]
                inside = [self.fine.get((row, slot * RATIO + i)) for i in range(RATIO)]
                known = [one for one in inside if one is not None]
                assert np.isnan(value) or value in self.sent.get((row, slot), ())
                if first <= slot < last and known:
                    assert value == max(known)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.reader.close()
            self.store.close()
            shutil.rmtree(self.folder)


Machine.TestCase.settings = settings(
    max_examples=tries(40), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMachine = Machine.TestCase
