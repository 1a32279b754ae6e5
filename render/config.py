"""Settings of the render wing: frozen dataclasses, one a section."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request may cost. What one target may cost before anything is read is the parser's own."""

    targets_max: int = 100  # a request; graphite-web: none
    # a request, each pattern once a window. carbonapi: 1,000; VictoriaMetrics: 300,000; graphite-web: none
    series_max: int = 50_000
    # read for a request, 8 bytes each. VictoriaMetrics: 1,000 M scanned; Prometheus: 50 M; graphite-web: none
    points_max: int = 100_000_000
    # seconds, with the earlier data that functions ask for; as far as a retention may reach
    span_s_max: int = 100 * 366 * 86_400
    name_chars_max: int = 50_000_000  # of all names of one series list; functions put names into names
    duration_s: float = (
        30.0  # until a request is given up. VictoriaMetrics: 30; carbonapi: 60; Prometheus: 120
    )


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Http:
    """What the HTTP server takes on."""

    body_bytes_max: int = 8 << 20  # a request's form. Django: 2.5 MB; VictoriaMetrics: 16 MB and more
    fields_max: int = 10_000  # parameters of a request; Django: 1,000
    # nodes that /metrics/find and /metrics/expand list. go-carbon: 30,000; graphite-web: any
    found_max: int = 50_000
    running_max: int = 4  # requests that are worked on at once. Prometheus: 20; VictoriaMetrics: 2 a core
    waiting_max: int = 64  # requests that wait for that; more get 429
    idle_s: float = 60.0  # until a connection without a request, or a reader who stands still, is closed
    # a connection's request line and headers have a bound of 16 KiB, which is Twisted's own


DEFAULT_HTTP = Http()
