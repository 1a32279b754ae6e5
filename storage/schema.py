"""What decides the schema of a name: storage-schemas.conf and storage-aggregation.conf, the first match wins.

Both files are Graphite's: sections in file order, `pattern` searched for (case-sensitive) in the full
canonical name. A file that is absent is replaced by built-in rules; a name that no section of a file matches
gets the last built-in rule. Departures from carbon 1.1.10, each because what it does is silent: a section
that cannot be used is an error and is not skipped; an unknown key is an error; xFilesFactor is 0 where
nothing sets it (whisper: 0.5), because with 0.5 a half-empty interval vanishes from every coarser archive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from storage import consolidation, retention
from storage.errors import InvalidConfig, InvalidRetention
from storage.lifetime import NO_LIMITS, Limits
from storage.retention import Retention
from storage.sections import Option, Section, Stamp, first_match, search, sections, stamp, text_of

SCHEMAS_FILE = "storage-schemas.conf"
AGGREGATION_FILE = "storage-aggregation.conf"


@dataclass(frozen=True)
class Schema:
    """How a series is kept; `aggregation` has canonical names of consolidation.py with commas between."""

    retention: Retention
    aggregation: str  # how slots roll up; the first is the series' own, the others are kept beside it
    x_files_factor: float  # 0 to 1, the part of a coarse slot's points that must be known

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.aggregation.split(","))

    @property
    def method(self) -> str:
        """The series' own aggregation."""
        return self.aggregation.partition(",")[0]


class Decision(NamedTuple):
    """A name's schema, and in words the section of the file or the built-in rule that decided each half."""

    schema: Schema
    retention_rule: str
    aggregation_rule: str


class _Aggregation(NamedTuple):
    method: str
    x_files_factor: float


_T = TypeVar("_T")


@dataclass(frozen=True)
class _Half(Generic[_T]):
    """The rules of one file: `number(name)` is the rule's place in `outcomes` and in `words`."""

    outcomes: Sequence[_T]
    words: Sequence[str]
    number: Callable[[str], int]


@dataclass(frozen=True)
class Rules:
    """Decides the schema of names and how long they live. Never changes: when `changed()`, load new ones."""

    retentions: _Half[Retention]
    aggregations: _Half[_Aggregation]
    folder: Path | None
    fingerprint: tuple[Stamp | None, ...]
    limits: Limits = NO_LIMITS
    schemas: tuple[Schema, ...] = field(init=False)  # every pair of outcomes, what decide_all points into

    def __post_init__(self) -> None:
        pairs = ((kept, rolled) for kept in self.retentions.outcomes for rolled in self.aggregations.outcomes)
        object.__setattr__(self, "schemas", tuple(Schema(kept, *rolled) for kept, rolled in pairs))

    @classmethod
    def load(cls, folder: Path | None) -> Rules:
        """The rules of a folder's files, None: the built-in ones; raises InvalidConfig."""
        if folder is None:
            return cls(_BUILT_IN_RETENTIONS, _BUILT_IN_AGGREGATIONS, None, ())
        if not folder.is_dir():
            raise InvalidConfig(
                str(folder), 0, "folder", "is no folder; without one the built-in rules decide"
            )
        # taken before reading: a file that is written meanwhile then counts as changed
        fingerprint = _fingerprint(folder)
        retentions = _read(folder / SCHEMAS_FILE, _retention, _BUILT_IN_RETENTIONS)
        aggregations = _read(folder / AGGREGATION_FILE, _aggregation, _BUILT_IN_AGGREGATIONS)
        return cls(retentions, aggregations, folder, fingerprint, Limits.load(folder))

    def changed(self) -> bool:
        """If a file was written, made or removed since it was read; three stat calls."""
        if self.folder is None:
            return False
        return _fingerprint(self.folder) != self.fingerprint or self.limits.changed()

    def decide(self, name: str) -> Decision:
        """The schema of a canonical name, and why."""
        kept, rolled = self.retentions.number(name), self.aggregations.number(name)
        schema = Schema(self.retentions.outcomes[kept], *self.aggregations.outcomes[rolled])
        return Decision(schema, self.retentions.words[kept], self.aggregations.words[rolled])

    def decide_all(self, names: Sequence[str]) -> list[int]:
        """The place in `schemas` of each canonical name's schema."""
        kept, rolled, width = (
            self.retentions.number,
            self.aggregations.number,
            len(self.aggregations.outcomes),
        )
        return [kept(name) * width + rolled(name) for name in names]


# --- built-in rules ---

_COLLECTED = ("hosts.", "collectd.", "stats.", "stats_counts.", "statsd.")

