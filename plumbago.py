"""The front door: `plumbago`, one command that joins each wing's own.

`plumbago serve` binds the ports, hands them to two child processes (receiver and renderer) and keeps both up: a child
that dies is started again on the same sockets, so clients wait instead of being refused. At SIGHUP the renderer is
replaced by a new one, which reads settings, functions, tokens and certificates anew, without a request lost.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from carbon.cli import (
    ADMIN_PORT,
    BUFFER,
    COLLECT_HOST,
    HOST,
    LINE_PORT,
    MIGRATE,
    MIN_FREE,
    MIN_FREE_AUTO,
    PACK_AFTER,
    PICKLE_PORT,
    RECEIVERS,
    SYNC,
)
from carbon.config import TABLES, Kind
from carbon.settings import load
from carbon.sockets import address, bind, listeners, open_all, warnings
from render.cli import HTTP_PORT, RENDER_WORKERS
from render.config import TABLES as RENDER_TABLES
from storage.cli import CONFIG, DATA, is_store, one_line_errors

VERSION = "0.1.0"

# command → the module that has it in COMMANDS: imported only when it is asked for, as numba alone takes half a second
_WINGS = {
    "receive": "carbon.cli",
    "relay": "carbon.cli",
    "read": "carbon.cli",
    "explain": "carbon.cli",
    "top": "carbon.top",
    "send": "carbon.cli",
    "find": "storage.cli",
    "info": "storage.cli",
    "dump": "storage.readout",
    "fetch": "storage.readout",
    "du": "storage.readout",
    "verify": "storage.readout",
    "export": "storage.readout",
    "import": "storage.operate",
    "snapshot": "storage.operate",
    "restore": "storage.operate",
    "delete": "storage.operate",
    "trash": "storage.operate",
    "rename": "storage.operate",
    "purge": "storage.operate",
    "expire": "storage.operate",
    "plan": "storage.operate",
    "migrate": "storage.operate",
    "render": "render.cli",
    "query": "render.cli",
    "plot": "render.cli",
    "token": "render.token_cli",
}
_SUMMARIES = {
    "delete": "Put series into the trash.",
    "du": "Show which branches take the space on the disk.",
    "dump": "Print all datapoints of a metric, archive by archive.",
    "explain": "Say which rule decides what about a metric name.",
    "export": "Write the store in another program's format: whisper.",
    "expire": "Delete the series that were silent for too long.",
    "fetch": "Print a window's datapoints of the metrics that match.",
    "find": "List the metrics that match a glob.",
    "import": "Take in what another program has stored: whisper.",
    "info": "Explain the store, or one metric: rules, archives, rows, bytes, newest datapoint.",
    "migrate": "Give series whose rules have changed the retention that the rules say now.",
    "plan": "Show what migrate would do.",
    "plot": "Draw targets, in the terminal or into a file.",
    "purge": "Empty the trash.",
    "query": "Evaluate targets and print their datapoints.",
    "receive": "Run the receiver alone.",
    "relay": "Pass metrics on to other servers.",
    "render": "Run the renderer alone.",
    "rename": "Give a series another name, with all its datapoints.",
    "restore": "Bring series back from the trash, or a whole snapshot.",
    "send": "Send metric lines to a server.",
    "snapshot": "Copy the store while it goes on being written.",
    "verify": "Check the store's checksums and name what is damaged.",
    "top": "Watch a running server: rates, senders, rejects.",
    "token": "Make and remove the tokens by which the HTTP API is asked.",
    "trash": "List what was deleted and can be restored.",
}
_OF_THE_WRITER = (Kind.ADMIN, Kind.CARBONLINK)  # the listeners that ask it
_STOP_S = 1.8  # what children get to finish after SIGTERM
_REPLACE_S = (
    60.0  # what a new renderer gets to be ready; a million series take some seconds, kernels to compile more
)
_LEAVING_MAX = 3  # renderers whose clients are still connected: each has its memory
_PR_SET_PDEATHSIG = 1
_BACKOFF_S = (0.1, 0.5, 2.0, 5.0)


class _Wings(click.Group):
    """A group whose commands are found in the wings' cli modules when they are first asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *_WINGS})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _WINGS:
            return super().get_command(context, name)
        module = importlib.import_module(_WINGS[name])
        return _reading_settings(next(command for command in module.COMMANDS if command.name == name))

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with their summaries, without importing a wing."""
        own = {name: self.commands[name].get_short_help_str(limit=80) for name in self.commands}
        with formatter.section("Commands"):
            formatter.write_dl(sorted({**own, **_SUMMARIES}.items()))


class _ConfigError(click.ClickException):
    """A plumbago.toml that cannot be used: one line, exit status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"plumbago: {self.message}", err=True)


