"""The intake on a real store: what was sent = what was stored + what was refused by reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from carbon.intake import Intake
from carbon.names import NameTable
from carbon.protocols.line import LineReader
from carbon.stats import Report, Stats
from storage.store import Store

NOW = 1_700_000_000


class House:
    def __init__(self, folder: Path) -> None:
        self.store, self.stats = Store(folder), Stats()
        self.names = NameTable(self.store, self.stats)
        self.intake = Intake(self.store, self.names, self.stats, lambda: NOW)

    def lines(self, text: str) -> None:
        self.intake.accept(LineReader(self.names, self.stats).feed(text.encode(), NOW), "line")

    def newest(self, name: str) -> float:
        _, series = self.store.find_series(name)
        (fetched,) = self.store.fetch(series, NOW - 600, NOW, NOW)
        return float(fetched.values[0][~np.isnan(fetched.values[0])][-1])


def test_sent_is_stored_and_refused_by_reason(tmp_path: Path) -> None:
    house = House(tmp_path)
    good = [f"m.{i} {i} {NOW - i}\n" for i in range(100)]
    bad = ["a 1\n", f"a x {NOW}\n", f"a..b 1 {NOW}\n", f"m.1 nan {NOW}\n", f"t;x 1 {NOW}\n"]
    bad += [f"m.1 1 {NOW + 601}\n", "m.1 1 1000\n"]
    house.lines("".join(good[:50] + bad + good[50:]))
    stats = house.stats
    assert stats.committed == len(good)
    assert dict(stats.rejected) == {
        "not three fields": 1,
        "bad value": 1,
        "empty node": 1,
        "value is NaN": 1,
        "timestamp too far in the future": 1,
        "timestamp older than the longest archive": 1,
        "bad tag": 1,
    }
    assert len(good) + len(bad) == stats.committed + stats.rejected.total()
    assert house.newest("m.0") == 0.0


def test_a_name_whose_values_are_all_bad_makes_no_series(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.lines(f"rate nan {NOW}\n")
    assert len(house.store) == 0


def test_names_that_came_as_objects_go_the_same_way(tmp_path: Path) -> None:
    house = House(tmp_path)
    names = [b"a.b", b"a..b", b"c;t=1;s=2", b"a.b"]
    house.intake.accept_columns(names, [NOW, NOW, -1, NOW - 60], [1, 2, 3, 4], "pickle")
    assert house.newest("a.b") == 1.0
    assert house.newest("c;s=2;t=1") == 3.0
    assert dict(house.stats.rejected) == {"empty node": 1}
    assert house.stats.committed == 3


def test_a_report_says_what_happened_since_the_last(tmp_path: Path) -> None:
    house = House(tmp_path)
    report = Report(house.stats)
    house.lines(f"a 1 {NOW}\nb 1 {NOW}\nbad\n")
    first, second = report.take(), report.take()
    assert (first["metricsReceived"], first["committedPoints"], first["creates"]) == (2, 2, 2)
    assert first["listeners.line.metricsReceived"] == 2
    assert first["rejected.not_three_fields"] == 1
    assert first["pointsPerUpdate"] == 2
    assert (second["metricsReceived"], second["rejected.not_three_fields"]) == (0, 0)
    assert second["memUsage"] > 1e6
