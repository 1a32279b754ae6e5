"""Graphite's own programs, in a virtual environment of their own beside the project.

`.venv-peers` is made when a question first wants it; PLUMBAGO_PEERS names another one that is there already.
Where it cannot be made (no network), peers are missing and the table says so.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import time
import venv
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import psutil
import whisper

ROOT = Path(__file__).parent.parent
CARBON = "carbon-cache 1.1.10"
GRAPHITE = "graphite-web 1.1.10"
WHISPER = "whisper 1.1.10"

_PACKAGES = (
    "carbon==1.1.10", "whisper==1.1.10", "Django==3.2.25", "django-tagging==0.5.0",
    "gunicorn", "pytz", "pyparsing", "cairocffi", "six", "urllib3", "setuptools<81",
)  # fmt: skip
_OURS = ("-P", "-W", "ignore")  # -P: beside the script lies http.py, which is not the library's
_WITHOUT_DEPENDENCIES = "graphite-web==1.1.10"  # its pins contradict those of the others
_INSTALL_S = 600
_START_S = 60


class Answers(NamedTuple):
    """What graphite-web took for a request, several times, and the last answer."""

    seconds: list[float]
    body: str


class Peers:
    @cached_property
    def python(self) -> Path | None:
        """The Python that has the peers; None = they are not to be had."""
        given = os.environ.get("PLUMBAGO_PEERS")
        if given:
            return Path(given) / "bin/python"
        try:
            return _installed(ROOT / ".venv-peers")
        except (OSError, subprocess.SubprocessError) as error:
            print(f"no peers: {error}", file=sys.stderr)
            return None

    def graphite_web(self, folder: Path, url: str, *, runs: int) -> Answers | None:
        """GETs of a URL over the whisper files of folder/whisper, in graphite-web's own process; no HTTP."""
        if self.python is None:
            return None
        script = Path(__file__).with_name("graphite_web.py")
        asked = json.dumps({"folder": str(folder), "url": url, "runs": runs})
        command = [str(self.python), *_OURS, str(script)]
        done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True)
        return Answers(**json.loads(done.stdout))

    def graphite_targets(
        self, folder: Path, targets: list[str], start: int, until: int, *, runs: int
    ) -> dict[str, float | None] | None:
        """Processor seconds that graphite-web takes to evaluate each target over the whisper files of folder/whisper.

        In its own process, without HTTP and JSON; None = it fails there. Raises CalledProcessError.
        """
        if self.python is None:
            return None
        script = Path(__file__).with_name("graphite_web.py")
        asked = {"folder": str(folder), "targets": targets, "start": start, "until": until, "runs": runs}
        command = [str(self.python), *_OURS, str(script)]
        done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
        taken: dict[str, float | None] = json.loads(done.stdout)
        return taken

    def carbon_cache(self, folder: Path) -> CarbonCache | None:
        return None if self.python is None else CarbonCache(self.python, folder)


def _installed(folder: Path) -> Path:
    python, done = folder / "bin/python", folder / "installed"
    wanted = "\n".join((*_PACKAGES, _WITHOUT_DEPENDENCIES))
    if done.exists() and done.read_text() == wanted:
        return python
    print(f"installing carbon and graphite-web into {folder.name} …", file=sys.stderr)
    venv.create(folder, clear=True, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # both packages would go to /opt/graphite, where they are not found, if their setup.py is run the old way
    environment = {**os.environ, "GRAPHITE_NO_PREFIX": "True"}
    for arguments in (_PACKAGES, ("--no-deps", _WITHOUT_DEPENDENCIES)):
        subprocess.run([*install, *arguments], env=environment, timeout=_INSTALL_S, check=True)
    done.write_text(wanted)
    return python


_CONFIG = """[cache]
MAX_CACHE_SIZE = inf
MAX_UPDATES_PER_SECOND = inf
MAX_CREATES_PER_MINUTE = inf
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {line}
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = {pickle}
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = {query}
ENABLE_TAGS = False
LOG_UPDATES = False
LOG_CREATES = False
LOG_CACHE_HITS = False
LOG_CACHE_QUEUE_SORTS = False
LOG_LISTENER_CONN_SUCCESS = False
"""
# a file of a month and five years is 2.6 MB, which carbon fills with zeros: that would measure the disk
_SCHEMAS = """[all]
pattern = .*
retentions = 1m:1d
"""


class CarbonCache:
    """A carbon-cache without limits and logs, running until the end of the `with`."""

    def __init__(self, python: Path, folder: Path) -> None:
        (folder / "conf").mkdir(parents=True)
        ports = dict(zip(("line", "pickle", "query"), free_ports(3), strict=True))
        self.line_port, self.pickle_port, self._query_port = ports["line"], ports["pickle"], ports["query"]
        self._whisper = folder / "storage/whisper"
        (folder / "conf/carbon.conf").write_text(_CONFIG.format(**ports))
        (folder / "conf/storage-schemas.conf").write_text(_SCHEMAS)
        command = [
            str(python),
            str(python.with_name("carbon-cache.py")),
            f"--config={folder}/conf/carbon.conf",
        ]
        command += [f"--pidfile={folder}/pid", f"--logdir={folder}", "--nodaemon", "start"]
        environment = {**os.environ, "GRAPHITE_ROOT": str(folder)}
        self._process = psutil.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._query = self._connected()

    def _connected(self) -> socket.socket:
        deadline = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                return socket.create_connection(("127.0.0.1", self._query_port))
            except ConnectionRefusedError:
                time.sleep(0.1)
        self._process.kill()
        raise RuntimeError(f"carbon-cache did not start (status {self._process.wait()})")

    def __enter__(self) -> CarbonCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._query.close()
        self._process.terminate()
        self._process.wait(60)

    def has(self, names: list[str], timestamp: int, values: list[float]) -> bool:
        """Whether graphite-web would find these datapoints, in the cache or else in the file."""
        cached = self._cached(names)
        for name, value in zip(names, values, strict=True):
            if dict(cached[name]).get(timestamp) != value and self._stored(name, timestamp) != value:
                return False
        return True

    def settle(self, names: list[str]) -> None:
        """Wait until the cache has been written to files."""
        while any(self._cached(names).values()):
            time.sleep(0.5)

    def _cached(self, names: list[str]) -> dict[str, list[tuple[int, float]]]:
        asked = pickle.dumps({"type": "cache-query-bulk", "metrics": names}, protocol=2)
        self._query.sendall(struct.pack("!L", len(asked)) + asked)
        answer: dict[str, Any] = pickle.loads(self._read(*struct.unpack("!L", self._read(4))))
        found: dict[str, list[tuple[int, float]]] = answer["datapointsByMetric"]
        return found

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._query.recv(size)
            if not part:
                raise ConnectionError("carbon-cache closed its query port")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _stored(self, name: str, timestamp: int) -> float | None:
        path = self._whisper / (name.replace(".", "/") + ".wsp")
        if not path.exists():
            return None
        values: list[float | None] = whisper.fetch(str(path), timestamp - 60, timestamp)[1]
        return values[0]

    def written(self) -> int:
        """Bytes that it has caused to be written to a device so far."""
        return int(self._process.io_counters().write_bytes)

    def cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def free_ports(how_many: int) -> list[int]:
    """Ports that were free a moment ago: carbon takes numbers only."""
    with ExitStack() as held:
        free = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(how_many)]
        return [each.getsockname()[1] for each in free]
