"""plumbago receive · send"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from storage.cli import CONFIG, DATA, one_line_errors

if TYPE_CHECKING:
    from storage.store import Store

Command = TypeVar("Command", bound=Callable[..., object])


def port_option(name: str, default: int, what: str) -> Callable[[Command], Command]:
    """An option --<name>-port."""
    variable = f"PLUMBAGO_{name.upper()}_PORT"
    return click.option(
        f"--{name}-port",
        type=click.IntRange(0, 65535),
        default=default,
        show_default=True,
        envvar=variable,
        help=what,
    )


HOST = click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="PLUMBAGO_HOST", help="Address to listen on."
)
LINE_PORT = port_option("line", 2003, "Metric lines, TCP and UDP; 0 = any free port.")
PICKLE_PORT = port_option("pickle", 2004, "Pickled metrics, TCP.")
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
        text = str(value)
        found = _SIZE.fullmatch(text)
        if text in self._words:
            return self._words[text]
        if found is None:
            self.fail(f"{text!r} is no size such as 1048576, 512K, 64M or 2G", param, ctx)
        return int(found[1]) << _SHIFTS[found[2].upper()]


_SIZE = re.compile(r"(\d+)([KMG]?)(?:i?B)?", re.IGNORECASE)
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}
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
        text = str(value)
        if text == "off":
            return None
        if (found := _AGE.fullmatch(text)) is None:
            self.fail(f"{text!r} is no age such as 0, 90s, 12h or 1d, nor off", param, ctx)
        return int(found[1]) * _UNITS_S[found[2]]


_AGE = re.compile(r"(\d+)([smhdw]?)")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

PACK_AFTER = click.option(
    "--pack-after",
    type=_Age(),
    default="1d",
    show_default=True,
    envvar="PLUMBAGO_PACK_AFTER",
    help="Compress blocks that are so old: an eighth of the space, read at half the speed.",
)
MIGRATE = click.option(
    "--migrate",
    type=click.Choice(["lossless", "all", "off"]),
    default="lossless",
    show_default=True,
    envvar="PLUMBAGO_MIGRATE",
    help="Which series get a changed retention by themselves: those that lose nothing by it, all, none.",
)


@click.command()
@DATA
@CONFIG
@HOST
@LINE_PORT
@PICKLE_PORT
@COLLECT_HOST
@SYNC
@MIN_FREE
@BUFFER
@MIGRATE
@PACK_AFTER
@click.option("--line-fd", type=int, hidden=True)
@click.option("--udp-fd", type=int, hidden=True)
@click.option("--pickle-fd", type=int, hidden=True)
@click.option("--ready-fd", type=int, hidden=True)
@one_line_errors
def receive(
    data: Path, config: Path | None, host: str, line_port: int, pickle_port: int, collect_host: bool, sync: float,
    min_free: int, buffer: int, migrate: str, pack_after: int | None,
    line_fd: int | None, udp_fd: int | None, pickle_fd: int | None, ready_fd: int | None,
) -> None:  # fmt: skip
    """Run the receiver alone: take metrics in and store them."""
    from storage.schema import Rules
    from storage.store import Store

    faulthandler.enable()  # a mapped page that the disk cannot give is a SIGBUS: say where, instead of nothing
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if line_fd is not None and udp_fd is not None and pickle_fd is not None:
        line, udp, pickle = (socket.socket(fileno=fd) for fd in (line_fd, udp_fd, pickle_fd))
    else:
        line, udp = bind_line(host, line_port)
        pickle = bind(host, pickle_port, "--pickle-port")
    _run(
        Store(data, Rules.load(config), durable=sync != math.inf, pack_after=pack_after),
        config,
        {"line": line, "udp": udp, "pickle": pickle},
        collect_host,
        sync,
        min_free,
        buffer,
        migrate,
        ready_fd,
    )


def _run(
    store: Store,
    config: Path | None,
    sockets: dict[str, socket.socket],
    collect_host: bool,
    sync: float,
    min_free: int,
    buffer: int,
    migrate: str,
    ready_fd: int | None,
) -> None:
    from carbon.service import Receiver, run
    from storage.room import Floor

    receiver = Receiver(
        store,
        config,
        sockets,
        collect_host=collect_host,
        sync_s=None if sync == math.inf else sync,
        floor=Floor(None if min_free == MIN_FREE_AUTO else min_free),
        buffer_bytes=buffer,
        migrate=migrate,
    )
    ports = " ".join(f"{name}={address(at)}" for name, at in sockets.items())

    def ready() -> None:
        if ready_fd is None:
            click.echo(f"plumbago ready {ports} data={store.folder}")
        else:
            os.write(ready_fd, f"{ports}\n".encode())
            os.close(ready_fd)

    if status := run(receiver, ready):
        sys.exit(status)


def bind(host: str, port: int, option: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket bound to the port, listening if it is a stream; OSError says which option to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        if kind == socket.SOCK_STREAM:
            bound.listen(1024)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        choose = f"choose another with {option}, or 0 for any free port"
        raise OSError(f"cannot listen on {host}:{port} ({error.strerror}): {choose}") from error
    return bound


def bind_line(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """TCP and UDP on one number; with port 0, on one that is free for both."""
    for _ in range(20):
        tcp = bind(host, port, "--line-port")
        try:
            return tcp, bind(host, tcp.getsockname()[1], "--line-port", socket.SOCK_DGRAM)
        except OSError:
            tcp.close()
            if port:
                raise
    raise OSError("no port number is free for both TCP and UDP")


def address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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


COMMANDS = [receive, send]
