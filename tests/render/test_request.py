from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import TypeVar
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from render.errors import ParameterError
from render.formats import FORMATS
from render.request import Params, RenderRequest, parse_render, read_params

T = TypeVar("T")
NOW = 1_700_000_000
KNOWN = (
    "target", "target[]", "from", "until", "now", "tz", "format", "rawData", "pickle", "jsonp", "pretty",
    "noCache", "cacheTimeout", "maxDataPoints", "noNullPoints", "xFilesFactor", "template[a]", "template[",
    "local", "width", "timestampFormat",
)  # fmt: skip
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            "0",
            "1",
            "-1",
            "-1h",
            "now",
            "20240101",
            "1e400",
            "nan",
            "inf",
            "0.5",
            "json",
            "raw",
            "UTC",
            "ms",
            "ns",
        ]
    ),
)
forms = st.dictionaries(st.sampled_from(KNOWN), st.lists(texts, max_size=3), max_size=8)


def parse(**params: str | list[str]) -> RenderRequest:
    lists = {name.rstrip("_"): [value] if isinstance(value, str) else value for name, value in params.items()}
    return parse_render(lists, NOW)


def attempt(call: Callable[[], T]) -> T | ParameterError:
    try:
        return call()
    except ParameterError as error:
        return error


def errors(**params: str | list[str]) -> dict[str, str]:
    with pytest.raises(ParameterError) as caught:
        parse(**params)
    return caught.value.errors


@given(forms)
@example({"from": ["now"], "until": [""]})
@example({"maxDataPoints": ["9" * 5000]})
@example({"xFilesFactor": ["1_0"], "cacheTimeout": ["١"]})
def test_any_parameters_are_a_request_or_are_wrong(form: Params) -> None:
    outcome = attempt(lambda: parse_render(form, NOW))
    if isinstance(outcome, ParameterError):
        assert outcome.errors
        assert set(outcome.errors) <= set(form) | {"from"}
    else:
        assert outcome.start < outcome.until
        assert all(outcome.targets)
        assert outcome.presentation.max_data_points is None or outcome.presentation.max_data_points >= 1


def test_without_parameters_it_is_a_picture_of_the_last_day() -> None:
    request = parse()
    assert (request.start, request.until, request.now) == (NOW - 86_400, NOW, NOW)
    assert (request.format, request.zone, request.targets, request.cache_s) == ("png", UTC, (), 0)


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = errors(
        tz="Mars/Base", from_="1h", until="24:00", format="gif", jsonp="a b", cacheTimeout="-1",
        maxDataPoints="2.5", xFilesFactor="2",
    )  # fmt: skip
    assert list(wrong) == [
        "tz",
        "until",
        "from",
        "format",
        "maxDataPoints",
        "jsonp",
        "xFilesFactor",
        "cacheTimeout",
    ]
    assert wrong["format"] == f"'gif' is not one of {', '.join(FORMATS)}"


@pytest.mark.parametrize("count", ["0", "-3", "2.5", "abc", "1e3", " 5", "٣"])
def test_max_data_points_is_a_whole_number_from_1_on(count: str) -> None:
    assert "from 1 on" in errors(maxDataPoints=count)["maxDataPoints"]


def test_a_window_given_backwards_is_turned() -> None:
    request = parse(from_="-1h", until="-2h")
    assert (request.start, request.until) == (NOW - 7200, NOW - 3600)


def test_an_empty_window_is_wrong() -> None:
    assert "empty" in errors(from_="now", until="now")["from"]


def test_times_are_reckoned_from_now_in_the_zone() -> None:
    request = parse(now="20231114", from_="-1d", tz="Europe/Berlin")
    assert (request.now, request.start, request.until) == (1_699_916_400, 1_699_830_000, 1_699_916_400)


def test_the_last_value_counts_and_targets_are_a_list() -> None:
    request = parse(target=["a", "", "b"], format=["raw", "csv"])
    assert (request.targets, request.format) == (("a", "b"), "csv")


def test_targets_in_brackets_count_only_without_others() -> None:
    assert parse_render({"target[]": ["a", "b"]}, NOW).targets == ("a", "b")
    assert parse_render({"target[]": ["a"], "target": ["c"]}, NOW).targets == ("c",)


