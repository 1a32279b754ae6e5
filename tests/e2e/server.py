"""A `plumbago serve` of its own for a test: real processes, real sockets."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

READY_S = 90.0  # the first start ever compiles the kernels
_READY = re.compile(r"plumbago ready (?P<ports>.*) data=(?P<data>.+)\n")
_PORT = re.compile(r"(\w+)=\S*:(\d+)")


class Server:
    def __init__(self, data: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "plumbago", "serve", "--data", str(data), "--line-port", "0"]
        command += ["--pickle-port", "0", "--admin-port", "0", "--http-port", "0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], READY_S)[0], "no ready line in time"
        self.ready = self.process.stdout.readline()
        found = _READY.fullmatch(self.ready)
        assert found, self.ready + (self.process.stderr.read() if self.process.stderr else "")
        self.ports = {name: int(port) for name, port in _PORT.findall(found["ports"])}
        self.line, self.udp, self.pickle, self.http = (
            self.ports[name] for name in ("line", "udp", "pickle", "http")
        )

    def send(self, data: bytes, port: int | None = None) -> None:
        with socket.create_connection(("127.0.0.1", port or self.line), timeout=5) as connection:
            connection.sendall(data)

    def send_udp(self, *datagrams: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in datagrams:
                sender.sendto(datagram, ("127.0.0.1", self.udp))

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer of a GET."""
        return json.loads(self.ask(path, **parameters)[1])

    def ask(self, path: str, **parameters: Any) -> tuple[int, bytes]:
        """(status, body) of a GET."""
        url = f"http://127.0.0.1:{self.http}{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def post(
        self, path: str, body: bytes, content_type: str = "application/json", **parameters: Any
    ) -> bytes:
        """The body of the answer to a POST."""
        url = f"http://127.0.0.1:{self.http}{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        request = urllib.request.Request(url, body, {"Content-Type": content_type})
        with urllib.request.urlopen(request, timeout=20) as answer:
            read: bytes = answer.read()
            return read

    def values(self, target: str, **parameters: Any) -> dict[str, list[float]]:
        """What is known of each series of a target."""
        series = self.get("/render", target=target, format="json", **{"from": "-2h", **parameters})
        return {one["target"]: [v for v, _ in one["datapoints"] if v is not None] for one in series}

    def children(self) -> dict[str, int]:
        """Process ids by the command that each runs."""
        listing = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True
        )
        found = {}
        for line in listing.stdout.splitlines():
            pid, args = line.split(None, 1)
            found[args.split("plumbago ", 1)[1].split()[0]] = int(pid)
        return found

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float, str]:
        """(exit status, seconds it took, stderr)"""
        started = time.monotonic()
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, time.monotonic() - started, errors


def eventually(what: Callable[[], Any], seconds: float = 40.0) -> Any:
    """The first true answer; fails with the last one after so long."""
    deadline = time.monotonic() + seconds
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        select.select([], [], [], 0.05)
