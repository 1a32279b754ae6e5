"""Lines of rules files: numbered as an editor numbers them, bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from carbon.rules.lines import RULES_MAX, lines_of
from storage.errors import InvalidConfig


def test_lines_are_numbered_as_an_editor_numbers_them(tmp_path: Path) -> None:
    path = tmp_path / "rules.conf"
    path.write_bytes("\ufeff# first\r\n\r\n a \r\n#b\nc # no comment\x0b\n".encode())
    assert [(line.where, line.text) for line in lines_of(path)] == [
        ("rules.conf:3", "a"),
        ("rules.conf:5", "c # no comment"),
    ]


def test_a_file_that_is_absent_has_no_lines(tmp_path: Path) -> None:
    assert list(lines_of(tmp_path / "rules.conf")) == []


def test_a_file_has_so_many_rules_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "rules.conf"
    path.write_text("a\n" * RULES_MAX)
    assert len(list(lines_of(path))) == RULES_MAX
    path.write_text("a\n" * (RULES_MAX + 1))
    with pytest.raises(InvalidConfig, match=f":{RULES_MAX + 1}: file: has more than 10,000 rules"):
        list(lines_of(path))


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rules.conf").write_bytes(b"a\n\xff")
    with pytest.raises(InvalidConfig, match=":2: text: is not UTF-8"):
        list(lines_of(tmp_path / "rules.conf"))
