from __future__ import annotations

import pytest

from render.formats import pdf
from render.formats.presentation import Presentation
from tests.render.graph.drawing import two_waves


def test_it_is_a_page() -> None:
    pytest.importorskip("reportlab")
    assert pdf.encode(two_waves(), Presentation()).startswith(b"%PDF-")
