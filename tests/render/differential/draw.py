"""Cases for the differential tests: worlds of drawn series, and targets of every function with drawn arguments.

    python -m tests.render.differential.draw | PYTHON_WITH_GRAPHITE_WEB tests/render/differential/make.py

hypothesis draws them, the same each time. A world has always the same paths, so that a target means something in
each of them, and other values. What a function takes comes from its registered parameters; texts that must mean
something come from TEXTS.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from render.functions import REGISTRY
from render.functions.registry import AGGREGATIONS, Function, Param
from tests.render.golden.series import Points

SIGNATURES = Path(__file__).parents[1] / "golden" / "signatures.json"
HERE_S = 1_600_000_200  # a multiple of 300, as the steps are
BEFORE_S, AFTER_S = 7200, 1800  # how far the data reaches before and after it
WORLDS = 8
OF_ELSEWHERE = {"events"}  # draws what a database holds, which is not here
DRAWN = 90  # cases a function, of which make.py keeps those that say something

WINDOWS = {  # start and until
    "inside": (HERE_S, HERE_S + 1200),
    "one point": (HERE_S, HERE_S + 60),
    "before": (HERE_S - 9600, HERE_S - 9000),
    "from before": (HERE_S - 9000, HERE_S - 6600),
    "to after": (HERE_S + 900, HERE_S + 3000),
    "off the grid": (HERE_S + 17, HERE_S + 1034),
}
ALWAYS = {  # asked whatever is drawn: what we answer otherwise, and only few draws would show
    "averageOutsidePercentile": ["averageOutsidePercentile(odd.*.inf,0)"],
    "holtWintersAberration": ["holtWintersAberration(scale(web.*.cpu,-2),10)"],
    "movingAverage": ["movingAverage(web.*.cpu,'90s')"],
    "stdev": ["stdev(web.*.cpu,2)"],
}
MIXED = ("{web,fine}.*.cpu", "{fine,coarse}.*.cpu", "group(web.*.cpu,coarse.*.cpu)")
_WHOLE = ("web.*.cpu", "web.*.req", "web.{a,b}.*", "disk.*.used", "fine.*.cpu", "coarse.*.cpu")
_ODD = (
    "odd.*.none",
    "odd.*.one",
    "odd.*.flat",
    "odd.*.huge",
    "odd.*.tiny",
    "odd.*.inf",
    "odd.a.{flat,none,one}",
)
_TAGGED = ("seriesByTag('name=load')", "seriesByTag('dc=~east|west')", "load;dc=east;host=a")
_INNER = ("scale(web.*.cpu,-2)", "sumSeries(web.*.req)", "alias(disk.a.used,'d e')", "nothing.here")


def worlds() -> list[dict[str, Points]]:
    found: list[dict[str, Points]] = []

    @_drawing(WORLDS)
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        found.append(_world(data))

    draw()
    return found


def cases(function: Function) -> list[dict[str, Any]]:
    """Targets of a function, each with its world, window and the request's xFilesFactor."""
    found: dict[str, dict[str, Any]] = {}

    @_drawing(DRAWN)
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        case = {
            "target": f"{function.name}({','.join(_arguments(function, data))})",
            "world": data.draw(st.integers(0, WORLDS - 1)),
            "window": data.draw(st.sampled_from([WINDOWS["inside"], *WINDOWS.values()])),
            "xFilesFactor": data.draw(st.sampled_from([None, None, None, 0.3, 1.0])),
        }
        if function.name in _WITHIN:
            case["target"] = _WITHIN[function.name] % case["target"]
        found.setdefault(json.dumps(case), case)

    draw()
    always = [
        {"target": target, "world": world, "window": WINDOWS["inside"], "xFilesFactor": None, "always": True}
        for target in ALWAYS.get(function.name, ())
        for world in range(WORLDS)
    ]
    return [*found.values(), *always]


