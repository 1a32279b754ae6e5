"""/tags: which tags and values there are, and which series have them; seriesByTag() of /render is in the plan.

A series is tagged by its own path from its first datapoint on, so tagSeries and tagMultiSeries have nothing to do but
to answer the canonical paths, which is what carbon asks them for. Times (from, until) filter nothing, as in
graphite-web. Answers have no ids: those are of its database.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from render.api.response import NOT_CACHED, House, Response, failure, json_response
from render.conditions import prefixed, read_conditions, read_texts
from render.errors import ArgumentError, Deadline
from render.request import Parameters, Params
from storage.errors import InvalidName
from storage.naming import canonical, fault
from storage.tags import ANY, Condition, Texts

T = TypeVar("T")

_COMPLETED = 100  # tags or values that are given to complete with, unless limit says otherwise
_WHOLE = re.compile(r"[0-9]{1,9}")
# metric{tag="value",…}; within a value \" and \\ are the characters
_OPENMETRICS = re.compile(r'([^{]+)\{(.+)"\}', re.DOTALL)
_PAIR = re.compile(r'([^=]+)="((?:\\["\\]|[^"\\])+)(?:",|\Z)', re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\])')


# --- questions ---


def tags(params: Params, house: House, now: int) -> Response:
    """All tags, sorted, or those whose beginning `filter` matches. Raises ParameterError, as all here."""
    given = Parameters(params)
    texts, limit = _filter(given, house), _limit(given, house.http.found_max, house)
    pretty = given.pretty()
    given.check()
    found = house.source.tags((), texts, most=limit + 1)
    return json_response(
        [{"tag": tag} for tag in found[:limit]],
        pretty=pretty,
        headers=_headers(found, limit, house),
    )


def tag(name: str) -> Callable[[Params, House, int], Response]:
    """The view of one tag: its values and how many series have each; null if no series has the tag."""

    def view(params: Params, house: House, now: int) -> Response:
        given = Parameters(params)
        texts, limit = _filter(given, house), _limit(given, house.http.found_max, house)
        pretty = given.pretty()
        given.check()
        found = house.source.tag_values(name, (), texts, most=limit + 1)
        if not found and not house.source.tag_values(name, most=1):
            return json_response(None)
        values = [{"count": value.series, "value": value.text} for value in found[:limit]]
        return json_response(
            {"tag": name, "values": values}, pretty=pretty, headers=_headers(found, limit, house)
        )

    return view


def find_series(params: Params, house: House, now: int) -> Response:
    """The paths of the series that fulfil all of `expr`, sorted."""
    given = Parameters(params)
    if not _expressions(given):
        given.wrong("expr", "is missing: a tag expression such as name=cpu")
    conditions, pretty = _conditions(given, house), given.pretty()
    given.check()
    paths, _ = house.source.find_tagged(conditions)
    most = house.http.found_max
    return json_response(paths[:most], pretty=pretty, headers=_headers(paths, most, house))


def complete_tags(params: Params, house: House, now: int) -> Response:
    """The tags that begin with `tagPrefix`, of the series that fulfil all of `expr`, but not those of `expr`."""
    given = Parameters(params)
    conditions, limit = _conditions(given, house), _limit(given, _COMPLETED, house)
    pretty = given.pretty()
    given.check()
    asked = {condition.tag for condition in conditions}
    found = house.source.tags(conditions, prefixed(given.last("tagPrefix")), most=limit + len(asked))
    return json_response([tag for tag in found if tag not in asked][:limit], pretty=pretty)


def complete_values(params: Params, house: House, now: int) -> Response:
    """The values of `tag` that begin with `valuePrefix`, of the series that fulfil all of `expr`."""
    given = Parameters(params)
    name = given.last("tag")
    if not name:
        given.wrong("tag", "is missing: the tag whose values are wanted")
    # series without the tag have no value of it, so that conditions need not keep them out
    conditions, limit = _conditions(given, house, narrow=False), _limit(given, _COMPLETED, house)
    pretty = given.pretty()
    given.check()
    found = house.source.tag_values(name, conditions, prefixed(given.last("valuePrefix")), most=limit)
    return json_response([value.text for value in found], pretty=pretty)


# --- what clients of graphite-web's database do ---


def tag_series(params: Params, house: House, now: int) -> Response:
    """The canonical path of `path`. Raises InvalidName."""
    given = Parameters(params)
    if not given.last("path"):
        given.wrong("path", "is missing: a path such as cpu;host=web1")
    given.check()
    return json_response(_canonical(given.last("path")), pretty=given.pretty())


def tag_multi_series(params: Params, house: House, now: int) -> Response:
    """The canonical path of each `path`, in their order. Raises InvalidName."""
    given = Parameters(params)
    paths = _paths(given)
    given.check()
    return json_response(list(map(_canonical, paths)), pretty=given.pretty())


def delete_series(params: Params, house: House, now: int) -> Response:
    """true, when the series of each `path` are deleted, or if there are none; 403 where the house does not allow it."""
    given = Parameters(params)
    paths = _paths(given)
    given.check()
    if house.delete is None:
        return failure(
            "series are not deleted over HTTP here, where anybody may ask: use `plumbago delete`", 403
        )
    house.delete(list(map(_canonical, paths)))
    return json_response(True, pretty=given.pretty())


# --- parameters ---


def _expressions(given: Parameters) -> Sequence[str]:
    return given.every("expr") or given.every("expr[]")


def _paths(given: Parameters) -> Sequence[str]:
    paths = given.every("path") or given.every("path[]")
    if not paths:
        given.wrong("path", "is missing: a path such as cpu;host=web1, several if need be")
    return paths


def _conditions(given: Parameters, house: House, *, narrow: bool = True) -> list[Condition]:
    expressions = _expressions(given)
    if not expressions:
        return []
    return _read(given, "expr", lambda: read_conditions(expressions, _deadline(house), narrow=narrow), [])


def _filter(given: Parameters, house: House) -> Texts:
    pattern = given.last("filter")
    return _read(given, "filter", lambda: read_texts(pattern, _deadline(house)), ANY) if pattern else ANY


def _read(given: Parameters, name: str, read: Callable[[], T], default: T) -> T:
    try:
        return read()
    except ArgumentError as error:
        given.wrong(name, error.reason)
        return default


def _limit(given: Parameters, default: int, house: House) -> int:
    """How many are given at most."""
    most = house.http.found_max

    def convert(text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise ValueError(f"{text[:64]!r} is no whole number from 0 to {most}")
        return min(int(text), most)

    return given.read("limit", convert, min(default, most))


def _headers(found: Sequence[object], limit: int, house: House) -> dict[str, str]:
    """They tell when there is more than may be given."""
    cut = len(found) > limit and limit == house.http.found_max
    return {**NOT_CACHED, "X-Plumbago-Truncated": str(limit)} if cut else dict(NOT_CACHED)


def _deadline(house: House) -> Callable[[], None]:
    """A check that raises Deadline when the request has taken its time."""
    seconds = house.limits.duration_s
    until = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > until:
            raise Deadline(seconds)

    return check


# --- paths ---


def _canonical(path: str) -> str:
    """The path in its canonical form, also of `metric{tag="value",…}`; raises InvalidName."""
    found = canonical(_carbon(path) if path.endswith('"}') and "{" in path else path)
    wrong = fault(found.encode("utf-8", "surrogatepass"))
    if wrong:
        raise InvalidName(f"{path[:200]!r} is no path: {wrong.words}")
    return found


def _carbon(path: str) -> str:
    """`metric{tag="value",…}` as `metric;tag=value;…`; raises InvalidName."""
    whole = _OPENMETRICS.fullmatch(path)
    if whole is None:
        raise InvalidName(f'{path[:200]!r} is no metric{{tag="value",…}}')
    pairs, at = [], 0
    while at < len(whole[2]):
        pair = _PAIR.match(whole[2], at)
        if pair is None:
            raise InvalidName(f'{path[:200]!r} has no tag="value" at {whole[2][at : at + 64]!r}')
        value = _ESCAPE.sub(r"\1", pair[2])
        pairs.append(f"{pair[1]}={value}")
        at = pair.end()
    return ";".join([whole[1], *pairs])