@click.group(cls=_Wings, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="plumbago")
def main() -> None:
    """Plumbago keeps Graphite metrics in fixed-size files and answers Graphite queries.

    Every option can also be given as an environment variable (PLUMBAGO_DATA, PLUMBAGO_LINE_PORT, …) or in
    plumbago.toml of the config folder. Shell completion: eval "$(_PLUMBAGO_COMPLETE=bash_source plumbago)".
    """


def _reading_settings(command: click.Command) -> click.Command:
    """The command, with plumbago.toml of its --config folder as the defaults of its other options."""
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _reading_settings(below)
    for parameter in command.params:
        if parameter.name == "config":
            parameter.is_eager = True
            parameter.callback = _take_settings
    return command


def _take_settings(context: click.Context, parameter: click.Parameter, folder: Path | None) -> Path | None:
    if folder is not None:
        context.default_map = {**_of_carbon_conf(context, folder), **_of_file(folder)}
    return folder


def _of_carbon_conf(context: click.Context, folder: Path) -> Mapping[str, Any]:
    """What carbon.conf says for the options of a command that listens."""
    if context.command.name not in ("serve", "receive", "relay") or not (folder / "carbon.conf").exists():
        return {}
    from storage.errors import InvalidConfig

    try:
        return load(folder, relay=context.command.name == "relay").options
    except InvalidConfig as error:
        raise _ConfigError(str(error)) from error


def _of_file(folder: Path) -> Mapping[str, Any]:
    return settings(folder / "plumbago.toml") if (folder / "plumbago.toml").exists() else {}


def settings(path: Path) -> dict[str, Any]:
    """What plumbago.toml sets, by option (`line-port = 2003`); raises _ConfigError with file, line and key."""
    try:
        text = path.read_text()
        values = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _ConfigError(f"{path}: {error}") from error
    options = {(p.name or "").replace("_", "-"): p for p in serve.params if p.name != "config"}
    for key in (*TABLES, *RENDER_TABLES, "listener"):
        values.pop(key, None)  # the receiver's and the renderer's own: they read and check them
    for key, value in values.items():
        line = next((i for i, at in enumerate(text.splitlines(), 1) if at.strip().startswith(key)), 1)
        if key not in options:
            raise _ConfigError(
                f"{path}:{line}: {key}: no such setting; there are {', '.join(sorted(options))}"
            )
        try:
            options[key].type_cast_value(click.Context(serve), value)
        except click.BadParameter as error:
            raise _ConfigError(f"{path}:{line}: {key}: {error.message}") from error
    return {key.replace("-", "_"): value for key, value in values.items()}


