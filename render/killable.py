"""A regular expression in a process of its own, which is killed when it takes too long.

Only what cannot be bounded otherwise comes here: look-around and back-references on names that are long for them. The
process has no more of us than this file, reads a line of JSON for each text, and answers with one.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import time
import weakref
from typing import Any

_MEMORY_BYTES = 256 << 20
_CHUNK = 1 << 16


class TookTooLong(Exception):
    """The time is over: the process is gone."""


class Killable:
    """`search` and `sub` of a pattern, as `re` has them. All calls together may take so many seconds."""

    def __init__(self, pattern: str, seconds: float) -> None:
        self._left_s = seconds
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, pattern],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._ready = select.poll()
        self._ready.register(self._out, select.POLLIN)
        weakref.finalize(self, _end, self._process)
        self._read_line(time.monotonic() + _START_S)  # until it has started, which is not the pattern's fault

    @property
    def _out(self) -> Any:
        return self._process.stdout

    def search(self, text: str) -> object | None:
        """Something that is true if the pattern is found in the text, or None. Raises TookTooLong."""
        return self._ask([text]) or None

    def sub(self, replacement: str, text: str) -> str:
        """The text with all that matches replaced. Raises TookTooLong."""
        return str(self._ask([text, replacement]))

    def _ask(self, question: list[str]) -> object:
        began = time.monotonic()
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            return json.loads(self._read_line(began + self._left_s))
        except (OSError, ValueError) as error:  # it has ended: out of memory, or killed before
            raise TookTooLong from error
        finally:
            self._left_s -= time.monotonic() - began

    def _read_line(self, until: float) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not self._ready.poll(left * 1000):
                self._process.kill()
                raise TookTooLong
            more = self._out.read(_CHUNK)
            if not more:
                raise TookTooLong
            line += more
        return line


_START_S = 10.0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()


def _serve(pattern: str) -> None:
    """The process: one answer a line."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    compiled = re.compile(pattern)
    print("ready", flush=True)
    for line in sys.stdin:
        text, *replacement = json.loads(line)
        found = compiled.sub(replacement[0], text) if replacement else compiled.search(text) is not None
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
