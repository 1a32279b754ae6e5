"""/render: targets → datapoints in one of the formats."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from render.api import carbonapi
from render.api.cache import Watch, key_of
from render.api.response import House, Response, called, json_response
from render.explain import Trace
from render.formats import FORMATS, Format
from render.graph import pie
from render.plan import render
from render.reading import Request, Window
from render.request import Parameters, Params, RenderRequest, parse_render
from render.series import SeriesList

_STREAMED_POINTS = 1_000_000  # from so many on an answer is sent while it is made: 20 MB
_TOLD_S = 0.1  # the steps of what takes longer are told


def view(params: Params, house: House, now: int) -> Response:
    """Raises RenderError. Without a target the answer is an empty list, as graphite-web's."""
    request = parse_render(params, now)
    if request.explain:
        return _explained(request, house) if house.elsewhere is None else house.elsewhere(params, now)
    if house.cache is None or not request.may_be_kept or "now" in params or Parameters(params).body:
        return _new(params, request, house, now)
    key, window = key_of("/render", params, house.source), Window(request.start, request.until)
    at_once = not house.limits.may_wait
    found = house.cache.find(key, window, now, house.source, request.cache_s, at_once=at_once)
    if found is not None:
        return replace(found, account={"cache": "hit"})
    response = house.cache.within_bounds(_new(params, request, house, now))
    house.cache.keep(key, response)
    return response


def _new(params: Params, request: RenderRequest, house: House, now: int) -> Response:
    """An answer of now, by another process if there is one for it."""
    if house.elsewhere is not None:
        return house.elsewhere(params, now)
    began, trace, form = time.perf_counter(), Trace(), FORMATS[request.format]
    age = 0 if house.cache is None else house.cache.bounds.max_age_s
    watch = Watch(house.source, Window(request.start, request.until), now, age)
    sent = Parameters(params).body
    if request.format == carbonapi.V3 and sent and not request.targets:
        body, rest = carbonapi.fetch(sent, request, house), None
    else:
        body, rest = _encoded(form, evaluate(request, house, trace, watch.admitted), request)
    return Response(
        *called(body, form.content_type, request.jsonp if form.is_script else None),
        headers=_caching(request),
        rest=rest,
        # a picture's axis begins and ends with the window, to the second
        reuse=watch.reuse(exact=form.is_picture),
        account=_account(request, trace, watch.request, time.perf_counter() - began),
    )


def _encoded(
    form: Format, series: SeriesList, request: RenderRequest
) -> tuple[bytes, Iterator[bytes] | None]:
    """The body, and what follows it where there is much of it."""
    points = sum(block.values.size for block in series.blocks)
    if form.chunks is None or request.jsonp or request.presentation.pretty or points < _STREAMED_POINTS:
        return form.encode(series, request.presentation), None
    return b"", form.chunks(series, request.presentation)


def _account(request: RenderRequest, trace: Trace, read: Request | None, seconds: float) -> Mapping[str, Any]:
    """What it has cost; the plan's steps where that is much."""
    told: dict[str, Any] = {
        "seconds": seconds,
        "series": read.series if read is not None else 0,
        "points": read.read if read is not None else 0,
        "cache": "miss",
    }
    if seconds > _TOLD_S:
        told["targets"], told["window"] = list(request.targets), [request.start, request.until]
        told["steps"] = [step.as_dict() for step in trace.steps]
    return told


def _explained(request: RenderRequest, house: House) -> Response:
    """What was done for the targets, step by step, and how long each took; nothing is encoded."""
    trace = Trace()
    found = evaluate(request, house, trace)
    window = {"from": request.start, "until": request.until, "now": request.now}
    return json_response(
        {**window, "series": len(found), "steps": [step.as_dict() for step in trace.steps]},
        pretty=request.presentation.pretty,
    )


def evaluate(
    request: RenderRequest,
    house: House,
    trace: Trace | None = None,
    admitted: Callable[[Request], None] = lambda _: None,
) -> SeriesList:
    """The series of all targets, in their order; a pie's may be plain numbers: `name:value`."""
    is_pie = request.presentation.drawing.graph_type == "pie"
    plain = [pie.literal(target) if is_pie else None for target in request.targets]
    lists = render(
        house.source,
        [target for target, number in zip(request.targets, plain, strict=True) if number is None],
        start=request.start,
        until=request.until,
        now=request.now,
        zone=request.zone,
        x_files_factor=request.x_files_factor,
        variables=request.variables,
        limits=house.limits,
        extras=house.extras,
        cancelled=house.cancelled,
        trace=trace,
        stitched=request.stitch,
        admitted=admitted,
    )
    evaluated = iter(lists)
    return SeriesList.concat(next(evaluated) if number is None else number for number in plain)


def _caching(request: RenderRequest) -> Mapping[str, str]:
    """A cache may give an answer again unasked for as long as the request says; graphite-web's 60 s hide points."""
    if request.cache_s and request.may_be_kept:
        return {"Cache-Control": f"max-age={request.cache_s}"}
    if request.may_be_kept:
        return {"Cache-Control": "max-age=0, no-cache, must-revalidate, private"}
    return {"Cache-Control": "max-age=0, no-cache, no-store, must-revalidate, private"}
