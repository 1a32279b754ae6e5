"""A `plumbago serve` of its own: real processes, asked from outside."""

from __future__ import annotations

import contextlib
import http.client
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np
import psutil

from benchmarks.peers import ROOT
from benchmarks.workbench import STEP_S
from storage.store import Store

_READY_S = 180.0  # the first start ever compiles the kernels
_READY = re.compile(r"plumbago ready (?P<ports>.*) data=")
_PORT = re.compile(r"(\w+)=\S*:(\d+)")


class Memory(NamedTuple):
    """MiB of all processes. What several map is in rss once for each, in pss once altogether."""

    rss: float
    pss: float


class Server:
    """Running from the constructor until the end of the `with`."""

    name = "plumbago"

    def __init__(self, data: Path, *options: str) -> None:
        command = [sys.executable, "-m", "plumbago", "serve", "--data", str(data)]
        command += [
            "--line-port",
            "0",
            "--pickle-port",
            "0",
            "--admin-port",
            "0",
            "--http-port",
            "0",
            *options,
        ]
        started = time.perf_counter()
        self._process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        heard = select.select([self._process.stdout], [], [], _READY_S)[0]
        ready = _READY.match(self._process.stdout.readline()) if heard else None
        if ready is None:
            self._process.terminate()
            raise RuntimeError(
                f"the server ended, or was not ready within {_READY_S:.0f} s; what it said is above"
            )
        self.ready_s = time.perf_counter() - started
        ports = {name: int(port) for name, port in _PORT.findall(ready["ports"])}
        self.line_port, self.pickle_port, self._admin_port = ports["line"], ports["pickle"], ports["admin"]
        self.http_port = ports["http"]
        self._http = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        self._store = Store(data, writable=False)  # as a renderer has it
        self._series: dict[str, int] = {}

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._store.close()
        self._http.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def kill(self) -> None:
        """SIGKILL all processes; nothing of it is left to say goodbye."""
        for process in _family(self._process):
            process.kill()
        self._process.wait(20)

    def get(self, path: str, **parameters: str) -> bytes:
        self._http.request("GET", f"{path}?{urlencode(parameters)}")
        answer = self._http.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
        return body

    def admin(self, path: str) -> bytes:
        """What the receiver tells of itself."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self._admin_port, timeout=60)
        ) as asked:
            asked.request("GET", path)
            return asked.getresponse().read()

    def has(self, names: list[str], timestamp: int, values: list[float]) -> bool:
        """Whether a reader beside the server sees these datapoints."""
        self._store.refresh()
        for name in names:
            if name not in self._series:
                found = self._store.find_series(name)[1]
                if not len(found):
                    return False
                self._series[name] = int(found[0])
        series = np.array([self._series[name] for name in names], np.int32)
        seen = np.full(len(names), np.nan)
        for part in self._store.fetch(series, timestamp - STEP_S, timestamp, int(time.time())):
            seen[part.positions] = part.values[:, 0]
        return bool(np.array_equal(seen, values))

    def settle(self, names: list[str]) -> None:
        """Wait until the coarser archives are up to date too: that work belongs to the datapoints."""
        time.sleep(0.6)  # the receiver rolls up every 0.25 s

    def cpu_s(self) -> float:
        return cpu_s(self._process)

    def written(self) -> int:
        """Bytes that all processes have caused to be written to a device so far."""
        return written(self._process)

    def memory(self) -> Memory:
        return memory(self._process)


def memory(process: psutil.Process) -> Memory:
    """What a process and its children hold."""
    texts = [Path(f"/proc/{each.pid}/smaps_rollup").read_text() for each in _family(process)]
    kib = [dict(re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)) for text in texts]
    return Memory(*(sum(int(each[key]) for each in kib) / 1024 for key in ("Rss", "Pss")))


def cpu_s(process: psutil.Process) -> float:
    """User and system time of a process and its children so far."""
    times = [each.cpu_times() for each in _family(process)]
    return float(sum(each.user + each.system for each in times))


def written(process: psutil.Process) -> int:
    """Bytes that a process and its children have caused to be written to a device so far."""
    return sum(each.io_counters().write_bytes for each in _family(process))


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]
