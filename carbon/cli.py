"""plumbago receive · relay · explain · send"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from carbon.config import Listener, age_of, size_of
from carbon.settings import Loaded, load
from carbon.sockets import Bound, address, listeners, open_all, warnings
from storage.cli import CONFIG, DATA, one_line_errors

if TYPE_CHECKING:
    from carbon.run import Process

Command = TypeVar("Command", bound=Callable[..., object])


class _Port(click.ParamType):  # type: ignore[type-arg]  # generic to mypy, not to older clicks
    """A port, 0 = any that is free; off → None."""

    name = "PORT|off"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "off":
            return None
        text = str(value)
        if not text.isdecimal() or int(text) > 65535:
            self.fail(f"{value!r} is no port from 0 to 65535, nor off", param, ctx)
        return int(text)


def port_option(
    name: str, default: int, what: str, *, may_be_off: bool = False
) -> Callable[[Command], Command]:
    """An option --<name>-port."""
    return click.option(
        f"--{name}-port",
        type=_Port() if may_be_off else click.IntRange(0, 65535),
        default=default,
        show_default=True,
        envvar=f"PLUMBAGO_{name.upper()}_PORT",
        help=what,
    )


HOST = click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="PLUMBAGO_HOST", help="Address to listen on."
)
LINE_PORT = port_option("line", 2003, "Metric lines, TCP and UDP; 0 = any free port.")
PICKLE_PORT = port_option("pickle", 2004, "Pickled metrics, TCP.", may_be_off=True)
ADMIN_PORT = port_option(
    "admin", 2007, "HTTP: lines by POST /metrics/ingest, GET /metrics, GET /health.", may_be_off=True
)
COLLECT_HOST = click.option(
    "--collect-host/--no-collect-host",
    default=False,
    envvar="PLUMBAGO_COLLECT_HOST",
    help="Measure this host every 10 s.",
)


class _Sync(click.ParamType):  # type: ignore[type-arg]  # generic to mypy, not to older clicks
    """always → 0, off → inf, seconds as they are."""

    name = "always|SECONDS|off"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = (
                {"always": 0.0, "off": math.inf}[str(value)]
                if value in ("always", "off")
                else float(str(value))
            )
        except ValueError:
            seconds = -1.0
        if not seconds >= 0:
            self.fail(f"{value!r} is none of always, off, or a number of seconds", param, ctx)
        return seconds


SYNC = click.option(
    "--sync",
    type=_Sync(),
    default="5",
    show_default=True,
    envvar="PLUMBAGO_SYNC",
    help="When to wait for the disk: what a power cut may cost.",
)


class _Size(click.ParamType):  # type: ignore[type-arg]  # generic to mypy, not to older clicks
    """Bytes; K, M, G behind a number are 1,024 times and so on; `words` are taken as they are."""

    def __init__(self, words: Mapping[str, int]) -> None:
        self._words = words
        self.name = "|".join(["SIZE", *words])

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if str(value) in self._words:
            return self._words[str(value)]
        try:
            return size_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


MIN_FREE_AUTO = -1

MIN_FREE = click.option(
    "--min-free",
    type=_Size({"auto": MIN_FREE_AUTO}),
    default="auto",
    show_default=True,
    envvar="PLUMBAGO_MIN_FREE",
    help="Leave so much of the disk free; auto = 256M or 1 % of it, whichever is less; 0 = nothing.",
)
BUFFER = click.option(
    "--buffer",
    type=_Size({}),
    default="64M",
    show_default=True,
    envvar="PLUMBAGO_BUFFER",
    help="Datapoints that wait while the disk is full; beyond, senders are held back.",
)


class _Age(click.ParamType):  # type: ignore[type-arg]  # generic to mypy, not to older clicks
    """Seconds, also written 90s, 12h, 1d; off → None."""

    name = "AGE|off"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "off":
            return None
        try:
            return age_of(value)
        except ValueError as error:
            self.fail(f"{error}, nor off", param, ctx)


PACK_AFTER = click.option(
    "--pack-after",
    type=_Age(),
    default="1d",
    show_default=True,
    envvar="PLUMBAGO_PACK_AFTER",
    help="Compress blocks that are so old: an eighth of the space, read at half the speed or better.",
)
MIGRATE = click.option(
    "--migrate",
    type=click.Choice(["lossless", "all", "off"]),
    default="lossless",
    show_default=True,
    envvar="PLUMBAGO_MIGRATE",
    help="Which series get a changed retention by themselves: those that lose nothing by it, all, none.",
)


RECEIVERS = click.option(
    "--receivers",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    envvar="PLUMBAGO_RECEIVERS",
    help="Processes that read senders, for `serve`, before the one that stores; 0 = that one reads them itself.",
)


class _Handed(click.ParamType):  # type: ignore[type-arg]  # generic to mypy, not to older clicks
    """NAME=FD: a listener's socket, made by the process that started this one."""

    name = "NAME=FD"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        name, _, number = str(value).partition("=")
        if not name or not number.isdecimal():
            self.fail(f"{value!r} is no NAME=FD", param, ctx)
        return name, int(number)


