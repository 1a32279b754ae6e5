"""Every function with absurd arguments: an answer or an error of ours that says what is wrong, never another."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from render.errors import RenderError
from render.functions import REGISTRY
from tests.effort import tries
from tests.render.functions.asking import ask
from tests.render.memory import MemorySource

SOURCE = MemorySource.golden(retention_s=100 * 86_400)
Lists = st.sampled_from(
    [
        "servers.*.*",
        "odd.*",
        "{fine,coarse}.*",
        "odd.huge",
        "nothing.here",
        "sumSeries(odd.*)",
        "disk.*.*|scale(2)",
        "group()",
    ]
)
Absurd = st.one_of(
    Lists,
    st.sampled_from(
        ["none", "true", "false", "inf", "1e300", "-1e300", "0", "-1", "1", "3", "0.5", "-0.0", "1e-300"]
    ),
    st.sampled_from(["9007199254740993", "-2147483649", "99999999999999999999", "100", "60"]),
    st.sampled_from(
        ["''", "'1min'", "'-1d'", "'0s'", "'1h'", "'1000y'", "'sum'", "'avg'", "'p99'", "'last'", "'x'"]
    ),
    st.sampled_from(
        ["'('", "'(a+)+$'", "'\\9'", "'%'", "'%s%d'", "'='", "'>'", "'*'", "'a.b'", "'now'", "'1970'"]
    ),
)


@pytest.mark.parametrize("name", sorted(REGISTRY.functions))
@given(data=st.data())
@settings(max_examples=tries(40), deadline=None, suppress_health_check=list(HealthCheck))
def test_a_function_with_absurd_arguments_answers_or_says_what_is_wrong(
    name: str, data: st.DataObject
) -> None:
    parameters = REGISTRY.functions[name].params
    first = [data.draw(Lists)] if parameters and parameters[0].type.startswith("seriesList") else []
    rest = data.draw(st.lists(Absurd, max_size=len(parameters) + 1))
    target = f"{name}({', '.join([*first, *rest])})"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            for series in ask(SOURCE, target):
                assert series.values.ndim == 1, target
                assert isinstance(series.name, str), target
        except RenderError as error:
            assert str(error), target  # noqa: PT017  # either outcome is right