def _drawing(how_many: int) -> Callable[[Callable[[], None]], Callable[[], None]]:
    return settings(
        max_examples=how_many, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def _world(data: st.DataObject) -> dict[str, Points]:
    quarters = st.integers(-400, 400).map(lambda n: n / 4)
    anything = st.floats(-1e6, 1e6, allow_subnormal=False)
    huge = st.floats(1e298, 1e300) | st.floats(-1e300, -1e298)
    tiny = st.floats(1e-300, 1e-200) | st.floats(-1e-200, -1e-300)
    world: dict[str, Points] = {}
    for host in "abcd":
        world[f"web.{host}.cpu"] = _picked(data, st.one_of(quarters, anything) if host == "d" else quarters)
        world[f"web.{host}.req"] = _counter(data)
    for disk in "abc":
        world[f"disk.{disk}.used"] = _picked(data, quarters.map(abs))
        world[f"disk.{disk}.total"] = _picked(data, quarters.map(lambda n: abs(n) + 100), kinds=2)
    for place in "ab":
        world[f"fine.{place}.cpu"] = _picked(data, quarters, step=10)
        world[f"coarse.{place}.cpu"] = _picked(data, quarters, step=300)
        world[f"odd.{place}.flat"] = _picked(data, anything, kinds=1, gaps=[0])
        world[f"odd.{place}.huge"] = _picked(data, huge)
        world[f"odd.{place}.tiny"] = _picked(data, tiny)
    world["odd.a.none"] = _picked(data, st.none())
    world["odd.a.one"] = _picked(data, quarters, gaps=[0.97])
    world["odd.a.inf"] = _picked(data, quarters | st.sampled_from([float("inf"), float("-inf")]), kinds=9)
    for tags in ("load;dc=east;host=a", "load;dc=east;host=b", "load;dc=west;host=c", "temp;dc=west;host=c"):
        world[tags] = _picked(data, quarters)
    return world


def _picked(
    data: st.DataObject,
    values: st.SearchStrategy[float] | st.SearchStrategy[None],
    *,
    step: int = 60,
    kinds: int = 12,
    gaps: list[float] | None = None,
) -> Points:
    """A series that takes a few drawn values in turn, with so many gaps."""
    palette = data.draw(st.lists(values, min_size=kinds, max_size=kinds))
    gap = data.draw(st.sampled_from(gaps or [0, 0.1, 0.5]))
    dice = random.Random(data.draw(st.integers(0, 1 << 32)))
    points = [
        None if dice.random() < gap else dice.choice(palette) for _ in range((BEFORE_S + AFTER_S) // step)
    ]
    return Points(HERE_S - BEFORE_S, step, points)


def _counter(data: st.DataObject) -> Points:
    """What only grows but for restarts."""
    growth, wrap = data.draw(st.integers(1, 50)), data.draw(st.integers(100, 2000))
    gap = data.draw(st.sampled_from([0, 0.1]))
    dice = random.Random(data.draw(st.integers(0, 1 << 32)))
    total, points = 0, list[float | None]()
    for _ in range((BEFORE_S + AFTER_S) // 60):
        total = (total + dice.randint(0, growth)) % wrap
        points.append(None if dice.random() < gap else float(total))
    return Points(HERE_S - BEFORE_S, 60, points)


def _texts(*values: str) -> st.SearchStrategy[str]:
    return st.sampled_from([repr(value) for value in values])


_INTERVALS = _texts("1min", "3min", "5min", "10min", "90s", "1h")
_LISTS = st.one_of(*map(st.sampled_from, (_WHOLE, _WHOLE, _WHOLE, _ODD, _TAGGED, _INNER)))
_MIXED_TOO = st.integers(0, 9).flatmap(lambda n: st.sampled_from(MIXED) if n == 9 else _LISTS)
_NUMBERS = st.sampled_from(["0", "1", "-1", "2", "0.5", "-3.75", "10", "50", "95", "1000"])
_NODES = st.sampled_from(["0", "1", "2"])
TYPES: dict[str, st.SearchStrategy[str]] = {
    "seriesList": _MIXED_TOO,
    "seriesLists": st.sampled_from(["mapSeries(disk.*.*,1)", "mapSeries(disk.{a,b}.*,1)", "map(disk.a.*,0)"]),
    "float": _NUMBERS,
    "integer": st.sampled_from(["0", "1", "2", "3", "5", "-1"]),
    "intOrInf": st.sampled_from(["0", "1", "2", "5", "inf"]),
    "boolean": st.sampled_from(["true", "false"]),
    "node": _NODES,
    "nodeOrTag": _NODES | _texts("dc", "name"),
    "tag": _texts("dc", "host", "name", "absent"),
    "interval": _INTERVALS,
    "intOrInterval": _INTERVALS | st.sampled_from(["1", "2", "5", "7", "30"]),
    "aggFunc": _texts(*AGGREGATIONS),
    "aggOrSeriesFunc": _texts(*AGGREGATIONS, "sumSeries", "averageSeries"),
    "date": _texts(*(str(HERE_S + s) for s in (-600, 0, 300, 630, 900))),
    "any": st.sampled_from(["none", "50", "200", "web.a.cpu", "disk.*.total", "sumSeries(disk.*.used)"]),
}  # fmt: skip
_MATCHES = _texts("a", r"web\.[ab]", "used$", "^d", "no such")
TEXTS: dict[tuple[str, str], st.SearchStrategy[str]] = {
    ("alias", "newName"): _texts("x", "a b", "brackets (of, them)", "é.ü"),
    ("aliasQuery", "search"): _texts("used", r"disk\.(.)\.used", "cpu"),
    ("aliasQuery", "replace"): _texts("total", r"disk.\1.total", "req"),
    ("aliasQuery", "newName"): _texts("of %d", "%g", "%5.1f|", "x"),
    ("aliasSub", "search"): _texts(r"\.", "web", r"^.*\.(\w+)$", "(.)", "a*"),
    ("aliasSub", "replace"): _texts("", "-", r"<\1>", "x.y"),
    ("applyByNode", "templateFunction"): _texts(
        "sumSeries(%.*)", "scale(%.*,2)", "%.cpu", "maxSeries(%.*.*)"
    ),
    ("applyByNode", "newName"): _texts("%", "all of %", "x"),
    ("cactiStyle", "units"): _texts("B", "req/s"),
    ("color", "theColor"): _texts("red", "#ff00aa", "00ff00"),
    ("consolidateBy", "consolidationFunc"): _texts("sum", "average", "min", "max", "first", "last"),
    ("exclude", "pattern"): _MATCHES,
    ("grep", "pattern"): _MATCHES,
    ("integralByInterval", "intervalUnit"): _INTERVALS,
    ("reduceSeries", "reduceFunction"): _texts("asPercent", "divideSeries", "diffSeries"),
    ("reduceSeries", "reduceNode"): st.just("2"),
    ("reduceSeries", "reduceMatchers"): _texts("used", "total"),
    ("seriesByTag", "tagExpressions"): _texts(
        "name=load", "dc=east", "dc=~e|w", "host!=a", "name=~.*", "host!=~[ab]"
    ),
    ("map", "mapNodes"): _NODES,
    ("mapSeries", "mapNodes"): _NODES,
    ("stacked", "stack"): _texts("a", "b"),
    ("useSeriesAbove", "search"): _texts("req"),
    ("useSeriesAbove", "replace"): _texts("cpu"),
}
_NAMES = _texts("x", "a.b", "x y")
_FIRST = {  # what the functions that take two lists can make something of
    "divideSeries": ("web.a.cpu", "disk.*.total", "sumSeries(web.*.cpu)"),
    "transformNull": ("web.a.cpu", "fine.a.cpu", "odd.*.one"),
    "weightedAverage": ("disk.*.total", "web.*.req"),
}
_MEANT = {  # for others of these functions graphite-web mostly has an error or nothing
    "areaBetween": ("web.{a,b}.cpu", "disk.{b,c}.used", "odd.*.huge", "web.a.{cpu,req}", "web.*.cpu"),
    "groupByTags": ("seriesByTag('name=load')", "seriesByTag('dc=~east|west')", "load;dc=east;host=a"),
    "grep": ("web.*.*", "disk.*.*", "*.*.*"),
    "holtWintersConfidenceArea": ("web.a.cpu", "disk.b.used", "web.c.req", "odd.a.flat", "odd.b.tiny"),
    "map": ("web.*.*", "*.*.*", "web.{a,b}.*"),
    "mapSeries": ("disk.*.*", "*.*.*", "disk.{a,b}.*"),
    "logit": ("scale(web.*.cpu,0.01)", "scale(disk.*.used,0.005)", "odd.*.*"),
    "removeBetweenPercentile": ("odd.*.flat", "interpolate(disk.*.*)", "transformNull(web.*.*)", "web.*.cpu"),
    "useSeriesAbove": ("web.*.req", "transformNull(web.*.req)", "keepLastValue(web.{a,b}.req)"),
    "weightedAverage": ("disk.*.used", "web.*.cpu", "interpolate(disk.*.used)"),
}
_WHOLLY = {"timeSlice"}  # without an end it asks the clock
# what they give is for reduceSeries() alone
_WITHIN = {
    "map": "reduceSeries(%s,'sumSeries',2,'cpu','req')",
    "mapSeries": "reduceSeries(%s,'diffSeries',2,'used','total')",
}
_SMALL = {  # a step that is not positive, and graphite-web never ends
    "step": ("10", "60", "300"),
    "timeShiftStart": ("0", "1", "2"),
    "timeShiftEnd": ("0", "1", "3"),
}
_OTHER_NAMES = {"reduce": "reduceSeries"}


def _arguments(function: Function, data: st.DataObject) -> Iterator[str]:
    """Arguments by place: all that are required, and as many of the others as are drawn."""
    count = data.draw(st.integers(0, len(function.params)))
    if function.name in _WHOLLY:
        count = len(function.params)
    for i, param in enumerate(function.params):
        if i >= count and not param.required:
            return
        many = data.draw(st.integers(1, 3)) if param.multiple else 1
        for _ in range(many):
            yield data.draw(_values(function, param, first=i == 0))


def _values(function: Function, param: Param, *, first: bool) -> st.SearchStrategy[str]:
    name = _OTHER_NAMES.get(function.name, function.name)
    if first and name in _MEANT:
        return st.sampled_from(_MEANT[name])
    if (name, param.name) in TEXTS:
        return TEXTS[name, param.name]
    if param.options and param.type == "string":
        return _texts(*map(str, param.options))
    if param.type == "string":
        suggested = [str(text) for text in param.suggestions or ()]
        return _texts(*suggested) if suggested else _NAMES
    if param.type == "seriesList" and not first and function.name in _FIRST:
        return st.sampled_from(_FIRST[function.name])
    if param.name in _SMALL:
        return st.sampled_from(_SMALL[param.name])
    if function.name.startswith("holtWinters") and param.type == "interval":
        return _texts("1h", "90min") if param.name == "bootstrapInterval" else _texts("10min", "20min")
    return TYPES[param.type]


def main() -> None:
    names = [name for name in json.loads(SIGNATURES.read_text()) if name not in OF_ELSEWHERE]
    drawn = {"worlds": worlds(), "cases": {name: cases(REGISTRY.functions[name]) for name in names}}
    json.dump(drawn, sys.stdout)


if __name__ == "__main__":
    main()