# The last node says how a name rolls up: what statsd, collectd, Dropwizard and Graphite's examples write.
# A node that ends in _total is a counter that only grows (Prometheus' custom): a sum of it means nothing,
# and rates need its last value. With tags the name ends at the first ";".
_SUM, _MAX, _MIN, _LAST, _AVERAGE = range(5)  # the order of _BUILT_IN_AGGREGATIONS
_ENDINGS = {
    "count": _SUM, "counter": _SUM, "sum": _SUM,
    "max": _MAX, "upper": _MAX, "min": _MIN, "lower": _MIN,
}  # fmt: skip
_PERCENTILES = {"upper": _MAX, "lower": _MIN}  # statsd's upper_90, upper_99_9 and lower_10


def _collected_number(name: str) -> int:
    return 0 if name.startswith(_COLLECTED) else 1


def _ending_number(name: str) -> int:
    if ";" in name:
        name = name[: name.index(";")]
    node = name[name.rfind(".") + 1 :]
    number = _ENDINGS.get(node)
    if number is not None:
        return number
    if name.startswith("stats_counts."):
        return _SUM
    if "_" not in node:
        return _AVERAGE
    if node.endswith("_total"):
        return _LAST
    word, _, percent = node.partition("_")
    return _PERCENTILES.get(word, _AVERAGE) if percent.replace("_", "").isdecimal() else _AVERAGE


_BUILT_IN_RETENTIONS = _Half(
    (retention.parse("10s:6h,1m:7d,10m:5y"), retention.parse("1m:30d,15m:5y")),
    ("built-in default 'collected every 10 s'", "built-in default 'everything else, every minute'"),
    _collected_number,
)
_BUILT_IN_AGGREGATIONS = _Half(
    tuple(_Aggregation(method, 0.0) for method in ("sum", "max", "min", "last", "average")),
    (
        "built-in default 'counts are summed'",
        "built-in default 'maxima keep the highest'",
        "built-in default 'minima keep the lowest'",
        "built-in default 'totals keep the last'",
        "built-in default 'everything else is averaged'",
    ),
    _ending_number,
)


# --- files ---


def _read(path: Path, outcome: Callable[[Section], _T], built_in: _Half[_T]) -> _Half[_T]:
    """A file's rules, with the last built-in rule behind them; without the file, the built-in rules."""
    text = text_of(path)
    if text is None:
        return built_in
    found = list(sections(str(path), text))
    searches = [search(section) for section in found]
    outcomes = [outcome(section) for section in found]
    words = [f"section [{section.name}] of {path.name}, line {section.line}" for section in found]
    number = first_match(searches)
    return _Half((*outcomes, built_in.outcomes[-1]), (*words, built_in.words[-1]), number)


def _retention(section: Section) -> Retention:
    section.allow_only(["pattern", "retentions"])
    option = section.option("retentions")
    try:
        return retention.parse(option.value)
    except InvalidRetention as error:
        section.refuse(option, str(error))


def _aggregation(section: Section) -> _Aggregation:
    section.allow_only(["pattern", "xFilesFactor", "aggregationMethod"])
    method, factor = "average", 0.0
    if "aggregationmethod" in section.options:
        method = _method(section, section.option("aggregationmethod"))
    if "xfilesfactor" in section.options:
        factor = _factor(section, section.option("xfilesfactor"))
    return _Aggregation(method, factor)


_METHODS = (*consolidation.WHISPER_METHODS, "avg", "count")
_METHODS_MAX = 8  # each is another file of every coarse archive


def _method(section: Section, option: Option) -> str:
    """`average`, or several to be kept side by side: `average,max,p95`."""
    methods = []
    for word in option.value.split(","):
        word = word.strip()
        if word not in _METHODS and not consolidation.is_percentile(word):
            said = f"{', '.join(_METHODS)}, median, p1 … p99.9"
            section.refuse(option, f"{word!r} is no method; there are {said}, or several with commas between")
        methods.append(consolidation.canonical(word))
    if len(set(methods)) < len(methods) or len(methods) > _METHODS_MAX:
        section.refuse(option, f"{option.value!r}: each method once, at most {_METHODS_MAX}")
    return ",".join(methods)


def _factor(section: Section, option: Option) -> float:
    try:
        factor = float(option.value)
    except ValueError:
        factor = -1.0
    if not 0 <= factor <= 1:
        section.refuse(option, f"{option.value!r} is no number from 0 to 1")
    return factor


def _fingerprint(folder: Path) -> tuple[tuple[int, int, int] | None, ...]:
    return tuple(map(stamp, (folder / SCHEMAS_FILE, folder / AGGREGATION_FILE)))
