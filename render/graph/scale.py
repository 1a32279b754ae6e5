"""The y axis: from which to which value it reaches, where its labels and grid lines are, and what they say.

A linear axis has labels at multiples of a round step, a logarithmic one at powers of its base. Values are bounded
by ±1e300, so that differences of two are numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

VALUE_MAX = 1e300
_LEAST = 1e-280  # what is less may be lost in a division
_ALMOST = 1e-9  # of a step: what rounding may have added or taken
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAY = 86_400


class Prefix(NamedTuple):
    name: str
    size: float


def _prefixes(names: str, base: float) -> tuple[Prefix, ...]:
    return tuple(Prefix(name, base**i) for i, name in enumerate(names.split(), start=1))[::-1]


_TIMES = (("y", 365 * _DAY), ("d", _DAY), ("h", 3600), ("min", 60))
# largest first; what is smaller than all has no prefix
UNITS: Mapping[str, tuple[Prefix, ...]] = MappingProxyType(
    {
        "si": _prefixes("k M G T P E Z Y", 1000.0),
        "binary": _prefixes("Ki Mi Gi Ti Pi Ei Zi Yi", 1024.0),
        "sec": (*(Prefix(name, float(size)) for name, size in _TIMES), Prefix("s", 1.0)),
        "msec": (*(Prefix(name, size * 1000.0) for name, size in (*_TIMES, ("s", 1))), Prefix("ms", 1.0)),
        "none": (),
    }
)


class Tick(NamedTuple):
    value: float
    label: str


@dataclass(frozen=True)
class Scale:
    """An axis; `low` < `high`, ticks and minor lines lie from one to the other and rise."""

    low: float
    high: float
    ticks: tuple[Tick, ...]
    base: float | None = None  # of the logarithm; None = linear

    def place(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Where values lie: 0 at `low`, 1 at `high`; NaN for what a logarithm has no place for."""
        if self.base is None:
            return (values - self.low) / (self.high - self.low)
        with np.errstate(all="ignore"):
            logs = np.where(values > 0, np.log(values), np.nan)
        return (logs - math.log(self.low)) / (math.log(self.high) - math.log(self.low))

    def minor(self, count: int) -> list[float]:
        """`count` values between each two ticks, at equal distances."""
        pairs = zip(self.ticks, self.ticks[1:], strict=False)
        return [a.value + (b.value - a.value) * (i + 1) / (count + 1) for a, b in pairs for i in range(count)]


@dataclass(frozen=True)
class Wish:
    """What is asked of an axis."""

    minimum: float | None = None  # the axis begins here
    maximum: float | None = None  # the axis ends here
    at_data: bool = False  # the axis ends at the highest value
    limit: float | None = None  # the axis does not end above it
    step: float | None = None  # from label to label
    unit: str = "si"
    divisors: tuple[int, ...] = (4, 5, 6)
    base: float | None = None
    labels_max: int = 12  # how many there is room for


def scale(low: float, high: float, wish: Wish) -> Scale:
    """The axis for values from low to high (finite): reaches over both, unless that is not wished."""
    low, high = (min(max(value, -VALUE_MAX), VALUE_MAX) for value in (low, high))
    return _linear(low, high, wish) if wish.base is None else _logarithmic(low, high, wish.base, wish)


# --- linear ---


def _linear(low: float, high: float, wish: Wish) -> Scale:
    low, high, fixed_low, fixed_high = _ends(low, high, wish)
    most = max(2, wish.labels_max)
    if wish.step is not None:
        step = max(wish.step, (high - low) / 1e9)  # the next line's ratio is to be a number
        step *= max(1, math.ceil((high - low) / step / (most - 1) - _ALMOST))
        choices = [_widened(low, high, step, fixed_low, fixed_high)]
    else:
        counts = {min(count, most - 1) for count in wish.divisors}
        steps = {_round_up((high - low) / count, wish.unit) for count in counts}
        choices = [_widened(low, high, step, fixed_low, fixed_high) for step in steps]
    fitting = [choice for choice in choices if choice.labels <= most] or choices
    low, high, step = min(fitting, key=_Choice.cost)
    if not fixed_high and wish.limit is not None and high > wish.limit > low:
        high = wish.limit  # rounding may not go beyond it either
    values = _multiples(low, high, step) or [low]  # the ends may lie between two multiples
    stride = -(
        -len(values) // most
    )  # an end that is rounded up may have one label more than there is room for
    values = values[::stride]
    return Scale(low, high, tuple(map(Tick, values, labels(values, step * stride, wish.unit))))


class _Choice(NamedTuple):
    low: float
    high: float
    step: float

    @property
    def labels(self) -> float:
        return (self.high - self.low) / self.step + 1

    def cost(self) -> tuple[float, float]:
        """The less space it leaves the better; 2.5 has more digits than its neighbours 2 and 5."""
        return (self.high - self.low) * (1.2 if f"{self.step:e}".startswith("2.5") else 1.0), self.step


