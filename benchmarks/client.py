"""An HTTP client that costs less than what it measures: a socket that is kept, and answers that nobody parses.

And wrk, which asks for more at once than a Python process could.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

WRK = "wrk"
_TIMEOUT_S = 600
_BUFFER_BYTES = 1 << 20
_STATUS = re.compile(rb"HTTP/1\.[01] (\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"
_CLOSED = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_RATE = re.compile(r"Requests/sec: +([\d.]+)")
_FAILED = re.compile(r"Non-2xx or 3xx responses: \d+|Socket errors: .*")
# each edge of a window moves by itself, so that no two requests of a run ask the same
_SCRIPT = """local at = {at}
function request()
  local from = {first} + at % {moves} * {step}
  local till = from + ({points} - math.floor(at / {moves}) % {cuts}) * {step}
  at = at + {stride}
  return wrk.format("GET", string.format("%s&{begin}=%d&{end_}=%d", {url}, from, till))
end
"""
_MOVES, _CUTS = 360, 60


class Asked(NamedTuple):
    """A query by its URL without the window, and the windows that it is asked for in turn."""

    url: str
    first: int  # epoch seconds
    step: int  # seconds
    points: int  # of the longest window; the shortest has 59 less
    edges: tuple[str, str] = ("from", "until")

    def at(self, i: int) -> str:
        """The URL with its i-th window; the first 21,600 differ."""
        begin = self.first + i % _MOVES * self.step
        end = begin + (self.points - i // _MOVES % _CUTS) * self.step
        return f"{self.url}&{self.edges[0]}={begin}&{self.edges[1]}={end}"

    def script(self, at: int, stride: int) -> str:
        """The same in Lua, from the at-th on; stride 0 = always that one."""
        return _SCRIPT.format(
            at=at, stride=stride, first=self.first, step=self.step, points=self.points, moves=_MOVES,
            cuts=_CUTS, begin=self.edges[0], end_=self.edges[1], url=f'"{self.url}"',
        )  # fmt: skip


SPAN = _MOVES  # steps that the windows move over: so much more than one window's data must be there


class Client:
    """A kept connection to a port of this host, used until the end of the `with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = self._connected()
        self._buffer = bytearray(_BUFFER_BYTES)

    def _connected(self) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._socket.close()

    def get(self, url: str) -> bytes:
        """The whole body, in chunks as they came if it came in chunks; raises RuntimeError if the status is not 200."""
        self._socket.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % url.encode())
        got = self._more()
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more()
        head, parts = got[: end + 2], [got[end + 4 :]]
        self._rest(head, parts)
        body = b"".join(parts)
        if _CLOSED.search(head):
            self._socket.close()
            self._socket = self._connected()
        status = _STATUS.match(head)
        if status is None or status[1] != b"200":
            raise RuntimeError(f"{url}: {head[:50]!r} {body[:300]!r}")
        return body

    def _rest(self, head: bytes, parts: list[bytes]) -> None:
        """Add what is missing of a body whose begin is there."""
        length, chunked = _LENGTH.search(head), _CHUNKED.search(head)
        if chunked:
            while b"".join(parts[-5:])[-5:] != _LAST_CHUNK:  # in JSON it is nowhere else
                parts.append(self._more())
        elif length:
            missing = int(length[1]) - len(parts[0])
            while missing > 0:
                parts.append(self._more())
                missing -= len(parts[-1])
        else:
            raise RuntimeError(f"an answer of unknown length: {head!r}")

    def _more(self) -> bytes:
        got = self._socket.recv_into(self._buffer)
        if not got:
            raise ConnectionError("the server closed the connection")
        return bytes(memoryview(self._buffer)[:got])


def requests_a_second(port: int, script: Path, *, connections: int, seconds: float) -> float:
    """What wrk gets of a server with kept connections that ask as the script says; all must be answered with 200."""
    with load(port, script, connections=connections, seconds=seconds) as running:
        said = running.communicate()[0]
    failed, rate = _FAILED.search(said), _RATE.search(said)
    if failed or rate is None:
        raise RuntimeError(f"wrk: {failed[0] if failed else said[:300]}")
    return float(rate[1])


def load(port: int, script: Path, *, connections: int, seconds: float) -> subprocess.Popen[str]:
    """wrk at work; it prints when it ends."""
    if shutil.which(WRK) is None:
        raise RuntimeError("wrk is not installed, and nothing else here asks fast enough")
    command = [WRK, "-t1", f"-c{connections}", f"-d{seconds:.0f}s", f"--timeout={_TIMEOUT_S}s"]
    return subprocess.Popen(
        [*command, f"--script={script}", f"http://127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True
    )
