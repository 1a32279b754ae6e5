"""Tokens of those who ask: a file of the data folder with the SHA-256, name and scope of each, read when it changes.

A token is 256 random bits, so that one round of SHA-256 hides it as well as a slow hash would hide a password.
A file that cannot be read lets nobody in.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from render.config import Scope

FILE = "tokens.json"
TOKENS_MAX = 10_000
_BEGIN = "plumbago_"  # so that programs that look for lost secrets know one when they see it
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """What is kept of a token; times are epoch seconds, None = it does not expire."""

    name: str
    scope: Scope
    sha256: str
    created: int
    expires: int | None = None

    def is_over(self, now: int) -> bool:
        return self.expires is not None and now >= self.expires


class Tokens:
    """Those of a folder, as a server sees them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._seen: tuple[int, int, int] | None = (-1, -1, -1)
        self._known: Mapping[str, Token] = {}
        self._readable = True

    def find(self, token: str, now: int) -> Token | None:
        """What is known of a token; None if it is not ours, or is over."""
        self._refresh()
        # by its digest: how long the look-up takes tells nothing of the token
        found = self._known.get(hashlib.sha256(token.encode(errors="replace")).hexdigest())
        return None if found is None or found.is_over(now) else found

    def any(self) -> bool:
        """Whether there is one, though it may be over; yes as well if the file cannot be read."""
        self._refresh()
        return bool(self._known) or not self._readable

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._known = {token.sha256: token for token in read(self._path)}
            self._readable = True
        except (OSError, ValueError) as error:
            _LOG.error("no token is accepted: %s", error)
            self._known, self._readable = {}, False


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with the file; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def read(path: Path) -> Sequence[Token]:
    """Those of a file, none if there is no file; raises OSError, or ValueError for one that is not ours."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ()
    try:
        return tuple(
            Token(
                str(each["name"]),
                Scope[str(each["scope"]).upper()],
                str(each["sha256"]),
                int(each["created"]),
                None if each["expires"] is None else int(each["expires"]),
            )
            for each in json.loads(text)["tokens"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of tokens: {error!r}") from error


def add(folder: Path, name: str, scope: Scope, now: int, *, lifetime_s: int | None = None) -> str:
    """Make a token of a new name and give it: it is not kept. Raises ValueError, OSError."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of at most 64 letters, digits, _, ., @ and -")
    secret = _BEGIN + secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    with _changing(folder) as tokens:
        if name in {token.name for token in tokens}:
            raise ValueError(f"there is a token {name!r}: remove it, or choose another name")
        if len(tokens) >= TOKENS_MAX:
            raise ValueError(f"there are {len(tokens)} tokens; at most {TOKENS_MAX}")
        expires = None if lifetime_s is None else now + lifetime_s
        tokens.append(Token(name, scope, digest, now, expires))
    return secret


def remove(folder: Path, name: str) -> None:
    """Have a token accepted no more. Raises ValueError if there is none, OSError."""
    with _changing(folder) as tokens:
        kept = [token for token in tokens if token.name != name]
        if len(kept) == len(tokens):
            raise ValueError(f"there is no token {name!r}")
        tokens[:] = kept


@contextmanager
def _changing(folder: Path) -> Iterator[list[Token]]:
    """The tokens as a list, which is written when all went well, with the folder locked against others meanwhile."""
    folder.mkdir(0o750, parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        tokens = list(read(folder / FILE))
        yield tokens
        _write(folder / FILE, tokens)
        os.fsync(held)
    finally:
        os.close(held)


def _write(path: Path, tokens: Sequence[Token]) -> None:
    """All or nothing; only the owner may read it."""
    text = json.dumps(
        {"tokens": [{**asdict(token), "scope": str(token.scope)} for token in tokens]}, indent=1
    )
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
