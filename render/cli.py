"""plumbago render · query · plot"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from datetime import tzinfo
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from storage.cli import CONFIG, DATA

if TYPE_CHECKING:
    from render.extras import Extras
    from render.formats.table import Column

P = ParamSpec("P")

HTTP_PORT = click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    envvar="PLUMBAGO_HTTP_PORT",
    help="The Graphite HTTP API; 0 = any free port.",
)

_AUTO = -1
_WORKERS_MAX = 256


class _Count(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A number of processes, or `auto`."""

    name = "number"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        if value == "auto":
            return _AUTO
        return click.IntRange(_AUTO, _WORKERS_MAX).convert(value, parameter, context)


RENDER_WORKERS = click.option(
    "--render-workers",
    type=_Count(),
    default="auto",
    show_default="one a processor, at most 4",
    envvar="PLUMBAGO_RENDER_WORKERS",
    help="Processes that answer heavy queries, so that light ones need not wait; 0 = none.",
)


def _one_line_errors(command: Callable[P, None]) -> Callable[P, None]:
    """What storage and render raise on purpose is one line on stderr and exit status 1."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        from render.errors import RenderError
        from storage.errors import StorageError

        try:
            command(*args, **kwargs)
        except BrokenPipeError:  # `| head` has what it wants: click ends quietly
            raise
        except (RenderError, StorageError, OSError) as error:
            click.echo(f"plumbago: {error}", err=True)
            sys.exit(1)

    return guarded


@click.command("render")
@DATA
@CONFIG
@click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="PLUMBAGO_HOST", help="Address to listen on."
)
@HTTP_PORT
@RENDER_WORKERS
@click.option("--fd", "handed", hidden=True)  # http=N: a socket made by the process that started this one
@click.option("--ready-fd", type=int, hidden=True)
@click.option("--number", type=int, default=1, hidden=True)  # of several that share a socket
@click.option("--has-receiver", is_flag=True, hidden=True)  # which is started beside it
@_one_line_errors
def render_command(
    data: Path,
    config: Path | None,
    host: str,
    http_port: int,
    render_workers: int,
    handed: str | None,
    ready_fd: int | None,
    number: int,
    has_receiver: bool,
) -> None:
    """Run the renderer alone: answer Graphite's HTTP API from the store."""
    listening = (
        _listen(host, http_port) if handed is None else socket.socket(fileno=int(handed.partition("=")[2]))
    )
    address = _address(listening)
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    from render import settings
    from render.access import Door, is_loopback, warning
    from render.api.cache import Cache
    from render.deleting import Deleter
    from render.server import serve
    from render.tokens import Tokens
    from storage.schema import Rules
    from storage.store import Store

    loaded, extras = settings.load(config), _load_extras(config)
    at = str(listening.getsockname()[0])
    door = Door(loaded.access, Tokens(data), local=is_loopback(at))
    if number == 1 and (words := warning(at, address, door)):
        click.echo(f"plumbago: {words}", err=True)

    def ready() -> None:
        if ready_fd is None:
            click.echo(f"plumbago ready http={address} data={data}")
        else:
            os.write(ready_fd, f"http={address}\n".encode())
            os.close(ready_fd)

    store = Store(data, Rules.load(config), writable=False)
    serve(
        store,
        listening,
        limits=loaded.query,
        bounds=loaded.http,
        door=door,
        extras=extras,
        delete=Deleter(data, config),
        cache=Cache(loaded.cache) if loaded.cache.bytes_max else None,
        worker_count=_count(render_workers),
        own_fds=() if ready_fd is None else (ready_fd,),
        has_receiver=has_receiver,
        on_ready=ready,
    )
    logging.shutdown()
    sys.stdout.flush()
    # Threads may still be in a kernel (they only read), and the interpreter would take its code away under them.
    os._exit(0)


def _count(workers: int) -> int:
    return min(4, len(os.sched_getaffinity(0))) if workers == _AUTO else workers


