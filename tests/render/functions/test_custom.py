"""Functions of the user's own, loaded from files; each test's modules have names of their own."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from render.errors import ArgumentError, CustomFailed, InvalidModule
from render.functions import REGISTRY, custom
from tests.render.functions.asking import ask, holding, values

_HEAD = "from render.functions.custom import *\n"
_NUMBERS = itertools.count()


class Workshop:
    """A config folder for modules; what they add is gone after the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = dict(REGISTRY.functions), set(sys.modules)

    def write(self, text: str, *, head: str = _HEAD) -> str:
        """A new module; gives its name."""
        name = f"workshop_{next(_NUMBERS)}"
        (self.folder / f"{name}.py").write_text(head + text)
        return name

    def load(self, text: str) -> list[str]:
        return custom.load([self.write(text)], self.folder)

    def tidy(self) -> None:
        functions, modules = self._before
        REGISTRY.remove(set(REGISTRY.functions) - set(functions))
        for name in set(sys.modules) - modules:
            if name.startswith("workshop_"):
                del sys.modules[name]


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(tmp_path)
    yield made
    made.tidy()


def shape(body: str, *, name: str = "shaped", params: str = "[SERIES]") -> str:
    return (
        f'@function("{name}", group="Ours", params={params})\n'
        f"def shaped(context, series):\n"
        f'    """Example: {name}(a.0)"""\n'
        f"    {body}\n"
    )


def test_a_function_of_a_module_is_called_as_any_other(workshop: Workshop) -> None:
    doubled = 'return each(series, "shaped", lambda block: block.values * 2)'
    assert workshop.load(shape(doubled)) == ["shaped"]
    assert values(ask(holding([1.0, None, 3.0]), "shaped(a.0)|scale(10)"))[0][:3] == [20.0, None, 60.0]
    assert REGISTRY.functions["shaped"].examples == ["shaped(a.0)"]


def test_arguments_are_checked_as_those_of_any_other(workshop: Workshop) -> None:
    text = (
        '@function("times", group="Ours", params=[SERIES, Param("factor", "float", required=True)])\n'
        "def times(context, series, factor):\n"
        '    return each(series, "times", lambda block: block.values * factor)\n'
    )
    workshop.load(text)
    with pytest.raises(ArgumentError, match=r"times\(\): factor: takes a number, not 'much'"):
        ask(holding([1.0]), "times(a.0,'much')")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1 +\n", r"workshop_\d+\.py:2: invalid syntax"),
        ("import no_such_library\n", r"workshop_\d+\.py:2: ModuleNotFoundError: .*no_such_library"),
        ("x = undefined\n", r"workshop_\d+\.py:2: NameError: name 'undefined'"),
        ("raise SystemExit(3)\n", r"workshop_\d+\.py:2: SystemExit: 3"),
        ("x = 1\n", "adds no function: there is no @function in it"),
        (
            shape("return series", name="scale"),
            r"workshop_\d+\.py:2: two functions are called 'scale': render\.functions\.transform, line \d+, "
            r"and workshop_\d+, line 2",
        ),
        (shape("return series", name="no-name"), "'no-name' is no name that a target can have"),
        (
            shape("return series", params='[SERIES, Param("n", "int")]'),
            r"shaped\(\): n has the type 'int'; there are seriesList, .*integer",
        ),
        (
            shape("return series", params='[SERIES, Param("n", "integer")]'),
            "cannot be called with the context and 2 parameters: too many positional",
        ),
        (
            shape("return series") + 'function("other", "shaped", group="Ours", params=[SERIES])(shaped)',
            "two functions are called 'shaped'",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_named_with_line_and_reason(
    text: str, said: str, workshop: Workshop
) -> None:
    before = dict(REGISTRY.functions)
    with pytest.raises(InvalidModule, match=r"^\[functions\] modules: workshop_\d+: .*" + said) as error:
        workshop.load(text)
    assert REGISTRY.functions == before, "what it had added stays"
    assert error.value.module not in sys.modules


def test_a_module_that_is_nowhere_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidModule, match=r"there is no such module: neither in .* nor among the installed"
    ):
        custom.load(["workshop_nowhere"], tmp_path)


def test_a_module_that_another_has_imported_adds_its_functions_once(workshop: Workshop) -> None:
    first = workshop.write(shape("return series", name="inner"))
    second = workshop.write(shape("return series", name="outer"), head=f"{_HEAD}import {first}\n")
    assert custom.load([second, first], workshop.folder) == ["inner", "outer"]
    assert str(workshop.folder) not in sys.path


def test_a_function_that_fails_says_where_but_not_with_what(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    workshop.load(shape('raise KeyError("secret")'))
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(
            CustomFailed, match=r"shaped\(\) .* has failed: KeyError at .*workshop_\d+\.py:5"
        ) as error,
    ):
        ask(holding([1.0]), "shaped(a.0)")
    assert error.value.status == 500
    assert "secret" not in str(error.value)
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 5", "gives int, not a SeriesList"),
        ("return series.map(lambda b: b.with_(b.values[:, 0]))", "values of float64 in 1 dimensions"),
        ("return series.map(lambda b: b.with_(b.values > 1))", "values of bool in 2 dimensions"),
        ("return series.map(lambda b: b.with_(names=[]))", "a block of 1 series with 0, 1, 1, 1 names"),
    ],
)
def test_a_function_that_gives_what_is_no_series_list_is_said_to(
    body: str, said: str, workshop: Workshop
) -> None:
    workshop.load(shape(body))
    with pytest.raises(CustomFailed, match=said):
        ask(holding([1.0]), "shaped(a.0)")


def test_what_a_function_refuses_itself_is_the_users_fault(workshop: Workshop) -> None:
    workshop.load(shape('raise ArgumentError("shaped", "seriesList", "takes better series")'))
    with pytest.raises(ArgumentError, match="takes better series"):
        ask(holding([1.0]), "shaped(a.0)")


def test_short_forms_stay_the_same_function(workshop: Workshop) -> None:
    workshop.load(
        '@function("long", "lg", group="Ours", params=[SERIES])\ndef f(context, s):\n    return s\n'
    )
    assert REGISTRY.others(REGISTRY.functions["long"]) == ["lg"]
