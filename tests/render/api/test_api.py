from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render import api


@pytest.mark.parametrize("path", [path for path in api.ROUTES if not path.endswith("/")])
def test_a_path_may_end_in_a_slash_unless_it_is_a_file(path: str) -> None:
    assert (api.route(f"{path}/") is not None) == (not path.endswith(".json"))


@pytest.mark.parametrize(
    "path", ["", "/", "/rende", "/render//", "/metrics/index.json/", "/event", "//render"]
)
def test_nothing_is_at_other_paths(path: str) -> None:
    assert api.route(path) is None


@given(st.text())
def test_what_is_not_there_is_404_in_json(path: str) -> None:
    response = api.not_found(path)
    assert response.status == 404
    assert "/render" in json.loads(response.body)["paths"]


def test_a_method_that_is_not_allowed_is_told_those_that_are() -> None:
    functions = api.route("/functions")
    assert functions is not None
    response = api.wrong_method("POST", functions)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
