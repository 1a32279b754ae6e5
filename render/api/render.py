"""/render: targets → datapoints in one of the formats."""

from __future__ import annotations

from collections.abc import Mapping

from render.api import carbonapi
from render.api.response import House, Response, called, json_response
from render.explain import Trace
from render.formats import FORMATS
from render.graph import pie
from render.plan import render
from render.request import Parameters, Params, RenderRequest, parse_render
from render.series import SeriesList


def view(params: Params, house: House, now: int) -> Response:
    """Raises RenderError. Without a target the answer is an empty list, as graphite-web's."""
    request = parse_render(params, now)
    if house.elsewhere is not None:
        return house.elsewhere(params, now)
    if request.explain:
        return _explained(request, house)
    form, sent = FORMATS[request.format], Parameters(params).body
    if request.format == carbonapi.V3 and sent and not request.targets:
        body = carbonapi.fetch(sent, request, house)
    else:
        body = form.encode(evaluate(request, house), request.presentation)
    jsonp = request.jsonp if form.is_script else None
    return Response(*called(body, form.content_type, jsonp), headers=_caching(request))


def _explained(request: RenderRequest, house: House) -> Response:
    """What was done for the targets, step by step, and how long each took; nothing is encoded."""
    trace = Trace()
    found = evaluate(request, house, trace)
    window = {"from": request.start, "until": request.until, "now": request.now}
    return json_response(
        {**window, "series": len(found), "steps": [step.as_dict() for step in trace.steps]},
        pretty=request.presentation.pretty,
    )


def evaluate(request: RenderRequest, house: House, trace: Trace | None = None) -> SeriesList:
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
    )
    evaluated = iter(lists)
    return SeriesList.concat(next(evaluated) if number is None else number for number in plain)


def _caching(request: RenderRequest) -> Mapping[str, str]:
    """A cache may keep an answer only for as long as the request says; graphite-web's 60 s hide points."""
    if request.cache_s:
        return {"Cache-Control": f"max-age={request.cache_s}"}
    return {"Cache-Control": "max-age=0, no-cache, no-store, must-revalidate, private"}
