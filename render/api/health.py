"""/health, what is below it, and /version: cheap enough to be answered while all threads are busy."""

from __future__ import annotations

from render.api.response import House, Response, failure, json_response
from render.request import Params

# Clients choose what they ask for by graphite-web's version (Grafana wants a semantic one): this is the one
# that we answer like.
GRAPHITE_VERSION = "1.1.10"


def health(params: Params, house: House, now: int) -> Response:
    reasons = house.not_ready()
    return json_response(
        {
            "status": "ok",
            "series": len(house.source),
            "generation": house.source.generation,
            "uptime_s": max(0, now - house.started),
            "ready": not reasons,
            "reasons": reasons,
        }
    )


def live(params: Params, house: House, now: int) -> Response:
    """Whether it answers at all: if it does not, it is to be started again."""
    return json_response({"live": True})


def ready(params: Params, house: House, now: int) -> Response:
    """Whether it should be asked now."""
    reasons = house.not_ready()
    if not reasons:
        return json_response({"ready": True, "reasons": []})
    return failure(f"not ready: {'; '.join(reasons)}", 503, ready=False, reasons=reasons)


def version(params: Params, house: House, now: int) -> Response:
    """A JSON string; graphite-web answers the same as a line of text."""
    return json_response(GRAPHITE_VERSION)
