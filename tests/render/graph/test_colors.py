from __future__ import annotations

from itertools import combinations, islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.graph.colors import NAMES, Color, cycle, parse
from render.graph.templates import DARK, LIGHT, TEMPLATES, Template

channels = st.integers(0, 255)
# linear RGB as people without the long-, medium- or short-wave cones see it (Machado and others, 2009)
VISIONS = {
    "all cones": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def difference(a: Color, b: Color, vision: str) -> float:
    """Distance in OKLab; 0.02 is just seen."""
    one, other = (seen(color, vision) for color in (a, b))
    return float(np.linalg.norm(one - other))


def seen(color: Color, vision: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    c = np.array(color[:3]) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    lab: np.ndarray[tuple[int], np.dtype[np.float64]] = TO_OKLAB @ np.cbrt(
        TO_CONES @ np.clip(VISIONS[vision] @ linear, 0, 1)
    )
    return lab


@given(channels, channels, channels, channels)
def test_hexadecimal_colours_are_read_with_and_without_their_sign(r: int, g: int, b: int, a: int) -> None:
    text = f"{r:02x}{g:02X}{b:02x}"
    for sign in ("", "#", "%23"):
        assert parse(sign + text) == Color(r, g, b)
        assert parse(f"{sign}{text}{a:02x}") == Color(r, g, b, a / 255)
    assert parse(Color(r, g, b).hex) == Color(r, g, b)


@pytest.mark.parametrize(
    "text", ["", "blu", "12345", "1234567", "#ggg000", "url(#a)", 'red" onload="x', "a" * 9999]
)
def test_what_is_no_colour_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no colour: write RRGGBB") as caught:
        parse(text)
    assert len(str(caught.value)) < 500


def test_names_are_graphites() -> None:
    assert len(NAMES) == 22
    assert parse("Blue") == Color(100, 100, 255)


@pytest.mark.parametrize("template", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("vision", VISIONS)
def test_lines_can_be_told_apart_by_everyone(template: Template, vision: str) -> None:
    assert min(difference(a, b, vision) for a, b in combinations(template.lines, 2)) > 0.085


@pytest.mark.parametrize("name", TEMPLATES)
def test_lines_and_text_stand_out_from_their_background(name: str) -> None:
    template = TEMPLATES[name]
    least = 2.4 if name.startswith("solarized") else 2.8  # Solarized's own colours
    assert min(line.contrast(template.background) for line in template.lines) >= least
    assert template.foreground.contrast(template.background) >= 4.5
    assert template.major.contrast(template.background) < 3


@pytest.mark.parametrize("template", [LIGHT, DARK], ids=["light", "dark"])
def test_forty_series_have_forty_colours_that_differ(template: Template) -> None:
    colors = list(islice(cycle(template.lines, template.background), 40))
    assert colors[:8] == list(template.lines)
    assert min(difference(a, b, "all cones") for a, b in combinations(colors, 2)) > 0.025


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_of_forty_colours_is_seen_on_its_background(name: str) -> None:
    template = TEMPLATES[name]
    colors = islice(cycle(template.lines, template.background), 40)
    assert min(color.contrast(template.background) for color in colors) > 1.8


@given(st.lists(st.sampled_from(list(NAMES.values())), min_size=1, max_size=5), st.integers(1, 100))
def test_any_palette_gives_as_many_colours_as_are_asked(palette: list[Color], count: int) -> None:
    assert len(list(islice(cycle(palette, LIGHT.background), count))) == count
