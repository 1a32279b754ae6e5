"""A request's parameters: read from the URL and the form, each checked, all that are wrong answered at once.

Of a parameter given several times the last counts, and the form's comes after the URL's; only targets and
the like are lists. What is not known here (`_salt`, `local` …) is ignored, as clients send many; drawing
parameters (render/graph/options.py) are looked at only if there is something to draw. The format is png unless
asked for, as graphite-web's. Departure from graphite-web 1.1.10: a format, a zone or a maxDataPoints that cannot be
is an error instead of being ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from email.parser import BytesParser
from email.policy import HTTP
from typing import NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qsl

from render import timespec
from render.errors import InvalidTime, ParameterError
from render.formats import FORMATS, Presentation
from render.graph import options

T = TypeVar("T")
Params: TypeAlias = Mapping[str, Sequence[str]]  # name → its values, in the order in which they came

DAY_S = 86_400
_UTC: tzinfo = UTC
_WHOLE = re.compile(r"[0-9]{1,15}")
_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,63}", re.ASCII)


@dataclass(frozen=True)
class RenderRequest:
    """What /render is asked for."""

    targets: tuple[str, ...]
    start: int  # epoch seconds; before until
    until: int
    now: int
    format: str
    presentation: Presentation
    jsonp: str | None = None  # the callback's name
    x_files_factor: float | None = None
    variables: Mapping[str, str] = field(default_factory=dict)  # of template()
    cache_s: int = 0  # how old an answer may be whatever has come since
    may_be_kept: bool = True  # noCache: a new one is wanted
    stitch: bool = False  # a long range is fine where there is fine data, and coarse before
    explain: bool = False  # answer what was done instead of what came of it

    @property
    def zone(self) -> tzinfo:
        return self.presentation.zone


def parse_render(params: Params, now: int) -> RenderRequest:
    """What /render is asked for; raises ParameterError with everything that is wrong."""
    given = Parameters(params)
    times = read_times(given, now)
    if times.start == times.until and not given.errors:
        given.wrong("from", f"is the same time as until ({times.until}): the window is empty")
    form = _format(given)
    drawing = options.read(given) if FORMATS[form].is_picture else options.DEFAULT
    request = RenderRequest(
        targets=tuple(target for target in given.every("target") or given.every("target[]") if target),
        start=min(times.start, times.until),  # graphite-web puts them in order, too
        until=max(times.start, times.until),
        now=times.now,
        format=form,
        presentation=Presentation(
            times.zone,
            given.read("maxDataPoints", _count, None),
            given.has("noNullPoints"),
            given.pretty(),
            _timestamps_per_s(given, times),
            drawing=drawing,
        ),
        jsonp=given.jsonp(),
        x_files_factor=given.read("xFilesFactor", _fraction, None),
        variables=given.indexed("template"),
        cache_s=0 if given.has("noCache") else given.read("cacheTimeout", _seconds, 0),
        may_be_kept=not given.has("noCache"),
        stitch=given.read("stitch", boolean, False),
        explain=given.read("explain", boolean, False),
    )
    given.check()
    return request


class Times(NamedTuple):
    start: int  # epoch seconds, as the others
    until: int
    now: int
    zone: tzinfo


def read_times(given: Parameters, now: int) -> Times:
    """from, until, now and tz as they are given."""
    zone: tzinfo = given.read("tz", timespec.zone, _UTC)
    now = given.read("now", lambda text: timespec.parse_time(text, now, zone), now)
    until = given.read("until", lambda text: timespec.parse_time(text, now, zone), now)
    yesterday = max(timespec.EPOCH_MIN, now - DAY_S)
    start = given.read("from", lambda text: timespec.parse_time(text, now, zone), yesterday)
    return Times(start, until, now, zone)


class Sent(dict[str, list[str]]):
    """Params, and the body that came with them."""

    body = b""


class Parameters:
    """A request's parameters and what is wrong with them: read all, then `check`."""

    def __init__(self, values: Params) -> None:
        self._values = values
        self.errors: dict[str, str] = {}

    def wrong(self, name: str, reason: str) -> None:
        self.errors.setdefault(name, reason)

    def check(self) -> None:
        """Raises ParameterError if anything was wrong."""
        if self.errors:
            raise ParameterError(self.errors)

    def has(self, name: str) -> bool:
        return bool(self._values.get(name))

    def every(self, name: str) -> Sequence[str]:
        return self._values.get(name, ())

    def last(self, name: str) -> str:
        """The value that counts, "" if there is none."""
        values = self._values.get(name)
        return values[-1] if values else ""

    def read(self, name: str, convert: Callable[[str], T], default: T) -> T:
        """The value converted; the default if it is not given, empty or wrong (ValueError, InvalidTime)."""
        text = self.last(name)
        if not text:
            return default
        try:
            return convert(text)
        except (ValueError, InvalidTime) as error:
            self.wrong(name, str(error))
            return default

    @property
    def body(self) -> bytes:
        """A POST's body, also where it is no form."""
        return self._values.body if isinstance(self._values, Sent) else b""

    def flag(self, name: str) -> bool:
        """A switch of the metrics API: 0 or 1, any other whole number being as good as 1."""
        return self.read(name, _integer, 0) != 0

    def indexed(self, name: str) -> dict[str, str]:
        """`name[key]=value` as key → value."""
        begin = f"{name}["
        keys = [key for key in self._values if key.startswith(begin) and key.endswith("]")]
        return {key[len(begin) : -1]: self.last(key) for key in keys if self.has(key)}

    def pretty(self) -> bool:
        return self.last("pretty") != ""

    def jsonp(self) -> str | None:
        return self.read("jsonp", _callback, None)


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """A converter that takes these names only."""

    def check(text: str) -> str:
        if text not in names:
            raise ValueError(f"{_shown(text)} is not one of {', '.join(names)}")
        return text

    return check


