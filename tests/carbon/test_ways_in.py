"""The ways in: what is read of each protocol before anyone sends."""

from __future__ import annotations

import pytest

from carbon.config import Kind
from carbon.names import NameTable
from carbon.stats import Stats
from carbon.ways_in import _READERS, _SAMPLES
from tests.carbon.memory import MemorySeries


@pytest.mark.parametrize("kind", sorted(_SAMPLES))
def test_the_sample_of_a_protocol_is_a_datapoint(kind: Kind) -> None:
    stats = Stats()
    names = NameTable(MemorySeries(), stats)
    batch = _READERS[kind](names, stats).feed(_SAMPLES[kind], 0)
    assert batch is not None
    assert names.interned.names(batch.ids) == ["a"]
    assert (batch.timestamps.tolist(), batch.values.tolist()) == ([1], [0.0])
    assert not stats.rejected


def test_every_protocol_but_lines_has_a_sample() -> None:
    assert _READERS.keys() - _SAMPLES.keys() == {Kind.LINE}
