"""VictoriaMetrics as Debian packages it: a single process that takes metric lines."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

import psutil

from benchmarks.peers import free_ports
from benchmarks.server import Memory, memory

VICTORIA = "VictoriaMetrics 1.79"
PROGRAM = "victoria-metrics"
_START_S = 60


def victoria(folder: Path, *, retention: str = "1") -> VictoriaMetrics | None:
    """None where it is not installed."""
    return VictoriaMetrics(folder, retention=retention) if shutil.which(PROGRAM) else None


class VictoriaMetrics:
    """Running until the end of the `with`."""

    def __init__(self, folder: Path, *, retention: str = "1") -> None:
        """`retention` in months, or as 2y."""
        self.line_port, self.http_port = free_ports(2)
        self.pickle_port = 0  # it reads none
        command = [
            PROGRAM, f"-storageDataPath={folder}", f"-graphiteListenAddr=127.0.0.1:{self.line_port}",
            f"-httpListenAddr=127.0.0.1:{self.http_port}", f"-retentionPeriod={retention}", "-search.latencyOffset=0s",
            "-search.disableCache", "-loggerLevel=ERROR", "-search.maxUniqueTimeseries=3000000",
        ]  # fmt: skip
        self._process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._http = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self._get("/health")
                return
            except OSError:
                self._http.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._process.kill()
                    raise RuntimeError("victoria-metrics did not start") from None
                time.sleep(0.1)

    def __enter__(self) -> VictoriaMetrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(60)

    def _get(self, path: str) -> bytes:
        self._http.request("GET", path)
        return self._http.getresponse().read()

    def has(self, names: list[str], timestamp: int, values: list[float]) -> bool:
        """Whether a query sees these datapoints: what it has taken in is made searchable first."""
        self._get("/internal/force_flush")
        for name, value in zip(names[::10], values[::10], strict=True):
            asked = {"match[]": f'{{__name__="{name}"}}', "start": timestamp, "end": timestamp}
            answer = self._get(f"/api/v1/export?{urlencode(asked)}")
            found = [json.loads(line)["values"] for line in answer.splitlines()]
            if not any(value in each for each in found):
                return False
        return True

    def fill(self, name: str, timestamps: list[int], values: list[float]) -> None:
        """The datapoints of a series."""
        line = {
            "metric": {"__name__": name},
            "timestamps": [1000 * at for at in timestamps],
            "values": values,
        }
        self._http.request("POST", "/api/v1/import", json.dumps(line))
        answer = self._http.getresponse()
        if answer.read() or answer.status != 204:
            raise RuntimeError(f"victoria-metrics did not take datapoints: {answer.status}")

    def settle(self, names: list[str]) -> None:
        """What it has in memory becomes parts on the disk: that work belongs to the datapoints."""
        self._get("/internal/force_flush")
        time.sleep(1.5)

    def cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> Memory:
        return memory(self._process)
