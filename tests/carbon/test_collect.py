"""The host collector measures this host, and turns counters into rates."""

from __future__ import annotations

from carbon.collect import HostCollector
from storage import naming


def test_every_measure_has_a_name_that_can_be_stored_and_a_finite_value() -> None:
    values = HostCollector("web 1.example.com").measure()
    assert all(naming.fault(name.encode()) == 0 for name in values)
    assert all(value == value and abs(value) < 1e18 for value in values.values())
    prefix = "hosts.web_1_example_com."
    assert {prefix + "load.1min", prefix + "memory.available", prefix + "cpu.user"} <= set(values)


def test_counters_become_rates_by_the_time_that_passed() -> None:
    at = 0.0
    collector = HostCollector("h", clock=lambda: at)
    counter = next(iter(collector._counters))
    collector._counters = {name: count - 500 for name, count in collector._counters.items()}
    assert "hosts.h." + counter not in collector.measure()  # no time has passed: no rate
    collector._counters[counter] -= 500
    at = 10.0
    assert collector.measure()["hosts.h." + counter] >= 50
    collector._counters[counter] += 10**18
    at = 20.0
    assert "hosts.h." + counter not in collector.measure()  # the counter was reset