FD = click.option("--fd", "handed", type=_Handed(), multiple=True, hidden=True)
READY_FD = click.option("--ready-fd", type=int, hidden=True)


@click.command()
@DATA
@CONFIG
@HOST
@LINE_PORT
@PICKLE_PORT
@ADMIN_PORT
@COLLECT_HOST
@SYNC
@MIN_FREE
@BUFFER
@MIGRATE
@PACK_AFTER
@RECEIVERS
@FD
@READY_FD
@one_line_errors
def receive(
    data: Path, config: Path | None, host: str, line_port: int, pickle_port: int | None, admin_port: int | None,
    collect_host: bool, sync: float, min_free: int, buffer: int, migrate: str, pack_after: int | None,
    receivers: int, handed: tuple[tuple[str, int], ...], ready_fd: int | None,
) -> None:  # fmt: skip
    """Run the receiver alone: take metrics in and store them."""
    _begin()
    loaded = load(config)
    settings = loaded.settings
    if ready_fd is None:
        if receivers:
            raise click.UsageError("--receivers is for `plumbago serve`, which starts them")
        _tell(loaded)
    wanted = listeners(settings, host, line_port, pickle_port, admin_port, off=loaded.off)
    bound = _bound(wanted, dict(handed) if ready_fd is not None else None)

    from carbon.service import Receiver
    from storage.room import Floor
    from storage.schema import Rules
    from storage.store import Store

    store = Store(data, Rules.load(config), durable=sync != math.inf, pack_after=pack_after)
    receiver = Receiver(
        store,
        config,
        bound,
        settings=settings,
        data=data,
        collect_host=collect_host,
        sync_s=None if sync == math.inf else sync,
        floor=Floor(None if min_free == MIN_FREE_AUTO else min_free),
        buffer_bytes=buffer,
        migrate=migrate,
        readers=receivers > 0,
    )
    _run(receiver, bound, f" data={store.folder}", ready_fd)


@click.command()
@DATA
@CONFIG
@HOST
@LINE_PORT
@PICKLE_PORT
@ADMIN_PORT
@COLLECT_HOST
@one_line_errors
def relay(
    data: Path, config: Path | None, host: str, line_port: int, pickle_port: int | None, admin_port: int | None,
    collect_host: bool,
) -> None:  # fmt: skip
    """Take metrics in and pass them on to other servers, by [relay] of plumbago.toml; only the spool is stored."""
    _begin()
    loaded = load(config, relay=True)
    settings = loaded.settings
    if not settings.relay.destinations:
        raise click.UsageError("neither [relay] of plumbago.toml nor that of carbon.conf names destinations")
    _tell(loaded)
    bound = _bound(listeners(settings, host, line_port, pickle_port, admin_port, off=loaded.off), None)

    from carbon.service import Receiver

    data.mkdir(parents=True, exist_ok=True)
    receiver = Receiver(None, config, bound, settings=settings, data=data, collect_host=collect_host)
    _run(receiver, bound, f" relay to {', '.join(settings.relay.destinations)}", None)


@click.command(hidden=True)
@DATA
@CONFIG
@HOST
@FD
@READY_FD
@one_line_errors
def read(
    data: Path, config: Path | None, host: str, handed: tuple[tuple[str, int], ...], ready_fd: int | None
) -> None:
    """Read senders for the writer of a data folder: started by serve --receivers."""
    _begin()
    loaded = load(config)
    settings = loaded.settings
    bound = _bound(listeners(settings, host, 0, 0, None, off=loaded.off), dict(handed))

    from carbon.reading import ReaderProcess

    _run(ReaderProcess(bound, settings, data), bound, "", ready_fd)


