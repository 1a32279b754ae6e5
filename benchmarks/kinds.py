"""Series as hosts send them, kind by kind, from seeds: what the codec is measured on.

Each kind is a function of a numpy Generator and the wanted shape; it gives float64 (rows, points), NaN where
nothing was sent. A row has its own level, spread and pace. `mix` puts the kinds together as a fleet has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Random = np.random.Generator

_STEP_S = 10
_PAGE = 4096


def _wander(random: Random, rows: int, points: int, *, memory: float, spread: Matrix) -> Matrix:
    """A mean-reverting walk about zero: each value is `memory` × the one before plus noise of `spread` (rows,)."""
    noise = random.normal(size=(rows, points)) * spread[:, None]
    out = np.empty_like(noise)
    out[:, 0] = noise[:, 0] / np.sqrt(1 - memory**2)
    for at in range(1, points):
        out[:, at] = memory * out[:, at - 1] + noise[:, at]
    return out


def _column(values: npt.NDArray[Any]) -> Matrix:
    return values[:, None]


def gauge_decimals(random: Random, rows: int, points: int) -> Matrix:
    """A third each: CPU % with 2 decimals, load averages with 2, response times in ms with 3."""
    third = rows // 3
    level, spread = random.uniform(2, 80, third), random.lognormal(0.5, 0.8, third)
    cpu = _column(level) + _wander(random, third, points, memory=0.8, spread=spread)
    load = _column(random.lognormal(0, 1, third)) * np.exp(
        _wander(random, third, points, memory=0.97, spread=np.full(third, 0.06))
    )
    left = rows - 2 * third
    times = _column(random.lognormal(2.5, 1, left)) * random.lognormal(0, 0.25, (left, points))
    return np.concatenate([np.clip(cpu, 0, 100).round(2), load.round(2), times.round(3)])


def gauge_integers(random: Random, rows: int, points: int) -> Matrix:
    """A third each: memory in bytes (pages that come and go), queue lengths (Poisson), connections (a walk)."""
    third = rows // 3
    pages = random.lognormal(1, 2, (third, points)) * random.normal(size=(third, points))
    memory = (_column(random.lognormal(13, 1.5, third)) + pages.round().cumsum(axis=1)).round() * _PAGE
    queues = random.poisson(_column(random.lognormal(1.5, 1.5, third)), (third, points))
    left = rows - 2 * third
    level = random.lognormal(4, 1, left)
    connections = _column(level) + _wander(random, left, points, memory=0.95, spread=np.sqrt(level) / 2)
    return np.concatenate([np.abs(memory), queues.astype(float), np.abs(connections).round()])


def counters(random: Random, rows: int, points: int) -> Matrix:
    """Monotone 64-bit counters with rates from some events an hour to 100 MB a second; one in 50 was reset."""
    a_step = random.lognormal(5, 4, rows).clip(0.01, 1e8 * _STEP_S)
    pace = np.exp(_wander(random, rows, points, memory=0.9, spread=random.uniform(0.02, 0.3, rows)))
    grown = random.poisson(_column(a_step) * pace).cumsum(axis=1).astype(float)
    values = grown + (_column(a_step) * _column(random.uniform(1e3, 1e6, rows))).round()
    for row in range(0, rows, 50):
        at = random.integers(1, points)
        values[row, at:] -= values[row, at]
    return values


def rates(random: Random, rows: int, points: int) -> Matrix:
    """Per-second rates and percentages divided by a clock's real interval: 15–17 digits."""
    events = random.poisson(_column(random.lognormal(8, 2, rows)), (rows, points))
    return events / (_STEP_S + random.normal(0, 0.001, (rows, points)))


def constants(random: Random, rows: int, points: int) -> Matrix:
    """Limits, sizes, versions, states: the same value all the time."""
    size = (random.lognormal(16, 3, rows) / 2).round() * 1024
    level = np.where(random.random(rows) < 0.5, random.integers(0, 101, rows), size)
    return np.repeat(_column(level), points, axis=1)