def _load_extras(config: Path | None) -> Extras:
    """What plumbago.toml adds to targets: the user's own functions, which are registered, macros and tables."""
    from render import extras, settings
    from render.functions import custom

    loaded = settings.load(config)
    custom.load(loaded.functions.modules, config)
    return extras.of(loaded)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise OSError(
            f"cannot listen on {host}:{port} ({error.strerror}): "
            "choose another port with --http-port, or 0 for any free one"
        ) from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@click.command("query")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--from", "start", default="-1h", show_default=True, envvar="PLUMBAGO_FROM", help="Begin.")
@click.option("--until", default="now", show_default=True, envvar="PLUMBAGO_UNTIL", help="End.")
@click.option("--tz", envvar="PLUMBAGO_TZ", help="Time zone, such as Europe/Berlin.  [default: this host's]")
@click.option(
    "--max-data-points",
    type=click.IntRange(1),
    envvar="PLUMBAGO_MAX_DATA_POINTS",
    help="Merge datapoints until there are no more than about this many (table and json).",
)
@DATA
@CONFIG
@click.option("--url", envvar="PLUMBAGO_URL", help="Ask this server, such as http://127.0.0.1:8080, instead.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    envvar="PLUMBAGO_FORMAT",
    help="What to print.",
)
@click.option(
    "--explain",
    is_flag=True,
    envvar="PLUMBAGO_EXPLAIN",
    help="Print what is read and done, step by step, instead.",
)
@_one_line_errors
def query_command(
    targets: tuple[str, ...],
    start: str,
    until: str,
    tz: str | None,
    max_data_points: int | None,
    data: Path,
    config: Path | None,
    url: str | None,
    form: str,
    explain: bool,
) -> None:
    """Evaluate targets and print their datapoints.

    \b
    plumbago query 'servers.*.cpu' --from -2h
    plumbago query 'sumSeries(servers.*.requests)' --from noon --format csv
    """
    params = {
        "target": list(targets),
        "from": [start],
        "until": [until],
        "tz": [tz or _local_zone()],
        "format": ["csv" if form == "csv" else "json"],
        "maxDataPoints": [str(max_data_points)] if max_data_points else [],
        "explain": ["1"] if explain else [],
    }
    body = _from_store(params, data, config) if url is None else _from_server(params, url)
    if explain and form == "table":
        click.echo(_as_plan(body))
        return
    click.echo(_as_table(body, params["tz"][0]) if form == "table" else body.rstrip(b"\r\n").decode())


def _from_store(params: dict[str, list[str]], data: Path, config: Path | None) -> bytes:
    from render.api.render import view
    from render.api.response import House
    from render.source import SharedStore
    from storage.schema import Rules
    from storage.store import Store

    extras = _load_extras(config)
    house = House(SharedStore(Store(data, Rules.load(config), writable=False)), extras=extras)
    return view(params, house, int(time.time())).body


def _from_server(params: dict[str, list[str]], url: str) -> bytes:
    """The body of a server's answer; OSError with what it says if that is an error."""
    from urllib.error import HTTPError, URLError
    from urllib.parse import urlencode
    from urllib.request import Request, urlopen

    if not url.startswith(("http://", "https://")):
        raise OSError(f"{url!r} is no URL of a server: write one such as http://127.0.0.1:8080")
    form = urlencode(params, doseq=True).encode()
    try:
        with urlopen(Request(f"{url.rstrip('/')}/render", form), timeout=60) as answer:  # noqa: S310  # checked above
            body: bytes = answer.read()
            return body
    except HTTPError as error:
        raise OSError(f"{url}: {_said(error.read()) or error}") from None
    except URLError as error:
        raise OSError(f"{url}: {error.reason}: is `plumbago serve` running there?") from None


def _said(body: bytes) -> str:
    """The message of an error's body; "" if it has none."""
    import json

    try:
        said: Any = json.loads(body)
    except ValueError:
        return ""
    return str(said.get("error", "")) if isinstance(said, dict) else ""


def _columns(body: bytes) -> list[Column]:
    """The series of a JSON answer."""
    import orjson

    from render.formats.table import Column

    series = orjson.loads(body)
    return [Column(one["target"], {at: value for value, at in one["datapoints"]}) for one in series]


