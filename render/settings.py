"""plumbago.toml as the renderer reads it: its own tables, checked when the file is read."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from render.config import TABLES, Settings
from storage.errors import InvalidConfig

FILE = "plumbago.toml"


def load(folder: Path | None) -> Settings:
    """Those of a folder's file; the defaults if there is none. Raises InvalidConfig with file, line and key."""
    path = folder / FILE if folder is not None else None
    if path is None or not path.exists():
        return Settings()
    try:
        text = path.read_text()
        tables = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: of tomllib, int and read_text
        line = re.search(r"at line (\d+)", str(error))
        raise InvalidConfig(str(path), int(line[1]) if line else 0, "file", str(error)) from error
    found = {
        name.replace("-", "_"): _table(kind, str(path), text, name, tables[name])
        for name, kind in TABLES.items()
        if name in tables
    }
    return Settings(**found)


def _table(kind: type[Any], path: str, text: str, name: str, values: object) -> Any:
    """A table as its dataclass."""
    if not isinstance(values, dict):
        raise InvalidConfig(path, _line(text, "", name), name, f"is no table: write [{name}]")
    known: Mapping[str, Field[Any]] = {
        each.name.replace("_", "-"): each for each in fields(kind) if each.metadata
    }
    found = {}
    for key, value in values.items():
        if key not in known:
            reason = f"no such setting in [{name}]; there are {', '.join(known)}"
            raise InvalidConfig(path, _line(text, name, key), key, reason)
        try:
            found[known[key].name] = known[key].metadata["read"](value)
        except ValueError as error:
            raise InvalidConfig(path, _line(text, name, key), key, str(error)) from error
    made = kind(**found)
    for key, reason in getattr(made, "faults", tuple)():
        raise InvalidConfig(path, _line(text, name, key), key, reason)
    return made


def _line(text: str, table: str, key: str) -> int:
    """The line of a key in its table ("" = at the top), or of the table that is called so; else 1."""
    within, found = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        if heading := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            within = heading[1]
            if within in (table, f"{table}.{key}".lstrip(".")):
                found = number
        elif within == table and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[.=]""", line):
            return number
    return found
