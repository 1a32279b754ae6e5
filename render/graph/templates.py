"""Looks: background, grid, text and line colours under the names of graphite-web's graphTemplates.conf.

The names are Graphite's, the colours our own: each name is as light or dark as its namesake. Line colours are
chosen so that neighbours differ for every kind of colour vision, and stand out from their background (3 : 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from render.graph.colors import Color, parse


@dataclass(frozen=True)
class Template:
    background: Color
    foreground: Color  # text and axes
    major: Color  # grid lines at labels
    minor: Color  # grid lines between them
    lines: tuple[Color, ...]


def _colors(text: str) -> tuple[Color, ...]:
    return tuple(map(parse, text.split()))


def _template(background: str, foreground: str, major: str, minor: str, lines: str) -> Template:
    return Template(parse(background), parse(foreground), parse(major), parse(minor), _colors(lines))


_ON_LIGHT = "0072b2 d55e00 10a092 9a72ef 721405 0932a6 9b4950 4d2d5f"
_ON_DARK = "4aa3df f08a3c 24d4b4 faed5f a46e8d a6f9fd 6a6bd6 b76006"
LIGHT = _template("ffffff", "3b3f46", "d9dce1", "eff0f3", _ON_LIGHT)
DARK = _template("111217", "ccccdc", "33353d", "212329", _ON_DARK)
_SOLARIZED = "b58900 cb4b16 268bd2 d33682 2aa198 859900 6c71c4 dc322f"


def _on(look: Template, background: str) -> Template:
    """The look on another background; the grid is mixed from it."""
    ground = parse(background)
    return replace(
        look,
        background=ground,
        major=ground.mixed(look.foreground, 0.18),
        minor=ground.mixed(look.foreground, 0.07),
    )


TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "default": LIGHT,
        "light": LIGHT,
        "dark": DARK,
        "grafana": DARK,
        "noc": _on(DARK, "000000"),
        "classic": _on(LIGHT, "ffffff"),
        "summary": _on(LIGHT, "f4f5f7"),
        "alphas": _on(LIGHT, "ffffff"),
        "solarized-light": _template("fdf6e3", "586e75", "dcd6c3", "eee8d5", _SOLARIZED),
        "solarized-dark": _template("002b36", "93a1a1", "1c4a55", "073642", _SOLARIZED),
        "ocean1": _on(DARK, "0b1a2b"),
        "ocean2": _on(LIGHT, "eef5fb"),
        "forest1": _on(DARK, "0d1c12"),
        "forest2": _on(LIGHT, "f0f6f0"),
        "sunset1": _on(DARK, "241214"),
        "sunset2": _on(LIGHT, "fdf3ee"),
        "moonlight1": _on(DARK, "16171f"),
        "moonlight2": _on(LIGHT, "f3f3f8"),
        "lava1": _on(DARK, "1d0f0c"),
        "lava2": _on(LIGHT, "fbf1ee"),
    }
)
