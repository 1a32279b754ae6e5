"""A connection that begins with a token, sans-IO: the line `token TOKEN\\n`, then whatever protocol it speaks."""

from __future__ import annotations

import hashlib
import hmac

from carbon.errors import BadFrame
from carbon.protocols.reader import Batch, Reader

_BEGIN = b"token "
_LINE_BYTES_MAX = 1024
WRONG_TOKEN = "wrong or no token"  # noqa: S105  # a reason


class TokenReader:
    """Asks for the token whose SHA-256 is `digest`; what follows is `reader`'s."""

    def __init__(self, reader: Reader, digest: bytes) -> None:
        self._reader, self._digest = reader, digest
        self._line: bytes | None = b""  # None = it was right

    def feed(self, data: bytes, now: int) -> Batch | None:
        if self._line is None:
            return self._reader.feed(data, now)
        self._line += data
        line, newline, rest = self._line.partition(b"\n")
        if not newline and len(line) <= _LINE_BYTES_MAX:
            return None
        if not line.startswith(_BEGIN) or not is_token(line[len(_BEGIN) :].rstrip(b"\r"), self._digest):
            raise BadFrame(WRONG_TOKEN)
        self._line = None
        return self._reader.feed(rest, now) if rest else None


def is_token(token: bytes, digest: bytes) -> bool:
    """If the SHA-256 of the token is `digest`, in a time that does not tell."""
    return hmac.compare_digest(hashlib.sha256(token).digest(), digest)
