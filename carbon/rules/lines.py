"""The lines of a rules file that has no options: what is neither blank nor a comment, with where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from storage.errors import InvalidConfig
from storage.sections import text_of

RULES_MAX = 10_000  # of one file; large installations have some hundred


class Line(NamedTuple):
    path: str
    number: int
    text: str

    @property
    def where(self) -> str:
        """`rewrite-rules.conf:7`, for messages to the operator, who knows the folder."""
        return f"{Path(self.path).name}:{self.number}"

    def refuse(self, key: str, reason: str) -> NoReturn:
        raise InvalidConfig(self.path, self.number, key, reason)


def lines_of(path: Path) -> Iterator[Line]:
    """The lines that say something, stripped; none if there is no such file. Raises InvalidConfig."""
    text = text_of(path) or ""
    count = 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = Line(str(path), number, raw.strip())
        if line.text and not line.text.startswith("#"):
            count += 1
            if count > RULES_MAX:
                line.refuse("file", f"has more than {RULES_MAX:,} rules")
            yield line
