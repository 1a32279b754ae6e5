"""What targets mean, as text that can be read: each script in targets/*.txt is a test.

    == what the script shows                     the test's name

    load every 1min from 12:00                   series: the step and the time of the first value
      a.one   1 2 _ 4                            a path and its values; `_` is a missing one
      a.two   5*2 10+5..20                       5 5 and 10 15 20
    load every 5min from 12:00 by sum            another step; how its points merge (average if not said)
      b       7

    render sumSeries(a.*)                        a target
      from 12:00                                 the window is (from, until]; if not said, from is a step
      until 12:03                                before the first value and until is the last value's time
      target b                                   another target of the same request
      maxDataPoints 2                            any parameter of a request: now, tz, xFilesFactor, template[x] …

    expect every 1min from 12:00                 the answer's grid, if the script is about that
      sumSeries(a.*) -> 6 7 10 14.00…            names and values in order; 14.00… is cut after so many digits
    expect nothing                               or no series,
    expect error takes a number                  or an error that says so,
    expect json                                  or the very answer (all lines joined)
      [{"target": …}]

Times are of 2024-03-04 unless they have a date, in `tz` (UTC if not said). Lines that begin with # say why.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from render.errors import RenderError
from render.formats import json as json_format
from render.formats.consolidate import consolidated
from render.formats.presentation import Presentation
from render.plan import render
from render.series import SeriesList
from render.timespec import parse_interval
from tests.render.memory import MemorySource

HERE = Path(__file__).parent / "targets"
_DAY = "2024-03-04"
_OPTIONS = {
    "target", "from", "until", "now", "tz", "maxDataPoints", "xFilesFactor", "noNullPoints",
}  # fmt: skip
_LOAD = re.compile(r"every (?P<step>\w+) from (?P<start>[\d: -]+?)(?: by (?P<by>\w+))?")
_RANGE = re.compile(r"(-?[\d.]+)([+-][\d.]+)\.\.(-?[\d.]+)")
_TEMPLATE = re.compile(r"template\[(\w+)\]")


@dataclass
class Section:
    """A keyword, the rest of its line, and the indented lines below."""

    keyword: str
    rest: str
    lines: list[str] = field(default_factory=list)


@dataclass
class Script:
    title: str
    sections: list[Section] = field(default_factory=list)

    def of(self, keyword: str) -> list[Section]:
        return [section for section in self.sections if section.keyword == keyword]


def scripts(text: str) -> Iterator[Script]:
    script = Script("")
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("== "):
            if script.title:
                yield script
            script = Script(line.removeprefix("== "))
        elif line.startswith("  ") and script.sections:
            script.sections[-1].lines.append(line.strip())
        elif line.strip() and not line.startswith("#"):
            keyword, _, rest = line.partition(" ")
            assert script.title, f"line {number}: a script begins with == and its title"
            assert keyword in ("load", "render", "expect"), f"line {number}: {keyword!r}"
            script.sections.append(Section(keyword, rest.strip()))
    yield script


def every_script() -> list[Any]:
    return [
        pytest.param(script, id=f"{path.stem}: {script.title}")
        for path in sorted(HERE.glob("*.txt"))
        for script in scripts(path.read_text())
    ]


# --- reading ---


def values_of(text: str) -> list[float | None]:
    """`1 _ 5*2 10+5..20` → 1, None, 5, 5, 10, 15, 20."""
    out: list[float | None] = []
    for word in text.split():
        value, _, times = word.partition("*")
        if found := _RANGE.fullmatch(word):
            first, step, last = map(float, found.groups())
            count = round((last - first) / step) + 1
            assert count > 1, word
            assert first + (count - 1) * step == pytest.approx(last), word
            out += [first + i * step for i in range(count)]
        else:
            out += [None if value == "_" else float(value)] * int(times or 1)
    return out


def moment(text: str, zone: tzinfo) -> int:
    """Epoch seconds of `12:00` or `2024-03-31 01:00`."""
    whole = text if "-" in text else f"{_DAY} {text}"
    return int(datetime.fromisoformat(whole).replace(tzinfo=zone).timestamp())


@dataclass
class Asked:
    """A request and what it is asked of."""

    source: MemorySource
    targets: list[str]
    options: dict[str, str]
    zone: tzinfo
    first: int  # epoch seconds: a step before the first value
    last: int

    def time(self, option: str, default: int) -> int:
        return moment(self.options[option], self.zone) if option in self.options else default

    def lists(self) -> list[SeriesList]:
        start, until = self.time("from", self.first), self.time("until", self.last)
        variables = {name[1]: v for k, v in self.options.items() if (name := _TEMPLATE.fullmatch(k))}
        return render(
            self.source,
            self.targets,
            start=start,
            until=until,
            now=self.time("now", until),
            zone=self.zone,
            x_files_factor=float(self.options["xFilesFactor"]) if "xFilesFactor" in self.options else None,
            variables=variables,
        )

    @property
    def presentation(self) -> Presentation:
        most = self.options.get("maxDataPoints")
        return Presentation(
            self.zone, int(most) if most else None, no_null_points="noNullPoints" in self.options
        )


def asked(script: Script) -> Asked:
    (render_,) = script.of("render")
    options = {key: value for key, _, value in (line.partition(" ") for line in render_.lines)}
    unknown = {key for key in options if key not in _OPTIONS and not _TEMPLATE.fullmatch(key)}
    assert not unknown, f"no such option: {unknown}"
    targets = [
        render_.rest,
        *(line.split(maxsplit=1)[1] for line in render_.lines if line.startswith("target ")),
    ]
    zone = ZoneInfo(options.get("tz", "UTC"))
    source, begins, ends = MemorySource(), [], []
    for section in script.of("load"):
        found = _LOAD.fullmatch(section.rest)
        assert found, f"load {section.rest}"
        step, start = parse_interval(found["step"]), moment(found["start"], zone)
        for line in section.lines:
            path, _, text = line.partition(" ")
            row = values_of(text)
            source.add(path, start, step, row, found["by"] or "average")
            begins.append(start - step)
            ends.append(start + (len(row) - 1) * step)
    return Asked(source, targets, options, zone, min(begins), max(ends))


# --- judging ---


def same(got: float, expected: str) -> bool:
    if expected == "_":
        return math.isnan(got)
    digits = expected.removesuffix("…")
    if digits == expected:
        return math.isclose(got, float(expected), rel_tol=1e-9, abs_tol=1e-12)
    shown = len(digits.partition(".")[2])
    return math.trunc(round(got * 10.0**shown, 6)) == round(float(digits) * 10.0**shown)


def words_of(text: str) -> list[str]:
    """Expected values as words, repetitions and ranges written out."""
    out: list[str] = []
    for word in text.split():
        if word.endswith("…"):
            out.append(word)
        else:
            out += ["_" if value is None else repr(value) for value in values_of(word)]
    return out


def check_series(expect: Section, request: Asked) -> None:
    found = SeriesList.concat(request.lists())
    if request.presentation.max_data_points:
        found = consolidated(found, request.presentation.max_data_points)
    expected = [(name.strip(), text) for name, _, text in (line.rpartition("->") for line in expect.lines)]
    assert found.names == [name for name, _ in expected]
    for one, (name, text) in zip(found, expected, strict=True):
        words = words_of(text)
        got = one.values.tolist()
        shown = " ".join("_" if math.isnan(value) else f"{value:g}" for value in got)
        right = len(got) == len(words) and all(map(same, got, words))
        assert right, f"{name} -> {shown}"
        if grid := _LOAD.fullmatch(expect.rest):
            step, start = parse_interval(grid["step"]), moment(grid["start"], request.zone)
            assert (one.step, one.start) == (step, start), name


@pytest.mark.parametrize("script", every_script())
def test_a_target_means_what_its_script_says(script: Script) -> None:
    request = asked(script)
    (expect,) = script.of("expect")
    kind, _, said = expect.rest.partition(" ")
    if kind == "error":
        with pytest.raises(RenderError, match=re.escape(said)):
            request.lists()
    elif kind == "nothing":
        assert not any(request.lists())
    elif kind == "json":
        body = json_format.encode(SeriesList.concat(request.lists()), request.presentation)
        assert json.loads(body) == json.loads(" ".join(expect.lines))
    else:
        assert not kind or _LOAD.fullmatch(expect.rest), expect.rest
        check_series(expect, request)


# --- the reader itself ---


def test_values_are_read_as_they_are_written() -> None:
    assert values_of("1 _ -2.5*2 _*2 10+5..20 3-1..1") == [
        1,
        None,
        -2.5,
        -2.5,
        None,
        None,
        10,
        15,
        20,
        3,
        2,
        1,
    ]


def test_a_number_that_is_cut_is_compared_as_far_as_it_goes() -> None:
    assert same(33.3333, "33.33…")
    assert same(2 / 3, "0.66…")
    assert not same(33.34, "33.33…")
    assert not same(33.3333, "33.33")
    assert same(math.nan, "_")
    assert not same(math.nan, "0.0")


def test_a_script_that_expects_otherwise_fails() -> None:
    text = "== t\nload every 1min from 12:00\n  a 1 2\nrender a\nexpect\n  a -> {}\n"
    (right,), (wrong,) = scripts(text.format("1 2")), scripts(text.format("1 3"))
    test_a_target_means_what_its_script_says(right)
    with pytest.raises(AssertionError, match="a -> 1 2"):
        test_a_target_means_what_its_script_says(wrong)