def boolean(text: str) -> bool:
    """A converter of switches, in the words that clients use."""
    words = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
    if text.lower() not in words:
        raise ValueError(f"{_shown(text)} is neither true nor false")
    return words[text.lower()]


def _format(given: Parameters) -> str:
    """`format`, else what the older `rawData` and `pickle`, and `outputFormat`, stand for, else png."""
    if not given.last("format"):
        if given.has("rawData"):
            return "raw"
        if given.has("pickle"):
            return "pickle"
        pictures = tuple(name for name, form in FORMATS.items() if form.is_picture)
        return given.read("outputFormat", one_of(pictures), "png")
    return given.read("format", one_of(tuple(FORMATS)), "png")


_PER_S = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
_TIMESTAMP_MAX = 1 << 62


def _timestamps_per_s(given: Parameters, times: Times) -> int:
    """carbonapi's timestampFormat: how many of its units a second has."""
    unit = given.read("timestampFormat", one_of(tuple(_PER_S)), "s")
    if max(abs(times.start), abs(times.until)) * _PER_S[unit] > _TIMESTAMP_MAX:
        given.wrong("timestampFormat", f"such a time is no 64-bit number of {unit}")
        return 1
    return _PER_S[unit]


def _count(text: str) -> int | None:
    if not _WHOLE.fullmatch(text) or int(text) < 1:
        raise ValueError(f"{_shown(text)} is no whole number from 1 on")
    return int(text)


def _seconds(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{_shown(text)} is no whole number of seconds from 0 on")
    return int(text)


def _integer(text: str) -> int:
    if not _WHOLE.fullmatch(text.removeprefix("-")):
        raise ValueError(f"{_shown(text)} is no whole number such as 0 or 1")
    return int(text)


def _fraction(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError(f"{_shown(text)} is no number from 0 to 1")
    return number


def _callback(text: str) -> str | None:
    if not _CALLBACK.fullmatch(text):
        raise ValueError(f"{_shown(text)} is no callback: at most 64 letters, digits, _, $ and dots")
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else text[:64] + "…")


# --- bytes → parameters ---


def read_params(query: bytes, body: bytes, content_type: str, *, fields_max: int) -> Sent:
    """The parameters of a URL's query and of a form, urlencoded or multipart; of another body there are none.

    Raises ParameterError if there are more than fields_max, or if a multipart form has no boundary.
    """
    try:
        pairs = _pairs(query, fields_max)
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            pairs += _pairs(body, fields_max)
        elif kind == "multipart/form-data":
            pairs += _multipart(body, content_type, fields_max)
    except ValueError as error:
        raise ParameterError({"form": str(error)}) from None
    params = Sent()
    params.body = body
    for name, value in pairs:
        params.setdefault(name, []).append(value)
    return params


def _pairs(text: bytes, fields_max: int) -> list[tuple[str, str]]:
    if text.count(b"&") >= fields_max:
        raise ValueError(f"has more than {fields_max} fields")
    return parse_qsl(text.decode("ascii", "replace"), keep_blank_values=True, errors="replace")


def _multipart(body: bytes, content_type: str, fields_max: int) -> list[tuple[str, str]]:
    if body.count(b"\n") > 5 * fields_max:  # a field has four lines, or some more if its value has
        raise ValueError(f"has more than {fields_max} fields")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise ValueError("is no multipart form: the boundary is missing")
    pairs = []
    for part in message.iter_parts():
        name, value = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes):
            pairs.append((name, value.decode(errors="replace")))
    return pairs
