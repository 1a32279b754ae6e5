"""The receiver's sockets: which listeners there are, and each bound and ready to be handed to another process."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from carbon.config import ALWAYS, FILE, Kind, Listener, Settings
from storage.errors import InvalidConfig

_BACKLOG = 1024
_LOOPBACK = ("127.", "::1", "localhost")
_HERE = "127.0.0.1"


class Bound(NamedTuple):
    listener: Listener
    socket: socket.socket

    @property
    def name(self) -> str:
        return self.listener.name


def listeners(
    settings: Settings,
    host: str,
    line_port: int,
    pickle_port: int | None,
    admin_port: int | None,
    *,
    off: Collection[str] = (),
) -> list[Listener]:
    """All that are to be: those that are always there by their options, and those that have a table of their own; but
    for those that are `off`.

    Raises InvalidConfig for a table that says no port, and for a port of what has an option for it.
    """
    ports = (line_port, line_port, pickle_port, admin_port)
    found = []
    for name, port in zip(ALWAYS, ports, strict=True):
        listener = settings.listener_of(name)
        if listener.port is not None or listener.path is not None:
            option = "line" if name == "udp" else name
            raise InvalidConfig(FILE, 0, f"[listener.{name}]", f"its port is set by {option}-port at the top")
        if port is not None and name not in off:
            found.append(replace(listener, host=listener.host or host, port=port))
    for name, listener in settings.listener.items():
        if name in ALWAYS:
            continue
        if listener.port is None and listener.path is None:
            raise InvalidConfig(FILE, 0, f"[listener.{name}]", "has neither port nor path")
        found.append(replace(listener, host=listener.host or _HERE))
    return found


def open_all(wanted: Sequence[Listener]) -> list[Bound]:
    """Their sockets; raises OSError that says which setting to change."""
    made: list[Bound] = []
    try:
        for listener in wanted:
            if listener.name == "udp" and made and made[0].name == "line":
                continue  # made with it
            if listener.name == "line":
                udp = next((each for each in wanted if each.name == "udp"), None)
                made += _line_and_udp(listener, udp)
            else:
                made.append(Bound(listener, _open(listener)))
    except OSError:
        for bound in made:
            bound.socket.close()
        raise
    return made


def _line_and_udp(line: Listener, udp: Listener | None) -> list[Bound]:
    """TCP and UDP on one number; with port 0, on one that is free for both."""
    for _ in range(20):
        tcp = _open(line)
        if udp is None:
            return [Bound(line, tcp)]
        try:
            return [Bound(line, tcp), Bound(udp, _open(replace(udp, port=tcp.getsockname()[1])))]
        except OSError:
            tcp.close()
            if line.port:
                raise
    raise OSError("no port number is free for both TCP and UDP")


def _open(listener: Listener) -> socket.socket:
    if listener.path is not None:
        return _open_path(listener)
    kind = socket.SOCK_DGRAM if listener.kind is Kind.UDP else socket.SOCK_STREAM
    assert listener.port is not None
    assert listener.host is not None
    return bind(listener.host, listener.port, _setting_of(listener), kind)


def _setting_of(listener: Listener) -> str:
    builtin = {
        "line": "--line-port",
        "udp": "--line-port",
        "pickle": "--pickle-port",
        "admin": "--admin-port",
    }
    return builtin.get(listener.name, f"port in [listener.{listener.name}]")


def _open_path(listener: Listener) -> socket.socket:
    """A Unix socket; one that nobody listens on any more is taken away first, nothing else is."""
    path = listener.path
    assert path is not None
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode) and not _is_alive(path):
                path.unlink()
        bound.bind(os.fspath(path))
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        where = f"path in [listener.{listener.name}]"
        raise OSError(
            f"cannot listen on {path} ({error.strerror or error}): choose another {where}"
        ) from error
    return bound


def _is_alive(path: os.PathLike[str]) -> bool:
    """Only a refusal says that nobody listens: one whose queue is full is busy."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(os.fspath(path)) != errno.ECONNREFUSED


def bind(host: str, port: int, option: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket bound to the port, listening if it is a stream; OSError says which option to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        if kind == socket.SOCK_STREAM:
            bound.listen(_BACKLOG)
        bound.setblocking(False)
    except (OSError, TypeError) as error:  # a name that IDNA cannot encode is a TypeError here
        bound.close()
        choose = f"choose another with {option}, or 0 for any free port"
        why = getattr(error, "strerror", None) or error
        raise OSError(f"cannot listen on {host}:{port} ({why}): {choose}") from error
    return bound


def address(bound: socket.socket) -> str:
    """host:port, or the path."""
    if bound.family == socket.AF_UNIX:
        return str(bound.getsockname())
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def warnings(wanted: Sequence[Listener]) -> list[str]:
    """What the operator should know at every start: who is let in unasked."""
    return [
        f"{each.name} listens on {each.host} and takes datapoints from whoever reaches it: "
        f"give [listener.{each.name}] a token, tls-client-ca or allow, or listen on 127.0.0.1"
        for each in wanted
        if each.path is None and each.is_open and not str(each.host).startswith(_LOOPBACK)
    ]
