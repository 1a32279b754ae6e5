from __future__ import annotations

import json

import pytest

from render import api
from render.api.openapi import OPERATIONS, document
from render.formats import FORMATS
from tests.render.api.store import ask

DOCUMENT = document()
ALIASES = {"/metrics": "/metrics/find"}


def test_what_is_served_is_the_document() -> None:
    assert json.loads(ask("/openapi.json").body) == DOCUMENT


@pytest.mark.parametrize("path", [path for path in api.ROUTES if not path.endswith("/")])
def test_every_path_is_described_with_its_methods(path: str) -> None:
    described = DOCUMENT["paths"][ALIASES.get(path, path)]
    assert {method.upper() for method in described} == set(api.ROUTES[path].methods) - {"HEAD"}


@pytest.mark.parametrize("path", OPERATIONS)
def test_every_path_that_is_described_is_there(path: str) -> None:
    route = api.route(path.replace("{", "").replace("}", ""))
    assert route is not None
    assert {method.upper() for method in DOCUMENT["paths"][path]} == set(route.methods) - {"HEAD"}


def test_all_formats_of_render_are_described() -> None:
    operation = DOCUMENT["paths"]["/render"]["get"]
    (form,) = [one for one in operation["parameters"] if one["name"] == "format"]
    assert set(form["schema"]["enum"]) == set(FORMATS)
    content = operation["responses"]["200"]["content"]
    assert {form.content_type for form in FORMATS.values()} <= set(content)


def test_parameters_are_unlike_and_have_words() -> None:
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            names = [(one["in"], one["name"]) for one in operation["parameters"]]
            assert len(names) == len(set(names))
            assert all(one["description"] for one in operation["parameters"])
