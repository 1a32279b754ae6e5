"""How many bytes does a datapoint take in a sealed block, and what do packing and reading it cost?

Kind by kind and on a fleet's mix (kinds.py), blocks of 512 rows and 120 slots. Beside the bytes: zstd of the
same blocks, their bytes shuffled, which has to unpack all 512 rows to read one; and whisper's 12. Beside the
times: copying the rows as they are, which is what reading and sealing do without a codec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from benchmarks import kinds
from benchmarks.measure import Row, cpu_seconds
from benchmarks.peers import WHISPER
from benchmarks.workbench import Workbench
from storage.codec import encode
from storage.codec_kernels import decode_rows
from storage.format import LANE_ROWS, NAN_BITS

Bits = npt.NDArray[np.uint64]

_SLOTS = 120
_WHISPER_BYTES = 12
_LEVEL = 3
_ZSTD = f"zstd -{_LEVEL}, shuffled, {LANE_ROWS} rows"


def rows(bench: Workbench) -> Iterator[Row]:
    zstd = _zstd()
    blocks = bench.size(40)
    for kind in kinds.KINDS:
        yield _bytes(f"codec: {kind}", kinds.make(kind, LANE_ROWS, _SLOTS * 4), zstd)
    mix = kinds.make_mix(LANE_ROWS, _SLOTS * blocks)
    yield _bytes("codec: a fleet's mix", mix, zstd)._replace(limit=2.0)
    known = float((~np.isnan(mix)).sum())
    ours = sum(len(encode(block)) for block in _blocks(mix)) / known
    yield Row(
        "codec: a fleet's mix", ours, "bytes/point", WHISPER, mix.size * _WHISPER_BYTES / known, times=5
    )
    yield from _times(_blocks(mix))


def _blocks(values: kinds.Matrix) -> list[Bits]:
    """The stored bits of (LANE_ROWS, points), a block at a time."""
    bits = np.where(np.isnan(values), 0, values.view(np.uint64) ^ np.uint64(NAN_BITS)).astype(np.uint64)
    return [np.ascontiguousarray(part) for part in np.split(bits, values.shape[1] // _SLOTS, axis=1)]


def _bytes(what: str, values: kinds.Matrix, zstd: Callable[[Bits], int] | None) -> Row:
    blocks, known = _blocks(values), float((~np.isnan(values)).sum())
    ours = sum(len(encode(block)) for block in blocks) / known
    return Row(what, ours, "bytes/point", _ZSTD, zstd and sum(map(zstd, blocks)) / known)


def _zstd() -> Callable[[Bits], int] | None:
    """Bytes of a block; None = the package is not installed."""
    try:
        import zstandard
    except ImportError:
        return None
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    return lambda block: len(compressor.compress(block.reshape(-1, 1).view(np.uint8).T.tobytes()))


def _times(blocks: list[Bits]) -> Iterator[Row]:
    slots = sum(block.size for block in blocks)
    packed = [encode(block) for block in blocks]
    datas = [np.frombuffer(data, np.uint8) for data in packed]
    out = np.empty((LANE_ROWS, _SLOTS), np.uint64)

    def ns(work: Callable[[], object], count: int) -> float:
        return cpu_seconds(work) / count * 1e9

    def read(wanted: npt.NDArray[np.int64], into: Bits) -> None:
        for data in datas:
            if not decode_rows(data, 0, wanted, into):
                raise AssertionError("a block that was just made cannot be read")

    def copy(wanted: npt.NDArray[np.int64], into: Bits) -> None:
        for block in blocks:
            np.take(block, wanted, axis=0, out=into)

    def turn() -> None:
        for block in blocks:
            np.ascontiguousarray(np.asfortranarray(block))

    everything, one = np.random.default_rng(42).permutation(LANE_ROWS), np.array([100])
    few = len(blocks) * _SLOTS
    yield Row("codec: packing", ns(lambda: [encode(block) for block in blocks], slots), "ns/slot",
              "turning the block only", ns(turn, slots), limit=25)  # fmt: skip
    yield Row("codec: reading all rows", ns(lambda: read(everything, out), slots), "ns/slot",
              "copying them", ns(lambda: copy(everything, out), slots), limit=8)  # fmt: skip
    yield Row("codec: reading one row", ns(lambda: read(one, out[:1]), few), "ns/slot",
              "copying it", ns(lambda: copy(one, out[:1]), few), limit=40)  # fmt: skip


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["codec", *sys.argv[1:]]))
