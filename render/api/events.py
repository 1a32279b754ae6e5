"""/events: what happened when. POST one; ask for those of a time, by tags and text; one by its number.

Answers are JSON; graphite-web's /events is a page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from render.api.response import NOT_CACHED, House, Response, failure, json_response
from render.errors import ParameterError
from render.request import Parameters, Params, one_of, read_times
from render.timespec import EPOCH_MAX, EPOCH_MIN
from storage.events import DEFAULT_LIMITS, Asked, Event

_LIMITS = DEFAULT_LIMITS
_ID_DIGITS_MAX = 18
_SEARCH_CHARS_MAX = 256


def events(params: Params, house: House, now: int) -> Response:
    """With a body: adds the event that it is, and answers it with its id. Else as get_data. Raises ParameterError."""
    given = Parameters(params)
    if not given.body:
        return get_data(params, house, now)
    return json_response(_shown(house.source.add_event(_read(given.body, now))))


def get_data(params: Params, house: House, now: int) -> Response:
    """The events from `from` (else the first) to `until` with all of `tags`, or any (set=union), and `search`."""
    given = Parameters(params)
    times = read_times(given, now)
    any_tag = given.read("set", one_of(("union", "intersection")), "intersection") == "union"
    tags = given.last("tags").split()
    if len(tags) > _LIMITS.tags_max:
        given.wrong("tags", f"{len(tags)} are asked for; at most {_LIMITS.tags_max}")
    text = given.last("search")
    if len(text) > _SEARCH_CHARS_MAX:
        given.wrong("search", f"has {len(text)} characters; at most {_SEARCH_CHARS_MAX}")
    pretty, jsonp = given.pretty(), given.jsonp()
    given.check()
    start = times.start if given.last("from") else EPOCH_MIN
    found, more = house.source.events(Asked(start, times.until, tags, any_tag, text))
    return json_response(
        list(map(_shown, found)), pretty=pretty, jsonp=jsonp, headers=_headers(len(found), more=more)
    )


def event(number: str) -> Callable[[Params, House, int], Response]:
    """The view of one event; its time is a date there, as in graphite-web."""

    def view(params: Params, house: House, now: int) -> Response:
        known = number.isascii() and number.isdigit() and len(number) <= _ID_DIGITS_MAX
        found = house.source.event(int(number)) if known else None
        if found is None:
            return failure("Event matching query does not exist", 404)
        at = datetime.fromtimestamp(found.when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return json_response({**_shown(found), "when": at}, pretty=Parameters(params).pretty())

    return view


def _shown(event: Event) -> dict[str, Any]:
    return {
        "when": event.when,
        "what": event.what,
        "data": orjson.Fragment(event.data),
        "tags": list(event.tags),
        "id": event.id,
    }


def _headers(found: int, *, more: bool) -> Mapping[str, str]:
    """They tell when there are more, older events."""
    return {**NOT_CACHED, "X-Plumbago-Truncated": str(found)} if more else NOT_CACHED


def _read(body: bytes, now: int) -> Event:
    """The event that a body is: {"what", "tags", "when", "data"}. Raises ParameterError with all that is wrong."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise ParameterError({"body": 'is no JSON object such as {"what": "deployed", "tags": ["web"]}'})
    errors: dict[str, str] = {}
    read = Event(
        _part(errors, "when", lambda: _when(given.get("when"), now), now),
        _part(errors, "what", lambda: _what(given.get("what")), ""),
        _part(errors, "tags", lambda: _tags(given.get("tags")), ()),
        _part(errors, "data", lambda: _data(given.get("data", "")), ""),
    )
    if errors:
        raise ParameterError(errors)
    return read


def _part(errors: dict[str, str], name: str, read: Callable[[], Any], default: Any) -> Any:
    try:
        return read()
    except ValueError as error:
        errors[name] = str(error)
        return default


def _when(given: object, now: int) -> int:
    if given is None:
        return now
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not EPOCH_MIN <= given <= EPOCH_MAX:
        raise ValueError("is no time in epoch seconds")
    return int(given // 1)


def _what(given: object) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ValueError("is missing: a text such as deployed")
    if len(given) > _LIMITS.what_chars_max:
        raise ValueError(f"has {len(given)} characters; at most {_LIMITS.what_chars_max}")
    return given


def _tags(given: object) -> tuple[str, ...]:
    """A list, or a text with spaces between; a space in one of a list divides it, as in graphite-web."""
    if isinstance(given, list) and all(isinstance(tag, str) for tag in given):
        given = " ".join(given)
    if not isinstance(given, str | None):
        raise ValueError('"tags" must be an array or space-separated string')
    tags = tuple((given or "").split())
    if len(tags) > _LIMITS.tags_max or max(map(len, tags), default=0) > _LIMITS.tag_chars_max:
        raise ValueError(f"at most {_LIMITS.tags_max}, each of at most {_LIMITS.tag_chars_max} characters")
    return tags


def _data(given: object) -> str:
    """Any JSON, kept as it is."""
    text = orjson.dumps(given)
    if len(text) > _LIMITS.data_bytes_max:
        raise ValueError(f"has {len(text)} bytes; at most {_LIMITS.data_bytes_max}")
    return text.decode()
