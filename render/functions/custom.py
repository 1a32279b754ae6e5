"""Functions of one's own: what a module of the user imports, and how the modules that the config names are loaded.

    from render.functions.custom import SERIES, Param, function, each

    @function("double", group="Ours", params=[SERIES])
    def double(context, series):
        '''Each datapoint twice as large.

        Example: double(servers.*.cpu)
        '''
        return each(series, "double", lambda block: block.values * 2)

The module is Python with all that the server may do: who can write it, or `plumbago.toml`, is trusted so far.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from render.errors import ArgumentError, CustomFailed, InvalidModule, RenderError, TooMuch
from render.functions.aggregation import aggregate, fresh
from render.functions.context import Context
from render.functions.each import each
from render.functions.nodes import keys
from render.functions.registry import REGISTRY, SERIES, SERIES_LISTS, Param, function
from render.series import Block, Matrix, SeriesList, Tags

__all__ = [
    "SERIES", "SERIES_LISTS", "ArgumentError", "Block", "Context", "Matrix", "Param", "SeriesList", "Tags",
    "TooMuch", "aggregate", "each", "fresh", "function", "keys", "load",
]  # fmt: skip

_LOG = logging.getLogger(__name__)
_OURS = Path(__file__).resolve().parents[1]


def load(modules: Sequence[str], folder: Path | None = None) -> list[str]:
    """Import modules, of the folder or installed; gives the names of the functions that they add.

    Raises InvalidModule with what is wrong and where; the functions of that module are gone then.
    """
    return [name for module in modules for name in _added(module, folder)]


def _added(module: str, folder: Path | None) -> list[str]:
    if module in sys.modules:  # a module that was named before has imported it
        return []
    before = set(REGISTRY.functions)
    try:
        with _importing_from(folder):
            importlib.import_module(module)
        added = [name for name in REGISTRY.functions if name not in before]
        if not added:
            raise InvalidModule(module, "adds no function: there is no @function in it")
    except (Exception, SystemExit) as error:  # what is not ours may raise anything
        REGISTRY.remove(set(REGISTRY.functions) - before)
        sys.modules.pop(module, None)
        if isinstance(error, InvalidModule):
            raise
        raise InvalidModule(module, _reason(error, module, folder)) from error
    _guard(added)
    return added


@contextmanager
def _importing_from(folder: Path | None) -> Iterator[None]:
    """The folder is searched last, so that a file in it stands for no installed module."""
    if folder is None:
        yield
        return
    place = str(folder.resolve())
    sys.path.append(place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(place)


def _reason(error: BaseException, module: str, folder: Path | None) -> str:
    """What is wrong, with file and line if a line of the user's is to blame."""
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
        where = f"neither in {folder} nor" if folder is not None else "not"
        return f"there is no such module: {where} among the installed ones"
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    what = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
    return f"{place}: {what}" if (place := _place(error)) else what


def _place(error: BaseException) -> str:
    """`file:line` of the innermost line that is neither ours nor the import machinery's; "" if there is none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and _OURS not in Path(frame.filename).parents
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _guard(names: Sequence[str]) -> None:
    """Have these functions fail by themselves: what they raise or give wrongly is said to be theirs."""
    guarded: dict[Callable[..., SeriesList], Callable[..., SeriesList]] = {}
    for name in names:
        function_ = REGISTRY.functions[name]
        run = guarded.setdefault(function_.run, _guarded(name, function_.run))
        REGISTRY.functions[name] = replace(function_, run=run, custom=True)


def _guarded(name: str, run: Callable[..., SeriesList]) -> Callable[..., SeriesList]:
    @functools.wraps(run)
    def guarded(context: Context, *arguments: object) -> SeriesList:
        context.may_wait()  # who knows what it does
        try:
            made = run(context, *arguments)
        except RenderError:
            raise
        except Exception as error:
            _LOG.exception("%s() has failed", name)
            place = _place(error)
            kind = type(error).__name__
            raise CustomFailed(name, f"it has failed: {kind}{f' at {place}' if place else ''}") from error
        if wrong := _wrong(made):
            raise CustomFailed(name, f"it gives {wrong}")
        return made

    return guarded


def _wrong(made: object) -> str | None:
    """What is wrong with a function's outcome."""
    if not isinstance(made, SeriesList):
        return f"{type(made).__name__}, not a SeriesList"
    for block in made.blocks:
        if block.values.ndim != 2 or block.values.dtype != np.float64:
            return f"values of {block.values.dtype} in {block.values.ndim} dimensions, not float64 (series, points)"
        columns = (block.names, block.expressions, block.tags, block.consolidations)
        if any(len(column) != len(block.values) for column in columns):
            counts = ", ".join(str(len(column)) for column in columns)
            return f"a block of {len(block.values)} series with {counts} names, expressions, tags, consolidations"
    return None
