from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.completion import Completion, complete
from render.functions import REGISTRY
from render.functions.registry import AGGREGATIONS


def texts(text: str, kind: str = "") -> list[str]:
    return [word.text for word in complete(text).words if word.kind == kind or not kind]


def test_a_begun_name_is_that_of_functions_or_of_a_path() -> None:
    assert texts("movingAv") == ["movingAverage("]
    assert texts("MOVINGAV") == ["movingAverage("]
    assert complete("scale(serv").path == "serv"
    assert (complete("scale( serv").start, complete("servers.web").path) == (7, "servers.web")
    assert set(texts("", "function")) == {f"{name}(" for name in REGISTRY.functions}


def test_an_aggregation_is_written_as_a_text() -> None:
    assert texts('summarize(a, "1h", "ma', "value") == ['"max"']
    assert texts("summarize(a, '1h', ", "value") == [f'"{name}"' for name in AGGREGATIONS]
    assert complete('summarize(a, "1h", "ma').start == 19
    assert texts('summarize(a, "1h", func="su', "value") == ['"sum"']


def test_options_and_suggestions_are_values() -> None:
    assert texts("histogram(a, scale=", "value") == ['"linear"', '"exponential"']
    assert texts("movingAverage(a, ", "value")[:4] == ["5", "7", "10", '"1min"']
    assert texts("timeShift(a, '1d', ", "value") == ["true", "false"]


def test_parameters_are_offered_until_they_are_given() -> None:
    assert texts("rate(a, ", "parameter") == ["interval=", "maxValue="]
    assert texts("rate(a, max", "parameter") == ["maxValue="]
    assert texts("rate(a, '5min', ", "parameter") == ["maxValue="]
    assert texts("rate(a, maxValue=5, ", "parameter") == ["interval="]
    assert texts("rate(a, maxValue=", "parameter") == []


def test_what_is_piped_is_the_first_argument() -> None:
    assert texts("a|rate(", "parameter") == ["interval=", "maxValue="]
    assert texts("a|scale(2)|rat") == ["rate("]
    assert texts("group(a|rate(), ra") == ["randomWalk(", "randomWalkFunction(", "range(", "rangeOf(",
                                           "rangeOfSeries(", "rangeSeries(", "rate("]  # fmt: skip


def test_commas_and_parentheses_in_names_and_texts_are_none() -> None:
    assert texts("summarize({a,b}.c, '1h', ", "value")[0] == '"average"'
    assert texts("summarize(alias(a, 'x, (y'), '1h', ", "value")[0] == '"average"'


def test_after_a_closed_call_only_a_separator_may_come() -> None:
    assert complete("sum(a)") == Completion(6, (), None)
    assert complete("scale(sum(a) ").words == ()


def test_a_call_of_no_function_is_completed_within() -> None:
    assert texts("nothing(movingAv") == ["movingAverage("]


def test_a_text_beyond_the_limit_has_no_words() -> None:
    assert complete("a" * 20_000) == Completion(20_000, (), None)


PIECES = st.sampled_from(
    [
        "a.b",
        "{a,b}",
        "scale(",
        "summarize(",
        "group(",
        ")",
        ",",
        "|",
        "'",
        '"',
        "=",
        "func=",
        " ",
        "sum",
        "x",
        "-1",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_text_has_a_completion_that_goes_on_from_its_last_word(text: str) -> None:
    found = complete(text)
    assert 0 <= found.start <= len(text)
    assert found.path is None or text.endswith(found.path)
    begun = text[found.start :].lower().lstrip("'\"")
    for word in found.words:
        assert word.text.lower().lstrip('"').startswith(begun)
        assert word.about


@given(st.text(max_size=40))
def test_any_text_at_all_has_a_completion(text: str) -> None:
    assert complete(text).start <= len(text)


@pytest.mark.parametrize("name", sorted(REGISTRY.functions))
def test_every_parameter_of_every_function_is_found_by_its_name(name: str) -> None:
    for param in REGISTRY.functions[name].params:
        if not param.multiple:
            assert f"{param.name}=" in texts(f"{name}({param.name}", "parameter")
