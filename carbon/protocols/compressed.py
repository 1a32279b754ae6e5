"""Compressed streams around another reader, sans-IO: gzip or zstd in, known by the first bytes of a connection.

That is unambiguous. 1F 8B and 28 B5 2F FD begin no line (a control character; a byte that UTF-8 does not allow there),
no frame of a pickle or of protobuf (its length would be above 500 MB) and no MessagePack that is a datapoint (the
integers 31 and 40). A stream of anything else goes through as it is.

Data is decompressed in pieces, each read before the next is made, so that a bomb takes no memory; one piece of
compressed data may expand to so much, then the stream is ended. Members of gzip and frames of zstd may follow one
another. Of a stream that is cut all is read that has arrived; of one that is damaged, all up to a few KiB before.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

from carbon.errors import BadFrame
from carbon.protocols.reader import Batch, Reader, joined

EXPANDED_BYTES_MAX = (
    16 << 20
)  # from one piece of data, a read of a socket (256 KiB); metric lines compress 5 to 20 times
WINDOW_BYTES_MAX = (
    8 << 20
)  # of a zstd frame: what a decoder should take (RFC 8878, 3.1.1.1.2); levels to 8 need 2 MiB
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PIECE_BYTES = 1 << 16  # of what gzip expands to, at once
_GZIP_BYTES = 1 << 13  # at once: what lies behind the end of each of many small members is copied
_ZSTD_BYTES = (
    1 << 8
)  # at once: 4 bytes can be a block of 128 KiB, so this 8 MiB. 64 KiB at once is 40 ns a line faster

Take = Callable[[bytes], None]


class Expander(Protocol):
    """Decompresses one stream."""

    def expand(self, data: bytes, take: Take) -> None:
        """Call `take` with the pieces that the data expands to; raises BadFrame."""

    @property
    def ended(self) -> bool:
        """Whether all that has come was whole members or frames."""


class CompressedReader:
    """Reads one stream, compressed or not, with the reader of what is inside."""

    def __init__(self, inside: Reader, *, expanded_bytes_max: int = EXPANDED_BYTES_MAX) -> None:
        self._inside, self._expanded_bytes_max = inside, expanded_bytes_max
        self._first = b""  # bytes of which it cannot be told yet
        self._known = False
        self._expander: Expander | None = None
        self._broken: str | None = None

    def feed(self, data: bytes, now: int) -> Batch | None:
        """As Reader says; after a BadFrame every later call raises it again."""
        if self._broken is not None:
            raise BadFrame(self._broken)
        if not self._known:
            data = self._first + data
            if any(len(data) < len(magic) and magic.startswith(data) for magic in (GZIP, ZSTD)):
                self._first = data
                return None
            self._known, self._first, self._expander = True, b"", expander_of(data)
        if self._expander is None:
            return self._inside.feed(data, now)
        return self._expand(self._expander, data, now)

    def _expand(self, expander: Expander, data: bytes, now: int) -> Batch | None:
        batches: list[Batch] = []
        room = self._expanded_bytes_max

        def take(piece: bytes) -> None:
            nonlocal room
            room -= len(piece)
            if room < 0:
                raise BadFrame("compressed data that expands too much")
            batch = self._inside.feed(piece, now)
            if batch is not None:
                batches.append(batch)

        try:
            expander.expand(data, take)
        except BadFrame as bad:
            self._broken = bad.reason
            bad.batch = joined([*batches, bad.batch] if bad.batch is not None else batches)
            raise
        return joined(batches)


def expander_of(data: bytes) -> Expander | None:
    """What decompresses a stream that begins with these bytes; None for one that is not compressed."""
    if data.startswith(GZIP):
        return Zlib(wbits=zlib.MAX_WBITS | 16, words="gzip")
    return Zstd() if data.startswith(ZSTD) else None


class Zlib:
    """Gzip members, or zlib streams, one after another."""

    def __init__(self, wbits: int, words: str) -> None:
        self._wbits, self._words = wbits, words
        self._stream = zlib.decompressobj(wbits)

    def expand(self, data: bytes, take: Take) -> None:
        for at in range(0, len(data), _GZIP_BYTES):
            self._expand(data[at : at + _GZIP_BYTES], take)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    def _expand(self, data: bytes, take: Take) -> None:
        while data:
            if self._stream.eof:
                self._stream = zlib.decompressobj(self._wbits)
            try:
                piece = self._stream.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise BadFrame(f"{self._words} data that cannot be read") from None
            if piece:
                take(piece)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        # what the last call had no room for
        while not self._stream.eof and (piece := self._rest()):
            take(piece)

    def _rest(self) -> bytes:
        try:
            return self._stream.decompress(b"", _PIECE_BYTES)
        except zlib.error:
            raise BadFrame(f"{self._words} data that cannot be read") from None


class Zstd:
    """Frames of zstd, one after another."""

    def __init__(self) -> None:
        import zstandard  # some 10 ms, and few streams are compressed

        self._error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
        self._stream = self._decompressor.decompressobj()

    def expand(self, data: bytes, take: Take) -> None:
        for at in range(0, len(data), _ZSTD_BYTES):
            self._expand(data[at : at + _ZSTD_BYTES], take)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    def _expand(self, data: bytes, take: Take) -> None:
        while data:
            if self._stream.eof:
                self._stream = self._decompressor.decompressobj()
            try:
                piece = self._stream.decompress(data)
            except self._error as error:
                memory = "too much memory" in str(error)
                raise BadFrame(
                    "zstd window too large" if memory else "zstd data that cannot be read"
                ) from None
            data = self._stream.unused_data if self._stream.eof else b""
            if piece:
                take(piece)