def mostly_zero(random: Random, rows: int, points: int) -> Matrix:
    """Errors and retries: zero but for one slot in 50."""
    return np.where(random.random((rows, points)) < 0.02, random.geometric(0.2, (rows, points)), 0).astype(
        float
    )


def sparse(random: Random, rows: int, points: int) -> Matrix:
    """A decimal gauge in one slot of six: for two thirds of the rows regularly, for the others at random."""
    values = gauge_decimals(random, rows, points)
    random.shuffle(values)
    known = (np.arange(points) + _column(random.integers(0, 6, rows))) % 6 == 0
    at_random = rows // 3
    known[:at_random] = random.random((at_random, points)) < 1 / 6
    return np.where(known, values, np.nan)


def states(random: Random, rows: int, points: int) -> Matrix:
    """Enumerations 0 … 3 that flap: each value stays for some slots."""
    stays = random.random((rows, points)) < _column(random.uniform(0.5, 0.98, rows))
    picked = random.integers(0, 4, (rows, points))
    newest = np.maximum.accumulate(np.where(stays, 0, np.arange(points)), axis=1)
    return np.take_along_axis(picked, newest, axis=1).astype(float)


def latencies(random: Random, rows: int, points: int) -> Matrix:
    """p99 in ms with 3 decimals: heavy tails, and a tenfold spike in one slot of 50."""
    values = _column(random.lognormal(4, 1, rows)) * random.lognormal(0, 0.4, (rows, points))
    return np.where(random.random((rows, points)) < 0.02, values * 10, values).round(3)


def averages(random: Random, rows: int, points: int) -> Matrix:
    """What a coarser archive holds: means of six values of a decimal or an integer gauge, added up in order."""
    half = rows // 2
    fine = np.concatenate(
        [gauge_decimals(random, half, points * 6), gauge_integers(random, rows - half, points * 6)]
    ).reshape(rows, points, 6)
    total = fine[:, :, 0].copy()
    for at in range(1, 6):
        total += fine[:, :, at]
    return total / 6


def noise(random: Random, rows: int, points: int) -> Matrix:
    """Random bits: nothing can be saved."""
    bits = random.integers(0, 1 << 64, (rows, points), dtype=np.uint64)
    values = bits.view(np.float64)
    return np.where(np.isnan(values), 1.0, values)


Kind = Callable[[Random, int, int], Matrix]
KINDS: dict[str, Kind] = {
    "gauges, 2–3 decimals": gauge_decimals,
    "integer gauges": gauge_integers,
    "counters": counters,
    "rates, 17 digits": rates,
    "constants": constants,
    "mostly zero": mostly_zero,
    "sparse, 1 slot in 6": sparse,
    "states": states,
    "p99 latencies": latencies,
    "averages of 6": averages,
    "random bits": noise,
}
_MIX: dict[str, float] = {
    "gauges, 2–3 decimals": 0.25,
    "integer gauges": 0.15,
    "counters": 0.20,
    "rates, 17 digits": 0.10,
    "constants": 0.10,
    "mostly zero": 0.05,
    "sparse, 1 slot in 6": 0.10,
    "states": 0.025,
    "p99 latencies": 0.025,
}


def make(kind: str, rows: int, points: int, *, seed: int = 42) -> Matrix:
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    return KINDS[kind](random, rows, points)


def make_mix(rows: int, points: int, *, seed: int = 42) -> Matrix:
    """All kinds in a fleet's shares, rows in random order; every tenth row lost some slots, some rows an hour."""
    parts = [make(kind, round(rows * share), points, seed=seed) for kind, share in _MIX.items()]
    values = np.concatenate(parts)
    random = np.random.default_rng(seed)
    random.shuffle(values)
    values = values[:rows]
    for row in range(0, len(values), 10):
        values[row, random.random(points) < 0.01] = np.nan
    for row in range(5, len(values), 30):
        at = random.integers(0, points)
        values[row, at : at + 3600 // _STEP_S] = np.nan
    return values
