"""All settings of the receiver that are not on the command line: plumbago.toml, and carbon.conf below it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from carbon import carbon_conf
from carbon.config import Settings


class Loaded(NamedTuple):
    """`options`: what carbon.conf says for options of the command line, by their Python names; `off`: listeners that
    are not to be; `warnings`: what of carbon.conf has no effect."""

    settings: Settings
    options: Mapping[str, Any]
    off: frozenset[str]
    warnings: tuple[str, ...]


def load(folder: Path | None, *, relay: bool = False) -> Loaded:
    """Those of a folder; `relay`: as carbon-relay reads its file. Raises InvalidConfig."""
    asked = Settings.load(folder).carbon_conf
    daemons = (carbon_conf.RELAY,) if relay else asked.daemons
    found = carbon_conf.load(folder, daemons=daemons, instance=asked.instance)
    return Loaded(Settings.load(folder, found.settings), found.options, found.off, found.warnings)