def _ends(low: float, high: float, wish: Wish) -> tuple[float, float, bool, bool]:
    """Where the axis begins and ends before it is rounded, and whether each may not be."""
    fixed_low = wish.minimum is not None
    fixed_high = wish.maximum is not None or wish.at_data
    low = low if wish.minimum is None else wish.minimum
    high = high if wish.maximum is None else wish.maximum
    if wish.limit is not None and wish.limit < high:
        high, fixed_high = wish.limit, True
    # closer than this, labels cannot be told apart in 15 digits
    if high - low > max(max(abs(low), abs(high)) * 1e-12, _LEAST):
        return low, high, fixed_low, fixed_high
    room = max(abs(low), abs(high)) * 0.1
    room = room if room > _LEAST else 1.0
    if fixed_low:
        return low, low + room, fixed_low, fixed_high
    return (high - room, high, False, True) if fixed_high else (low - room, high + room, False, False)


def _widened(low: float, high: float, step: float, fixed_low: bool, fixed_high: bool) -> _Choice:
    """The ends moved out to multiples of the step, if they may be."""
    if not fixed_low:
        low = math.floor(low / step + _ALMOST) * step
    if not fixed_high:
        high = math.ceil(high / step - _ALMOST) * step
    if high <= low:  # both ends are about the same multiple
        low, high = (low, low + step) if fixed_low or not fixed_high else (high - step, high)
    return _Choice(low, high, step)


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - _ALMOST), math.floor(high / step + _ALMOST)
    digits = max(0, 12 - math.floor(math.log10(step)))  # twelve of the step, so that 3 × 0.1 is 0.3
    return [round(i * step, digits) + 0.0 for i in range(first, last + 1)]


def _round_up(step: float, unit: str) -> float:
    """The next round step: 1, 2, 2.5 or 5 with zeros; powers of two; whole minutes, hours and days."""
    if unit == "binary" and step > 1:
        return float(2 ** math.ceil(math.log2(step) - _ALMOST))
    second = {"sec": 1.0, "msec": 1000.0}.get(unit)
    if second is not None and step > second:
        seconds = step / second
        found = next((size for size in _SECONDS if size >= seconds * (1 - _ALMOST)), None)
        return found * second if found else _decimal(seconds / _DAY) * _DAY * second
    return _decimal(step)


def _decimal(step: float) -> float:
    exponent = math.floor(math.log10(step))
    rounds = (float(f"{digit}e{exponent}") for digit in (1, 2, 2.5, 5, 10))
    return next(size for size in rounds if size >= step * (1 - _ALMOST))


# --- logarithmic ---


def _logarithmic(low: float, high: float, base: float, wish: Wish) -> Scale:
    """What is not above 0 has no place on it: such a low end counts as 1, or as the high end's begin."""
    low, high, fixed_low, fixed_high = _ends(low, high, wish)
    if high <= 0:
        low, high, fixed_low, fixed_high = 1.0, base, False, False
    elif low <= 0:
        low, fixed_low = min(1.0, high / base), False
    first, last = math.log(low, base), math.log(high, base)
    first = first if fixed_low else math.floor(first + _ALMOST)
    last = last if fixed_high else max(math.ceil(last - _ALMOST), math.floor(first + _ALMOST) + 1)
    powers = list(range(math.ceil(first - _ALMOST), math.floor(last + _ALMOST) + 1))
    stride = -(-len(powers) // max(2, wish.labels_max)) or 1
    values = [_power(base, power) for power in powers[::stride]]
    ends = [_power(base, end) if end == int(end) else base**end for end in (first, last)]
    low, high = (low if fixed_low else ends[0]), (high if fixed_high else ends[1])
    if base == 10 and len(values) * 3 <= wish.labels_max:
        fine = (
            digit * 10.0**power for power in range(math.floor(first), math.ceil(last)) for digit in (1, 2, 5)
        )
        values = sorted({*values, *(float(f"{v:.6g}") for v in fine if low <= v <= high)})
    values = [value for value in values if low * (1 - _ALMOST) <= value <= high * (1 + _ALMOST)]
    names = [labels([value], abs(value), wish.unit)[0] for value in values]
    return Scale(low, high, tuple(map(Tick, values, _distinct(values, names))), base)


def _power(base: float, power: float) -> float:
    return float(f"{base**power:.14g}") if base == int(base) else float(base**power)


# --- labels ---


def labels(values: Sequence[float], step: float, unit: str) -> list[str]:
    """What the values, which are multiples of the step, are called: all in one unit, no two the same."""
    largest = max(map(abs, values), default=0.0)
    if largest == 0:
        return ["0"] * len(values)
    if largest >= 1e27 or (largest < 1e-4 and unit != "msec"):
        return _distinct(values, [f"{value:g}" for value in values])
    found = next((p for p in UNITS[unit] if p.size <= largest * (1 + _ALMOST)), Prefix("", 1.0))
    if unit == "si" and step >= 1 and largest < 10_000:  # 1500 is read more easily than 1.5 k
        found = Prefix("", 1.0)
    digits = next((d for d in range(7) if _is_exact(step / found.size, d)), 6)
    suffix = f" {found.name}" if found.name else ""
    write: Callable[[float], str] = lambda value: f"{value / found.size:.{digits}f}{suffix}"  # noqa: E731
    return _distinct(values, ["0" if value == 0 else write(value) for value in values])


def _is_exact(number: float, digits: int) -> bool:
    return abs(round(number, digits) - number) <= abs(number) * 1e-6


def _distinct(values: Sequence[float], names: list[str]) -> list[str]:
    """The names; the values in full if two of them have the same."""
    return names if len(set(names)) == len(names) else [repr(value).removesuffix(".0") for value in values]