@main.command()
@DATA
@CONFIG
@HOST
@LINE_PORT
@PICKLE_PORT
@ADMIN_PORT
@HTTP_PORT
@COLLECT_HOST
@SYNC
@MIN_FREE
@BUFFER
@MIGRATE
@PACK_AFTER
@RECEIVERS
@RENDER_WORKERS
@one_line_errors
def serve(
    data: Path, config: Path | None, host: str, line_port: int, pickle_port: int | None, admin_port: int | None,
    http_port: int, collect_host: bool, sync: float, min_free: int, buffer: int, migrate: str,
    pack_after: int | None, receivers: int, render_workers: int,
) -> None:  # fmt: skip
    """Take metrics in and answer queries: receiver and renderer, supervised."""
    loaded = load(config)
    wanted = listeners(loaded.settings, host, line_port, pickle_port, admin_port, off=loaded.off)
    for warning in (*loaded.warnings, *warnings(wanted)):
        click.echo(f"plumbago: {warning}", err=True)
    bound = open_all(wanted)
    http = bind(host, http_port, "--http-port")
    common = ["--data", str(data), *(["--config", str(config)] if config else [])]
    receive = ["receive", *common, "--collect-host" if collect_host else "--no-collect-host"]
    receive += ["--sync", "off" if sync == math.inf else str(sync)]
    receive += ["--min-free", "auto" if min_free == MIN_FREE_AUTO else str(min_free), "--buffer", str(buffer)]
    receive += ["--migrate", migrate, "--pack-after", "off" if pack_after is None else str(pack_after)]
    receive += ["--host", host, "--receivers", str(receivers)]
    render = ["render", *common, "--render-workers", str(render_workers), "--has-receiver"]
    sockets = {each.name: each.socket for each in bound}
    shared = {
        each.name: each.socket for each in bound if receivers and each.listener.kind not in _OF_THE_WRITER
    }
    own = {name: at for name, at in sockets.items() if name not in shared}
    children = [
        Child("receiver", receive, own, makes_store=not is_store(data)),
        *(Child(f"reader {i}", ["read", *common, "--host", host], shared) for i in range(1, receivers + 1)),
        Child("renderer", render, {"http": http}, is_replaced=True),
    ]
    addresses = " ".join(f"{name}={address(at)}" for name, at in {**sockets, "http": http}.items())
    ready = f"plumbago ready {addresses} data={data}"
    sys.exit(Supervisor(children, lambda: click.echo(ready)).run())


