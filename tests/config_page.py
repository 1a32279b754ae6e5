"""docs/config.md, made of the sources: `python -m tests.config_page` writes it, test_docs.py keeps it equal."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from carbon.carbon_conf import described as carbon_keys
from carbon.config import TABLES, Listener, described
from plumbago import serve
from render.config import TABLES as OF_RENDERER
from render.config import Scope
from render.macros import Macros

PAGE = Path(__file__).parent.parent / "docs" / "config.md"

_TOP = """# Settings

Made of the sources by `python -m tests.config_page`; a test keeps the two the same.

Every option of the command line can also be given as an environment variable or at the top of `plumbago.toml`
in the `--config` folder (without its dashes: `line-port = 2003`); the command line goes first, then the
environment, then the file. The file's tables are read when the receiver and the renderer start. What cannot be used
is one line with file, line, key and what is allowed.

Sizes are bytes, also `512K`, `64M`, `2G`; ages are seconds, also `90s`, `12h`, `1d`.
"""
_EXAMPLE = """
```toml
line-port = 2003

[listener.line]
allow = ["10.0.0.0/8"]

[listener.secure]              # lines by TLS, beside
host = "0.0.0.0"
port = 2103
tls-certificate = "/etc/plumbago/server.crt"
tls-key = "/etc/plumbago/server.key"
token-sha256 = "…"             # printf %s TOKEN | sha256sum; a client begins with the line `token TOKEN`

[limits]
new-series-a-second = 20000

[http]
tls-certificate = "/etc/plumbago/server.crt"
tls-key = "/etc/plumbago/server.key"

[access]                       # tokens: `plumbago token add NAME --scope read`
hosts = ["metrics.example.org"]
origins = ["https://grafana.example.org"]
```
"""


def page() -> str:
    """The whole of docs/config.md."""
    parts = [_TOP, _EXAMPLE, "## Options\n", _table(("option", "environment", "default", ""), _options())]
    for name, table in [("listener.NAME", Listener), *TABLES.items(), *OF_RENDERER.items()]:
        words = inspect.cleandoc(table.__doc__ or "").replace("\n", " ").partition("]: ")[2]
        rows = ((f"`{key}`", _shown(table, key, default), text) for key, default, text in described(table))
        parts += [f"\n## [{name}]\n\n{words[0].upper()}{words[1:]}\n", _table(("key", "default", ""), rows)]
    parts.append(
        "\n## carbon.conf\n\nWhat becomes of carbon's keys when its file lies in the `--config` folder.\n"
    )
    parts.append(_table(("key", "what becomes of it"), ((f"`{key}`", text) for key, text in carbon_keys())))
    return "\n".join(parts)


def _options() -> Iterator[tuple[str, ...]]:
    for each in serve.params:
        if isinstance(each, click.Option) and not each.hidden:
            names = " / ".join(f"`{name}`" for name in (*each.opts, *each.secondary_opts))
            default = each.to_info_dict()["default"]
            yield names, f"`{each.envvar}`", "none" if default is None else _toml(default), each.help or ""


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )


def _shown(table: type[Any], key: str, default: object) -> str:
    """A default as it would be written; None by the word that says it, if there is one."""
    if default is not None:
        return _toml(default)
    read = next(each for each in fields(table) if each.name == key.replace("-", "_")).metadata["read"]
    return next((f"`{word}`" for word in ("off", "auto") if _says_none(read, word)), "none")


def _says_none(read: Any, word: str) -> bool:
    try:
        return read(word) is None
    except ValueError:
        return False


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(_toml(each).strip('`') for each in value)}]`"
    if isinstance(value, Scope | str):
        return f'`"{value}"`'
    if isinstance(value, Macros):
        return "none"
    if isinstance(value, int | float):
        return f"`{value}`"
    return f'`"{value}"`'


if __name__ == "__main__":
    PAGE.write_text(page())
