from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.graph.text import FAMILIES, FONTS, MONO, SANS, Font, begin, cut, width

fonts = st.builds(Font, st.floats(4, 200), st.sampled_from([SANS, MONO]), st.booleans(), st.booleans())
texts = st.one_of(st.text(max_size=40), st.text(st.characters(codec="ascii"), max_size=80))


def test_the_table_of_widths_is_that_of_the_shipped_fonts() -> None:
    pytest.importorskip("fontTools")
    from tests.render.graph.make_advances import table

    assert (FONTS / "advances.json").read_text() == table()


def test_every_font_has_its_licence_beside_it_and_is_noticed() -> None:
    notice = (FONTS.parents[2] / "NOTICE").read_text()
    for path in FONTS.glob("*.ttf"):
        maker = "Roboto" if path.name.startswith("Roboto") else "DejaVu"
        assert (FONTS / f"LICENSE-{maker}.txt").is_file()
        assert f"render/graph/fonts/LICENSE-{maker}.txt" in notice


@given(texts, texts, fonts)
def test_texts_are_as_wide_as_their_parts(a: str, b: str, font: Font) -> None:
    assert width(a + b, font) == pytest.approx(width(a, font) + width(b, font))


@given(texts, st.floats(0, 400), fonts)
def test_what_is_cut_fits_and_keeps_both_ends(text: str, room: float, font: Font) -> None:
    shown = cut(text, room, font)
    assert width(shown, font) <= room + 1e-6
    if shown != text and shown:
        left, _, right = shown.rpartition("…")
        assert text.startswith(left)
        assert text.endswith(right)
    if width(text, font) <= room:
        assert shown == text


@given(texts, st.floats(0, 400), fonts)
def test_a_beginning_is_as_long_as_it_fits(text: str, room: float, font: Font) -> None:
    shown = begin(text, room, font)
    assert text.startswith(shown)
    assert width(shown, font) <= room + 1e-6
    assert shown == text or width(text[: len(shown) + 1], font) > room - 1e-6


def test_bold_is_wider_and_mono_is_level() -> None:
    assert width("a title", Font(10, bold=True)) > width("a title", Font(10))
    assert width("iiii", Font(10, MONO)) == width("MMMM", Font(10, MONO)) > 0
    assert set(FAMILIES.values()) == {SANS, MONO}


def test_what_the_font_does_not_have_counts_as_wide() -> None:
    assert width("漢", Font(10)) == 10
    assert width("\u0591", Font(10)) == 0
