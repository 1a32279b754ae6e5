"""Compiles the kernels that take longest, side by side, so that the workers of a test run need not each do it.

It proves nothing: a test that finds a kernel not compiled compiles it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from carbon.protocols.line import LineReader
from carbon.protocols.msgpack import MsgpackReader
from carbon.protocols.pickle import PickleReader
from carbon.protocols.protobuf import ProtobufReader
from carbon.protocols.reader import warm_up
from storage import codec
from storage.store import Store

NOW = 1_700_000_000


def protocols() -> None:
    warm_up(LineReader)
    warm_up(PickleReader)
    warm_up(MsgpackReader)
    warm_up(ProtobufReader)


def files() -> None:
    codec.encode(np.zeros((1, 1), np.uint64))
    with TemporaryDirectory(prefix="plumbago-") as folder:
        store = Store(Path(folder) / "data")
        series = store.create(["a.b"])
        store.append(series, np.array([NOW]), np.array([1.0]), NOW)
        store.roll_up()
        reader = Store(Path(folder) / "data", writable=False)
        reader.fetch(series, NOW - 60, NOW + 60, NOW)
        reader.close()
        store.close()


JOBS: Sequence[Callable[[], None]] = (protocols, files)


def main() -> None:
    running = [multiprocessing.Process(target=job) for job in JOBS]
    for process in running:
        process.start()
    for process in running:
        process.join()


if __name__ == "__main__":
    main()
