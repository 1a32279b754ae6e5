"""Prometheus reads what is exposed, and the numbers are those that were counted."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.exposition import exposition
from carbon.stats import Stats

parser = pytest.importorskip("prometheus_client.parser")


class Told(NamedTuple):
    totals: dict[str, float]
    gauges: dict[str, float]


def read(text: str) -> dict[tuple[str, ...], float]:
    """(sample, label values …) → value, as Prometheus' own parser finds them."""
    found = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found
            found[key] = sample.value
            assert (family.type == "counter") == sample.name.endswith("_total")
    return found


def test_counters_are_exposed_with_their_labels() -> None:
    stats = Stats()
    stats.received["line"] = 12
    stats.reject("bad value", 2, source="line")
    stats.reject("bad value", 3, source="10.0.0.1")
    stats.stage_s["read"] = 0.125
    stats.committed, stats.waiting, stats.read_only = 1 << 53, 4, True
    found = read(exposition(stats))
    assert found["plumbago_received_datapoints_total", "line"] == 12
    assert found["plumbago_rejected_total", "line", "bad value"] == 2
    assert found["plumbago_rejected_total", "", "bad value"] == 3
    assert found["plumbago_stage_seconds_total", "read"] == 0.125
    assert found["plumbago_committed_datapoints_total",] == 1 << 53
    assert found["plumbago_waiting_datapoints",] == 4
    assert found["plumbago_read_only",] == 1
    assert found["process_cpu_seconds_total",] > 0
    assert found["process_resident_memory_bytes",] > 1e6
    assert found["process_open_fds",] >= 3


@given(st.dictionaries(st.tuples(st.text(max_size=8), st.text(max_size=8)), st.integers(1, 9), max_size=5))
def test_labels_are_read_back_as_they_were_whatever_is_in_them(rejects: dict[tuple[str, str], int]) -> None:
    stats = Stats()
    for (listener, reason), n in rejects.items():
        stats.rejected[reason] += n
        stats.rejected_by[listener, reason] += n
    found = read(exposition(stats))
    told = {key[1:]: n for key, n in found.items() if key[0] == "plumbago_rejected_total"}
    assert told == rejects


@given(st.floats(allow_nan=False))
def test_values_are_read_back_as_they_were(value: float) -> None:
    assert read(exposition(Stats(lag_s=value)))["plumbago_lag_seconds",] == value


def test_what_a_relay_tells_has_its_destination_as_a_label() -> None:
    first = Told({"destinations.web1:2004:a.attemptedRelays": 5.0, "unroutedDatapoints": 1.0}, {})
    second = Told(
        {"destinations.web2:2004:None.attemptedRelays": 6.0},
        {"destinations.web2:2004:None.queueLength": math.inf},
    )
    found = read(exposition(Stats(), [lambda: first, lambda: second]))
    assert found["plumbago_destination_attempted_relays_total", "web1:2004:a"] == 5
    assert found["plumbago_destination_attempted_relays_total", "web2:2004:None"] == 6
    assert found["plumbago_destination_queue_length", "web2:2004:None"] == math.inf
    assert found["plumbago_unrouted_datapoints_total",] == 1


def test_a_metric_without_samples_is_left_out() -> None:
    assert "received_datapoints" not in exposition(Stats())
    assert exposition(Stats()).endswith("\n")