_reading_settings(serve)


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent is killed: it would hold the ports and the store."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Child:
    """One of the wings' processes: its arguments, and the sockets it is handed as `--fd NAME=N`."""

    name: str
    arguments: list[str]
    sockets: Mapping[str, socket.socket]
    makes_store: bool = False  # the others cannot start before it is ready
    is_replaced: bool = False  # at SIGHUP: it ends gently at SIGQUIT, when another has its place
    process: subprocess.Popen[bytes] | None = None
    ready: int = -1  # the pipe on which it says that it is
    was_ready: bool = False
    failures: int = 0
    start_at: float = field(default_factory=time.monotonic)

    def successor(self) -> Child:
        """One like this that is to take its place, not started yet."""
        return replace(self, process=None, ready=-1, was_ready=False, failures=0, start_at=time.monotonic())

    def start(self) -> None:
        self.ready, tell = os.pipe()
        handed = {name: at.fileno() for name, at in self.sockets.items()}
        options = [text for name, fd in handed.items() for text in ("--fd", f"{name}={fd}")]
        command = [sys.executable, "-m", "plumbago", *self.arguments, *options, "--ready-fd", str(tell)]
        self.process = subprocess.Popen(
            command, pass_fds=(*handed.values(), tell), start_new_session=True, preexec_fn=_end_with_parent
        )
        os.close(tell)

    def heard(self) -> None:
        """The ready pipe has something, or its end."""
        if os.read(self.ready, 256):
            self.was_ready, self.failures = True, 0
        os.close(self.ready)
        self.ready = -1

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def is_ready(self) -> bool:
        return self.alive and self.was_ready and self.ready < 0

    def send(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def end(self) -> int:
        """Kill it if it has not ended; its status."""
        assert self.process is not None
        self.process.kill()
        if self.ready >= 0:
            os.close(self.ready)
            self.ready = -1
        return self.process.wait()


class Supervisor:
    """Keeps children running until SIGTERM or SIGINT; a child that dies is started again after a growing pause.

    One that ends before it ever was ready has said why on stderr: all stop, and the exit status is its own.
    At SIGHUP those that can be are replaced: a new one is started beside the old, which leaves when that is ready.
    """

    def __init__(
        self, children: list[Child], on_ready: Callable[[], None], *, replace_s: float = _REPLACE_S
    ) -> None:
        self._children, self._on_ready, self._replace_s = children, on_ready, replace_s
        self._told = False
        self._stopping = False
        self._has_terminal = _has_terminal()
        self._renew = False  # SIGHUP has come
        self._successors: dict[str, Child] = {}  # by the name of whom they replace
        self._leaving: list[Child] = []

    def run(self) -> int:
        """Gives the exit status."""
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(woken)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._has_terminal &= (
            signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
        )  # nohup: it is to outlive that
        signal.signal(signal.SIGHUP, self._hang_up)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while not self._stopping:
            if (status := self._step()) is not None:
                self._end()
                return status
            waiting = {child.ready: child for child in self._all() if child.ready >= 0}
            for fd in select.select([wake, *waiting], [], [], 0.5)[0]:
                if fd == wake:
                    os.read(wake, 4096)
                else:
                    waiting[fd].heard()
        return self._end()

    def _all(self) -> list[Child]:
        return [*self._children, *self._successors.values(), *self._leaving]

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _hang_up(self, *_: object) -> None:
        """Somebody asks for a new renderer; or the terminal that this was started from is gone."""
        if self._has_terminal and not _has_terminal():
            self._stopping = True
        self._renew = True

    def _step(self) -> int | None:
        """Start what is to be started; a status when all must end."""
        now = time.monotonic()
        self._replace(now)
        for child in self._children:
            if child.process is not None and not child.alive:
                status = child.process.returncode
                if not child.was_ready:
                    return status if status > 0 else 1
                click.echo(
                    f"plumbago: the {child.name} ended with status {status} and is started again", err=True
                )
                child.start_at = now + _BACKOFF_S[min(child.failures, len(_BACKOFF_S) - 1)]
                child.failures += 1
                child.process = None
            if child.process is None and now >= child.start_at:
                child.start()
            if child.makes_store and not child.was_ready:
                return None
        if not self._told and all(child.was_ready for child in self._children):
            self._told = True
            self._on_ready()
        return None

    def _replace(self, now: float) -> None:
        """Go on with what SIGHUP has begun. One that comes while a successor starts is for another after it."""
        self._leaving = [child for child in self._leaving if child.alive]
        for at, child in enumerate(self._children):
            successor = self._successors.get(child.name)
            if successor is not None:
                self._go_on(at, successor, now)
            elif self._renew and child.is_replaced and child.is_ready:
                self._renew = False
                self._successors[child.name] = successor = child.successor()
                successor.start()

    def _go_on(self, at: int, successor: Child, now: float) -> None:
        old = self._children[at]
        if successor.is_ready or not old.alive:
            del self._successors[old.name]
            self._children[at] = successor
            if old.alive:
                click.echo(f"plumbago: the {old.name} is replaced; the old one leaves", err=True)
                self._leave(old)
            else:
                click.echo(f"plumbago: the {old.name} ended; a new one is starting already", err=True)
            successor.was_ready = True  # or its end would be that of all
        elif not successor.alive or now - successor.start_at > self._replace_s:
            del self._successors[old.name]
            late = successor.alive
            status = successor.end()
            why = f"was not ready within {self._replace_s:.0f} s" if late else f"ended with status {status}"
            click.echo(f"plumbago: the new {old.name} {why}: the old one stays", err=True)

    def _leave(self, old: Child) -> None:
        """Let it answer its clients; when there are too many such, the oldest has to end soon."""
        old.send(signal.SIGQUIT)
        self._leaving.append(old)
        for one in self._leaving[:-_LEAVING_MAX]:
            one.send(signal.SIGTERM)

    def _end(self) -> int:
        """Stop the children, the first of them last asked to: 0 if each ended by itself in time."""
        alive = [child.process for child in self._all() if child.process is not None and child.alive]
        for process in alive:
            process.terminate()
        deadline, status = time.monotonic() + _STOP_S, 0
        for process in alive:
            try:
                ended = process.wait(max(0.05, deadline - time.monotonic()))
                status = (0 if ended == -signal.SIGTERM else ended) or status  # it had not come to heed it
            except subprocess.TimeoutExpired:
                click.echo(f"plumbago: process {process.pid} did not stop in time and is killed", err=True)
                process.kill()
                status = 1
        return status


def _has_terminal() -> bool:
    """Whether there is a terminal that this process hangs on."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
