from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("google.protobuf", reason="the protobuf library is not installed")

from render import protobuf as wire
from render.formats.presentation import Presentation
from render.formats.protobuf import (
    Fetch,
    capabilities,
    described,
    encode_v2,
    encode_v3,
    globbed,
    read_fetches,
    read_names,
)
from render.series import SeriesList
from storage.retention import Archive, Retention
from storage.schema import Schema
from tests.render.formats.carbonapi_messages import V2, V3, read
from tests.render.formats.lists import cold, names, series_lists

seconds = st.integers(-(2**62), 2**62)


@cold
@given(series_lists(), seconds, seconds)
def test_version_3_has_missing_values_as_nan(series: SeriesList, start: int, until: int) -> None:
    message = read(V3, "MultiFetchResponse", encode_v3(series, Presentation(window=(start, until))))
    assert len(message.metrics) == len(series)
    for one, found in zip(series, message.metrics, strict=True):
        assert (found.name, found.pathExpression) == (one.name, one.expression)
        assert (found.startTime, found.stopTime, found.stepTime) == (one.start, one.end, one.step)
        assert (found.requestStartTime, found.requestStopTime) == (start, until)
        assert found.consolidationFunc == one.consolidation
        assert math.isclose(found.xFilesFactor, one.x_files_factor, rel_tol=1e-7)
        assert repr(list(found.values)) == repr(one.values.tolist())


@cold
@given(series_lists())
def test_version_2_says_which_values_are_absent(series: SeriesList) -> None:
    message = read(V2, "MultiFetchResponse", encode_v2(series, Presentation()))
    assert len(message.metrics) == len(series)
    for one, found in zip(series, message.metrics, strict=True):
        assert (found.name, found.stepTime) == (one.name, one.step)
        assert (found.startTime, found.stopTime) == (as_int32(one.start), as_int32(one.end))
        values = one.values.tolist()
        assert list(found.isAbsent) == list(map(math.isnan, values))
        assert repr(list(found.values)) == repr([0.0 if math.isnan(value) else value for value in values])


def as_int32(number: int) -> int:
    """What is left of a time after 2038."""
    return (number + 2**31) % 2**32 - 2**31


@given(names, st.lists(st.tuples(names, st.booleans())))
def test_what_a_glob_finds_is_alike_in_both(query: str, nodes: list[tuple[str, bool]]) -> None:
    for message in (
        read(V2, "GlobResponse", globbed(query, nodes)),
        read(V3, "MultiGlobResponse", wire.message(1, globbed(query, nodes))).metrics[0],
    ):
        assert message.name == query
        assert [(match.path, match.isLeaf) for match in message.matches] == nodes


def test_how_a_metric_is_kept_is_alike_in_both() -> None:
    schema = Schema(Retention((Archive(10, 360), Archive(60, 10_080))), "sum,max", 0.25)
    old = read(V2, "InfoResponse", described("a.b", schema))
    new = read(V3, "MultiMetricsInfoResponse", wire.message(1, described("a.b", schema))).metrics[0]
    assert (old.aggregationMethod, new.consolidationFunc) == ("sum", "sum")
    for message in (old, new):
        assert (message.name, message.xFilesFactor, message.maxRetention) == ("a.b", 0.25, 604_800)
        archives = [(kept.secondsPerPoint, kept.numberOfPoints) for kept in message.retentions]
        assert archives == [(10, 360), (60, 10_080)]


def test_what_we_can_do_is_told_in_the_order_of_choice() -> None:
    message = read(V3, "CapabilityResponse", capabilities(["x", "y"], "us"))
    assert (list(message.supportedProtocols), message.name) == (["x", "y"], "us")
    assert (message.likeSplittedRequests, message.supportFilteringFunctions) == (True, False)


fetches = st.builds(Fetch, names, seconds, seconds, names.filter(bool))


@given(st.lists(fetches))
def test_what_is_asked_for_is_read_whatever_else_stands_beside_it(asked: list[Fetch]) -> None:
    message: Any = V3["MultiFetchRequest"]()
    for one in asked:
        part = message.metrics.add(
            name=one.name, startTime=one.start, stopTime=one.until, pathExpression=one.path_expression
        )
        part.highPrecisionTimestamps, part.maxDataPoints = True, 77
        part.filterFunctions.add(name="scale", arguments=["2"])
    assert read_fetches(message.SerializeToString()) == asked


@given(st.lists(names), seconds)
def test_names_are_read_in_their_order(asked: list[str], start: int) -> None:
    body = V3["MultiGlobRequest"](metrics=asked, startTime=start).SerializeToString()
    assert read_names(body) == asked


@given(st.binary(max_size=40), st.sampled_from([read_fetches, read_names]))
def test_any_bytes_are_a_request_or_a_value_error(body: bytes, reader: Any) -> None:
    try:
        reader(body)
    except ValueError as error:
        assert str(error)  # noqa: PT017  # either outcome is right