@pytest.mark.parametrize(
    ("params", "format_"),
    [({"rawData": "true"}, "raw"), ({"rawData": ""}, "raw"), ({"rawData": "1", "format": "csv"}, "csv")],
)
def test_raw_data_is_raw_unless_there_is_a_format(params: dict[str, str], format_: str) -> None:
    assert parse_render({name: [value] for name, value in params.items()}, NOW).format == format_


def test_template_variables_are_named_in_brackets() -> None:
    assert parse_render({"template[host]": ["a", "b"], "template[x]": ["1"]}, NOW).variables == {
        "host": "b",
        "x": "1",
    }


def test_a_cache_may_keep_an_answer_only_as_long_as_is_said() -> None:
    assert parse(cacheTimeout="30").cache_s == 30
    assert parse(cacheTimeout="30", noCache="").cache_s == 0


@pytest.mark.parametrize("name", ["cb", "$", "_a.b", "jQuery1.cb", "a" * 64])
def test_a_callback_is_a_name_of_javascript(name: str) -> None:
    assert parse(jsonp=name).jsonp == name


@pytest.mark.parametrize("name", ["a b", "alert(1)", "1a", "a" * 65, "é", "aé", "a\n", "a;b", "<script>"])
def test_a_callback_that_is_none_is_refused(name: str) -> None:
    assert "callback" in errors(jsonp=name)["jsonp"]


# --- bytes → parameters ---

FORM = "application/x-www-form-urlencoded"


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=8), st.integers(0, 8))
def test_fields_of_url_and_form_are_merged_in_their_order(pairs: list[tuple[str, str]], cut: int) -> None:
    query, body = urlencode(pairs[:cut]).encode(), urlencode(pairs[cut:]).encode()
    params = read_params(query, body, f"{FORM}; charset=utf-8", fields_max=100)
    assert params == {name: [v for n, v in pairs if n == name] for name, _ in pairs}


@given(
    st.binary(max_size=200),
    st.binary(max_size=200),
    st.sampled_from([FORM, "multipart/form-data", "multipart/form-data; boundary=b", "text/plain"]),
)
@example(b"", b"--b\r\n\r\n--b--", "multipart/form-data; boundary=b")
def test_any_bytes_are_parameters_or_are_refused(query: bytes, body: bytes, content_type: str) -> None:
    outcome = attempt(lambda: read_params(query, body, content_type, fields_max=10))
    if isinstance(outcome, ParameterError):
        assert list(outcome.errors) == ["form"]
    else:
        assert all(outcome.values())


def test_a_multipart_form_is_read_as_curl_sends_it() -> None:
    body = (
        b'--X1\r\nContent-Disposition: form-data; name="target"\r\n\r\nsum(a.*)\r\n'
        b'--X1\r\nContent-Disposition: form-data; name="target"\r\n\r\n\xc3\xbc\r\n'
        b'--X1\r\nContent-Disposition: form-data; name="from"\r\n\r\n-1h\r\n--X1--\r\n'
    )
    params = read_params(b"", body, "multipart/form-data; boundary=X1", fields_max=10)
    assert params == {"target": ["sum(a.*)", "ü"], "from": ["-1h"]}


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    assert read_params(b"target=%ff%C3%BC+x", b"", "", fields_max=10) == {
        "target": ["\N{REPLACEMENT CHARACTER}ü x"]
    }


@pytest.mark.parametrize("content_type", [FORM, "multipart/form-data; boundary=b"])
def test_more_fields_than_allowed_are_refused_before_they_are_read(content_type: str) -> None:
    body = (
        b"a=1&" * 100
        if content_type == FORM
        else b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 100
    )
    with pytest.raises(ParameterError, match="more than 50 fields"):
        read_params(b"", body, content_type, fields_max=50)


def test_timestamps_may_be_in_other_units_as_far_as_they_are_64_bit_numbers() -> None:
    assert parse().presentation.timestamps_per_s == 1
    assert parse(timestampFormat="ms").presentation.timestamps_per_s == 1000
    assert set(errors(timestampFormat="days")) == {"timestampFormat"}
    assert "ns" in errors(timestampFormat="ns", until="99990101")["timestampFormat"]
    assert parse(timestampFormat="us", until="99990101").presentation.timestamps_per_s == 10**6


def test_the_older_parameter_of_a_format_is_known() -> None:
    assert parse(pickle="true").format == "pickle"
    assert parse(pickle="true", format="csv").format == "csv"
