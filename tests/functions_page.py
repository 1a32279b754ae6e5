"""docs/functions.md: its begin is written by hand, all entries are made of the registry.

`python -m tests.functions_page` makes them anew; tests/render/test_manual.py keeps the two equal.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

from render.functions import REGISTRY
from render.functions.registry import AGGREGATIONS, Function, Param
from storage.consolidation import NAMES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "functions.md"
_MADE = "## All functions"
_GRAPHITE_WEB = frozenset(json.loads((ROOT / "tests/render/golden/signatures.json").read_text()))
_AGGREGATE = frozenset({*AGGREGATIONS, "first"})
# what carbonapi has beyond graphite-web; each aggregation is a function there too, also with "Series" behind
_CARBONAPI = frozenset({
    "aliasByBase64", "aliasByPostgres", "aliasByRedis", "aboveSeries", "baseline", "baselineAberration",
    "countValues", "exponentialWeightedMovingAverage", "ewma", "fft", "ifft", "graphiteWeb", "heatMap",
    "highestMin", "lowestMax", "lowestMin", "integralWithReset", "isNotNull", "join",
    "kolmogorovSmirnovTest2", "ksTest2", "logarithm", "lowPass", "lpf", "pearson", "pearsonClosest",
    "polyfit", "powSeriesLists", "removeZeroSeries", "scaleAfterTimestamp", "slo", "sloErrorBudget",
    "timeShiftByMetric", "toLowerCase", "toUpperCase", "tukeyAbove", "tukeyBelow",
})  # fmt: skip
_GROUPS = {  # in the order in which one reads; others follow by name
    "Combine": "Many series into one, or into one for each group; and pairs of series.",
    "Transform": "Another value for each value.",
    "Calculate": "What windows of points, or whole series, say: averages, percentiles, forecasts.",
    "Filter Series": "Some of the series, as they are. What they are chosen by is counted over the whole window.",
    "Filter Data": "Some of the datapoints: the others are missing then, and no series goes.",
    "Sorting": "Another order. Series that are equal stay in the order they had.",
    "Alias": 'Another name in the answer. What outer functions print stays: `sumSeries(alias(a.*, "x"))` is called\n'
    "`sumSeries(a.*)`, so put the alias outside.",
    "Special": "Lines that are made up, and how series are to be read and merged.",
    "Graph": "How the server's own pictures are drawn; Grafana has settings of its own. Values stay, but for\n"
    "those of `stacked`.",
}


def page() -> str:
    """The page as it should be: what is written as it is, the entries anew."""
    parts = [written(), _contents(), _aggregations()]
    for group, functions in _grouped().items():
        parts.append(f"## {group} functions\n")
        parts += [f"{_GROUPS[group]}\n"] if group in _GROUPS else []
        parts += [_entry(function) for function in functions]
    return "\n".join(parts)


def written() -> str:
    """What is written by hand."""
    return PAGE.read_text().partition(_MADE)[0].rstrip("\n") + "\n"


def anchor(heading: str) -> str:
    """What GitHub makes of a heading: the part of a link behind #."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def origin(name: str) -> str:
    if name in _GRAPHITE_WEB:
        return "graphite-web"
    return "carbonapi" if name in _CARBONAPI or name.removesuffix("Series") in _AGGREGATE else "Plumbago"


def _grouped() -> dict[str, list[Function]]:
    """Each function once, under the first of its names, in the groups."""
    found: dict[str, list[Function]] = {group: [] for group in _GROUPS}
    for name, function in sorted(REGISTRY.functions.items(), key=lambda item: item[0].lower()):
        if _first(function) == name:
            found.setdefault(function.group, []).append(function)
    return {group: functions for group, functions in found.items() if functions}


def _first(function: Function) -> str:
    """The name that it stands under: the one that was registered first."""
    return next(name for name, one in REGISTRY.functions.items() if one.run is function.run)


def _contents() -> str:
    lines = [
        f"{_MADE}\n",
        "Made of the sources by `python -m tests.functions_page`; a test keeps the two the same.\n",
    ]
    for group, functions in _grouped().items():
        links = ", ".join(f"[{function.name}](#{anchor(function.name)})" for function in functions)
        lines.append(f"**[{group}](#{anchor(f'{group} functions')})**: {links}\n")
    return "\n".join(lines)


def _aggregations() -> str:
    names = ", ".join(f"`{name}`" for name in dict.fromkeys([*AGGREGATIONS, *NAMES]))
    return (
        "## Aggregations\n\n"
        f"Where a function takes an aggregation there are {names}, and any percentile from `p0` to `p99.9…`, on the\n"
        "straight line between the two nearest values. Missing values are left out; `avg_zero` counts them as 0, and\n"
        "`multiply` is missing where any value is.\n"
    )


def _entry(function: Function) -> str:
    """One function of the manual."""
    others = REGISTRY.others(function)
    also = f" · also {', '.join(f'`{name}`' for name in others)}" if others else ""
    lines = [f"### {function.name}\n", f"`{function.signature}`\n", f"*{origin(function.name)}*{also}\n"]
    if text := _text(function):
        lines.append(f"{text}\n")
    if told := [param for param in function.params if not _is_plain(param)]:
        lines.append("\n".join(_parameter(param) for param in told) + "\n")
    if function.examples:
        lines.append("\n".join(["```", *function.examples, "```"]) + "\n")
    return "\n".join(lines)


def _text(function: Function) -> str:
    lines = [line for line in function.description.splitlines() if not line.startswith("Example: ")]
    return "\n".join(lines).strip()


def _is_plain(param: Param) -> bool:
    """The lists of series that come first need no words."""
    return param.name in ("seriesList", "seriesLists")


def _parameter(param: Param) -> str:
    takes = f"{param.takes}, any number of them" if param.multiple else param.takes
    if param.options:
        takes = "one of " + ", ".join(_shown(option) for option in param.options if option is not None)
    elif "aggregation" in takes:
        takes = takes.replace("an aggregation", "an [aggregation](#aggregations)")
    if param.default is not None:
        takes += f"; {_shown(param.default)} if not given"
    elif not param.required and not param.multiple:
        takes += "; may be left out"
    if param.suggestions and not param.type.startswith("agg"):
        takes += f"; such as {', '.join(_shown(one) for one in param.suggestions)}"
    return f"- `{param.name}`: {takes}"


def _shown(value: object) -> str:
    """A value as it is written in a target."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and math.isinf(value):
        return "`inf`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:g}`"


def blocks(text: str, language: str) -> Iterator[str]:
    """The code of a language that stands on a page."""
    for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield found[1]


if __name__ == "__main__":
    PAGE.write_text(page())
