"""graphite-web as it is served: gunicorn's processes over a folder of whisper files."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.client import Client
from benchmarks.peers import GRAPHITE, Peers, free_ports
from benchmarks.server import cpu_s

SERVED = f"{GRAPHITE}, gunicorn"
_START_S = 60
_TIMEOUT_S = 600  # graphite-web gives up after 3 s and answers without the rest, gunicorn after 30
_THREADS = 4  # a process; without them gunicorn closes the connection after each answer
_SETTINGS = """SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["*"]
STORAGE_DIR = {folder!r}
WHISPER_DIR = {folder!r} + "/whisper"
LOG_DIR = {folder!r} + "/log"
LOG_ROTATION = False
LOG_INFO_PERFORMANCE = False
TIME_ZONE = "UTC"
CARBONLINK_HOSTS = []
FIND_TIMEOUT = FETCH_TIMEOUT = {seconds}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {folder!r} + "/db"}}}}
"""


def graphite_web(peers: Peers, folder: Path) -> GraphiteWeb | None:
    """None where it cannot be had; whisper files are in folder/whisper."""
    if peers.python is None or not peers.python.with_name("gunicorn").exists():
        return None
    return GraphiteWeb(peers.python, folder)


class GraphiteWeb:
    """Running until the end of the `with`; two processes a processor, as gunicorn's manual advises."""

    def __init__(self, python: Path, folder: Path) -> None:
        (folder / "log").mkdir(parents=True, exist_ok=True)
        (folder / "benchmark_settings.py").write_text(
            _SETTINGS.format(folder=str(folder), seconds=_TIMEOUT_S)
        )
        (self.port,) = free_ports(1)
        command = [
            str(python), "-W", "ignore", "-m", "gunicorn", "graphite.wsgi:application",
            f"--bind=127.0.0.1:{self.port}", f"--workers={2 * (os.cpu_count() or 1)}",
            f"--threads={_THREADS}", f"--timeout={_TIMEOUT_S}", "--log-level=error",
        ]  # fmt: skip
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "DJANGO_SETTINGS_MODULE": "graphite.settings",
            "GRAPHITE_SETTINGS_MODULE": "benchmark_settings",
        }
        # finds are asked under a user's profile
        migrate = [
            str(python),
            "-W",
            "ignore",
            "-m",
            "django",
            "migrate",
            "--run-syncdb",
            "--skip-checks",
            "--verbosity=0",
        ]
        subprocess.run(migrate, cwd=folder, env=environment, check=True)
        self._process = psutil.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self._end()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with Client(self.port) as client:
                    client.get("/metrics/find?query=*")
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError("graphite-web did not start; what it said is above")

    def __enter__(self) -> GraphiteWeb:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._end()

    def cpu_s(self) -> float:
        return cpu_s(self._process)

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(60)
