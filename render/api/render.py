"""/render: targets → datapoints in one of the formats."""

from __future__ import annotations

from collections.abc import Mapping

from render.api.response import House, Response, called
from render.formats import FORMATS
from render.plan import render
from render.request import Params, RenderRequest, parse_render
from render.series import SeriesList


def view(params: Params, house: House, now: int) -> Response:
    """Raises RenderError. Without a target the answer is an empty list, as graphite-web's."""
    request = parse_render(params, now)
    form = FORMATS[request.format]
    body = form.encode(evaluate(request, house), request.presentation)
    jsonp = request.jsonp if form.is_script else None
    return Response(*called(body, form.content_type, jsonp), headers=_caching(request))


def evaluate(request: RenderRequest, house: House) -> SeriesList:
    """The series of all targets, in their order."""
    lists = render(
        house.source,
        request.targets,
        start=request.start,
        until=request.until,
        now=request.now,
        zone=request.zone,
        x_files_factor=request.x_files_factor,
        variables=request.variables,
        limits=house.limits,
    )
    return SeriesList.concat(lists)


def _caching(request: RenderRequest) -> Mapping[str, str]:
    """A cache may keep an answer only for as long as the request says; graphite-web's 60 s hide points."""
    if request.cache_s:
        return {"Cache-Control": f"max-age={request.cache_s}"}
    return {"Cache-Control": "max-age=0, no-cache, no-store, must-revalidate, private"}
