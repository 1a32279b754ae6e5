"""Compiled kernels are never older than any kernel's source."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import compiled

ROOT = Path(__file__).parent.parent.parent


def sources(folder: Path) -> Path:
    for path, text in (
        ("storage/kernels.py", "from storage.compiled import njit\n"),
        ("storage/codec_kernels.py", "from storage.compiled import njit\n"),
        ("render/functions/kernels.py", "from storage.compiled import njit\n"),
        ("carbon/listen.py", "pass\n"),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.mark.parametrize("path", ["storage/codec_kernels.py", "render/functions/kernels.py"])
def test_a_change_in_any_file_with_kernels_makes_all_new(tmp_path: Path, path: str) -> None:
    before = compiled.fingerprint(sources(tmp_path))
    assert compiled.fingerprint(tmp_path) == before
    with (tmp_path / path).open("a") as file:
        file.write("# another\n")
    assert compiled.fingerprint(tmp_path) != before


def test_a_change_elsewhere_keeps_what_is_compiled(tmp_path: Path) -> None:
    before = compiled.fingerprint(sources(tmp_path))
    (tmp_path / "carbon/listen.py").write_text("...\n")
    assert compiled.fingerprint(tmp_path) == before


def test_every_kernel_is_kept_under_the_fingerprint() -> None:
    for package in ("storage", "carbon", "render"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "compiled.py":
                assert "from numba import njit" not in path.read_text(), path