def _as_table(body: bytes, zone_name: str) -> str:
    from render.formats.table import table
    from render.timespec import zone

    columns = _columns(body)
    if not columns:
        click.echo("no series", err=True)
        return ""
    width = shutil.get_terminal_size((120, 24)).columns
    local: tzinfo = zone(zone_name)
    return table(columns, local, width)


def _as_plan(body: bytes) -> str:
    import orjson

    from render.explain import as_text

    return as_text(orjson.loads(body)["steps"])


def _local_zone() -> str:
    """The name of this host's time zone; UTC if it has none that has a name."""
    from render.errors import InvalidTime
    from render.timespec import zone

    link = os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    for name in (os.environ.get("TZ", "").removeprefix(":"), link):
        try:
            zone(name)
        except InvalidTime:
            continue
        return name
    return "UTC"


@click.command("plot")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--from", "start", default="-1h", show_default=True, envvar="PLUMBAGO_FROM", help="Begin.")
@click.option("--until", default="now", show_default=True, envvar="PLUMBAGO_UNTIL", help="End.")
@click.option("--tz", envvar="PLUMBAGO_TZ", help="Time zone, such as Europe/Berlin.  [default: this host's]")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="PLUMBAGO_OUTPUT",
    help="Draw into this file, .png, .svg or .pdf, instead of to the terminal.",
)
@click.option("--title", envvar="PLUMBAGO_TITLE", help="What stands above it.")
@click.option("--width", type=click.IntRange(16), envvar="PLUMBAGO_WIDTH", help="Pixels, or characters.")
@click.option("--height", type=click.IntRange(4), envvar="PLUMBAGO_HEIGHT", help="Pixels, or lines.")
@click.option(
    "--drawing",
    multiple=True,
    metavar="NAME=VALUE",
    envvar="PLUMBAGO_DRAWING",
    help="A drawing parameter of /render, such as areaMode=stacked; any number of times.",
)
@DATA
@CONFIG
@click.option("--url", envvar="PLUMBAGO_URL", help="Ask this server, such as http://127.0.0.1:8080, instead.")
@_one_line_errors
def plot_command(
    targets: tuple[str, ...],
    start: str,
    until: str,
    tz: str | None,
    output: Path | None,
    title: str | None,
    width: int | None,
    height: int | None,
    drawing: tuple[str, ...],
    data: Path,
    config: Path | None,
    url: str | None,
) -> None:
    """Draw targets, to the terminal or into a file.

    \b
    plumbago plot 'servers.*.cpu' --from -2h
    plumbago plot 'servers.*.cpu' --from -1d -o cpu.png --drawing areaMode=stacked
    """
    form = "json" if output is None else output.suffix.removeprefix(".").lower()
    if form not in ("json", "png", "svg", "pdf"):
        raise OSError(f"{output}: what is drawn is .png, .svg or .pdf, by the file's name")
    terminal = shutil.get_terminal_size((100, 30))
    columns, lines = min(width or terminal.columns, 1000), min(height or max(8, terminal.lines - 12), 300)
    params = {
        **_drawing_params(drawing),
        "target": list(targets),
        "from": [start],
        "until": [until],
        "tz": [tz or _local_zone()],
        "format": [form],
    }
    if output is None:
        params["maxDataPoints"] = [str(2 * columns)]
    else:
        params |= {"width": [str(width or 800)], "height": [str(height or 400)], "title": [title or ""]}
    body = _from_store(params, data, config) if url is None else _from_server(params, url)
    if output is not None:
        output.write_bytes(body)
    else:
        click.echo("\n".join(filter(None, [title, _as_dots(body, params["tz"][0], columns, lines)])))


def _drawing_params(given: tuple[str, ...]) -> dict[str, list[str]]:
    params = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise OSError(f"--drawing {text!r}: write NAME=VALUE, such as areaMode=stacked")
        params[name] = [value]
    return params


def _as_dots(body: bytes, zone_name: str, columns: int, lines: int) -> str:
    from render.graph.terminal import plot
    from render.timespec import zone

    dots = plot(_columns(body), zone(zone_name), columns, lines)
    if not dots:
        click.echo("no data", err=True)
    return dots


COMMANDS = [render_command, query_command, plot_command]
