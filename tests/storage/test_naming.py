"""Names in their canonical form, as carbon has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import naming
from storage.errors import InvalidName
from storage.naming import Fault

NODES = st.lists(st.text("ab~", min_size=1, max_size=3), min_size=1, max_size=3).map(".".join)
TAGS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "name", "names"]), st.sampled_from(["1", "2", "x=y", "~", "v~"])),
    max_size=4,
)


def tagged(metric: str, tags: list[tuple[str, str]]) -> str:
    return ";".join([metric, *(f"{tag}={value}" for tag, value in tags)])


def as_carbon_has_it(metric: str, tags: list[tuple[str, str]]) -> str | None:
    """The twin, by what carbon is seen to do; None = it is refused."""
    if not tags:
        return metric
    if any(value.startswith("~") for _, value in tags) or not metric.lstrip("~"):
        return None
    own = {**dict(tags), "name": metric.lstrip("~")}
    return tagged(own.pop("name"), sorted(own.items()))


@given(NODES, TAGS)
def test_a_canonical_name_is_the_one_that_carbon_stores(metric: str, tags: list[tuple[str, str]]) -> None:
    name, expected = tagged(metric, tags), as_carbon_has_it(metric, tags)
    if expected is None or expected.startswith("."):  # which is no name here
        with pytest.raises(InvalidName):
            naming.canonical(name)
        assert naming.fault(name.encode()) is Fault.BAD_TAG
        return
    assert naming.canonical(name) == expected
    assert naming.canonical(expected) == expected
    assert naming.fault(name.encode()) is naming.fault(expected.encode()) is Fault.NONE


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a;name=x", "a"),
        ("a;name=x;b=1", "a;b=1"),
        ("~a;b=1", "a;b=1"),
        ("a~;b=1", "a~;b=1"),
        ("~~a", "~~a"),  # without tags it is as it is
    ],
)
def test_the_tag_name_is_the_metric(name: str, stored: str) -> None:
    assert naming.canonical(name) == stored


@pytest.mark.parametrize(
    "name", ["a;name=", "a;name=~x", "~;b=1", "~.a;b=1", "a;b", "a;=1", "a;b!=1", "a;b^=1"]
)
def test_what_carbon_refuses_or_no_name_can_be_is_invalid(name: str) -> None:
    with pytest.raises(InvalidName):
        naming.canonical(name)