def _begin() -> None:
    """Log to stderr; have as many descriptors as may be: connections and files of the store."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    faulthandler.enable()  # a mapped page that the disk cannot give is a SIGBUS: say where, instead of nothing
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)


def _tell(loaded: Loaded) -> None:
    for warning in loaded.warnings:
        logging.getLogger(__name__).warning("%s", warning)


def _bound(wanted: Sequence[Listener], handed: Mapping[str, int] | None) -> list[Bound]:
    """The listeners' sockets: those that were handed over, or new ones."""
    if handed is not None:
        return [
            Bound(each, socket.socket(fileno=handed[each.name])) for each in wanted if each.name in handed
        ]
    for warning in warnings(wanted):
        logging.getLogger(__name__).warning("%s", warning)
    return open_all(wanted)


def _run(process: Process, bound: Sequence[Bound], what: str, ready_fd: int | None) -> None:
    from carbon.run import run

    ports = " ".join(f"{each.name}={address(each.socket)}" for each in bound)

    def ready() -> None:
        if ready_fd is None:
            click.echo(f"plumbago ready {ports}{what}")
        else:
            os.write(ready_fd, f"{ports}\n".encode())
            os.close(ready_fd)

    if status := run(process, ready):
        sys.exit(status)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@CONFIG
@one_line_errors
def explain(names: tuple[str, ...], config: Path | None) -> None:
    """Say which rule decides what about a metric name: filters, rewriting, aggregates, relaying, storage.

    Example: plumbago explain servers.web1.cpu --config /etc/plumbago
    """
    from carbon.rules.ruleset import RuleSet
    from storage import naming
    from storage.schema import Rules

    settings = load(config).settings
    relaying = settings.relay
    rules = RuleSet.load(
        config,
        forward_all=settings.aggregator.forward_all,
        relay=bool(relaying.destinations) and relaying.method == "rules",
    )
    schemas = Rules.load(config)
    for name in names:
        canonical = naming.canonical(name)
        click.echo(f"{canonical}:")
        for line in rules.explain(canonical):
            click.echo(f"  {line}")
        stored = rules.decide([canonical])[0].name
        if stored is not None:
            kept = schemas.decide(stored)
            click.echo(f"  {kept.retention_rule}: kept as {kept.schema.retention}")
            click.echo(
                f"  {kept.aggregation_rule}: rolled up by {kept.schema.aggregation}, "
                f"xFilesFactor {kept.schema.x_files_factor:g}"
            )


@click.command()
@click.argument("lines", nargs=-1, metavar="[METRIC VALUE [TIMESTAMP]]…")
@click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="PLUMBAGO_HOST", help="The server's address."
)
@click.option(
    "--line-port",
    type=click.IntRange(1, 65535),
    default=2003,
    show_default=True,
    envvar="PLUMBAGO_LINE_PORT",
    help="The server's line port.",
)
def send(lines: tuple[str, ...], host: str, line_port: int) -> None:
    """Send metric lines: each argument is one ("a.b 1.5", a timestamp may follow), or stdin has them."""
    source = lines if lines else (line.rstrip("\n") for line in sys.stdin)
    count = 0
    try:
        with socket.create_connection((host, line_port), timeout=10) as server:
            for chunk, lines_in_it in _chunks(source):
                server.sendall(chunk)
                count += lines_in_it
    except OSError as error:
        click.echo(
            f"plumbago: {host}:{line_port}: {error.strerror or error}: is `plumbago serve` running there?",
            err=True,
        )
        sys.exit(1)
    click.echo(f"sent {count} {'line' if count == 1 else 'lines'} to {host}:{line_port}", err=True)


def _chunks(lines: Iterable[str]) -> Iterator[tuple[bytes, int]]:
    """Lines joined to pieces of some 64 KiB; exits with status 2 at a line that is none."""
    piece, size = [], 0
    for line in lines:
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in (2, 3):
            raise click.UsageError(f"{line!r} is no line: METRIC VALUE [TIMESTAMP]")
        piece.append(" ".join([*fields, str(int(time.time()))][:3]) + "\n")
        size += len(piece[-1])
        if size >= 1 << 16:
            yield "".join(piece).encode(), len(piece)
            piece, size = [], 0
    if piece:
        yield "".join(piece).encode(), len(piece)


COMMANDS = [receive, relay, read, explain, send]
