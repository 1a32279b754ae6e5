"""plumbago receive · send"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

_PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default="plumbago-data", show_default=True, envvar="PLUMBAGO_DATA", help="Folder of the store.")
@click.option("--config", type=click.Path(path_type=Path, file_okay=False), envvar="PLUMBAGO_CONFIG", help="Folder of the configuration.")
@click.option("--host", default="127.0.0.1", show_default=True, envvar="PLUMBAGO_HOST", help="Address to listen on.")
@click.option("--line-port", type=_PORT, default=2003, show_default=True, envvar="PLUMBAGO_LINE_PORT", help="Metric lines, TCP and UDP; 0 = any free port.")
@click.option("--pickle-port", type=_PORT, default=2004, show_default=True, envvar="PLUMBAGO_PICKLE_PORT", help="Pickled metrics, TCP.")
@click.option("--collect-host/--no-collect-host", default=False, envvar="PLUMBAGO_COLLECT_HOST", help="Measure this host every 10 s.")
@click.option("--line-fd", type=int, hidden=True)
@click.option("--udp-fd", type=int, hidden=True)
@click.option("--pickle-fd", type=int, hidden=True)
@click.option("--ready-fd", type=int, hidden=True)
def receive(
    data: Path, config: Path | None, host: str, line_port: int, pickle_port: int, collect_host: bool,
    line_fd: int | None, udp_fd: int | None, pickle_fd: int | None, ready_fd: int | None,
) -> None:  # fmt: skip
    """Run the receiver alone: take metrics in and store them."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    from storage.errors import StorageError

    try:
        line = _socket(line_fd, host, line_port, "--line-port")
        sockets = {
            "line": line,
            "udp": _socket(udp_fd, host, line.getsockname()[1], "--line-port", socket.SOCK_DGRAM),
            "pickle": _socket(pickle_fd, host, pickle_port, "--pickle-port"),
        }
        _run(data, config, sockets, collect_host, ready_fd)
    except (StorageError, OSError) as error:
        click.echo(f"plumbago: {error}", err=True)
        sys.exit(1)


def _run(data: Path, config: Path | None, sockets: dict[str, socket.socket], collect_host: bool, ready_fd: int | None) -> None:
    from carbon.service import Receiver, run
    from storage.schema import Rules
    from storage.store import Store

    receiver = Receiver(Store(data, Rules.load(config)), config, sockets, collect_host=collect_host)
    ports = " ".join("{}={}:{}".format(name, *at.getsockname()[:2]) for name, at in sockets.items())

    def ready() -> None:
        if ready_fd is None:
            click.echo(f"plumbago ready {ports} data={data}")
        else:
            os.write(ready_fd, f"{ports}\n".encode())
            os.close(ready_fd)

    run(receiver, ready)


def _socket(fd: int | None, host: str, port: int, option: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """The socket handed over as fd, or a new one bound to the port."""
    if fd is not None:
        return socket.socket(fileno=fd)
    try:
        if kind == socket.SOCK_STREAM:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=1024)
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        bound.bind((host, port))
        return bound
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port} ({error.strerror}): choose another port with {option}, 0 = any free one") from error


@click.command()
@click.argument("lines", nargs=-1, metavar="[METRIC VALUE [TIMESTAMP]]…")
@click.option("--host", default="127.0.0.1", show_default=True, envvar="PLUMBAGO_HOST", help="The server's address.")
@click.option("--line-port", type=_PORT, default=2003, show_default=True, envvar="PLUMBAGO_LINE_PORT", help="The server's line port.")
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
        click.echo(f"plumbago: {host}:{line_port}: {error.strerror or error}: is `plumbago serve` running there?", err=True)
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
