"""Globs: `a.{b,c}.*[0-9]` → what each node of the path may be. Bounded: pattern length × node length at most.

    *    any characters of a node, or none       [abc] [a-z] [!a]   one character of a class, or not of it
    ?    one character                           {a,b}              one of several; nestable, dots allowed
    **   as a whole node: any number of nodes, or none; at the end at least one, as in graphite-web

All else stands for itself, so do `]`, `}` and `,` where nothing is open. Case counts. graphite-web takes an
unclosed `[` or `{` literally; here it is an InvalidGlob that says the column, as nobody means that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
import numpy.typing as npt

from storage import name_kernels as kernels
from storage.errors import InvalidGlob
from storage.intern import Ids, Interned, lay

Program = npt.NDArray[np.int32]

ALTERNATIVES_MAX = 10_000  # what braces may expand to; node for node, so {100}.{100} are 200
ALTERNATIVES_BYTES_MAX = 1_000_000
BRACES_DEPTH_MAX = 32
_SPECIAL = re.compile(r"[*?\[{]")
_SHOWN_MAX = 80  # characters of a pattern that an error shows


def exactly(path: str) -> str:
    """The glob of this path only. A tagged one is as it is: a glob with a `;` has no special characters."""
    return path if ";" in path else _SPECIAL.sub(r"[\g<0>]", path)


@dataclass(frozen=True, eq=False)
class Matcher:
    """What one node may be: a literal, or what a program accepts; any_depth is any number of nodes."""

    literals: tuple[bytes, ...] = ()
    programs: tuple[Program, ...] = ()
    any_depth: bool = False

    @property
    def everything(self) -> bool:
        """Whether any node will do."""
        return any(len(program) == 1 and program[0] == kernels.ANY_RUN for program in self.programs)

    @property
    def literal(self) -> bytes | None:
        """The only text that matches; None when others may."""
        return self.literals[0] if len(self.literals) == 1 and not self.programs else None

    def ids(self, names: Interned) -> Ids:
        """The ids of the literals that the vocabulary has."""
        found = names.find_all(*lay(self.literals))
        return found[found >= 0]

    def mask(self, names: Interned, ids: Ids | None = None) -> npt.NDArray[np.bool_]:
        """Which of these names match, bool (n,); without ids, which of all."""
        mine = self.ids(names)
        if ids is None:
            ids = np.arange(len(names), dtype=np.int32)
            out = np.zeros(len(names), np.bool_)
            out[mine] = True
        else:
            out = np.isin(ids, mine)
        for program in self.programs:
            kernels.match_names(program, names.arrays, ids, out)
        return out

    def accepts(self, node: str) -> bool:
        """Whether it matches this node."""
        text = np.frombuffer(bytearray(node.encode("utf-8", "surrogateescape")), np.uint8)
        return text.tobytes() in self.literals or any(
            kernels.accepts(p, text, 0, len(text)) for p in self.programs
        )


Path = tuple[Matcher, ...]

ANY_DEPTH = Matcher(any_depth=True)
EVERYTHING = Matcher(programs=(np.array([kernels.ANY_RUN], np.int32),))


def compile_node(pattern: str) -> Matcher:
    """The matcher of one node, braces and all, where `**` is but `*`; raises InvalidGlob, also for a dot."""
    segments = _expand(pattern)
    if len(segments) != 1 or any(b"." in text for text in segments[0]):
        raise InvalidGlob(f"{_shown(pattern)} has a dot: it is a path, not one node")
    return _matcher(segments[0])


def compile_path(pattern: str) -> list[Path]:
    """The paths of matchers that a pattern stands for: one, or several when a brace group spans dots.

    A path with an empty node (`a..b`, `.a`, no text) finds nothing and is left out. Raises InvalidGlob.
    """
    segments = [_shapes(alternatives) for alternatives in _expand(pattern)]
    paths = _Group(pattern, 0)
    for shapes in segments:
        paths.multiply(len(shapes), sum(1 + max(map(len, node)) for shape in shapes for node in shape))
    matchers = [[_path(shape) for shape in shapes] for shapes in segments]
    return [_without_repeats(tuple(chain.from_iterable(parts))) for parts in product(*matchers)]


# --- braces ---


class _Group:
    """What stands between two braces: alternatives done, and the parts of the next, still to be joined.

    What it stands for is counted before it is made, so that what is too much never exists.
    """

    def __init__(self, pattern: str, opened: int, *, before: tuple[int, int] = (0, 0)) -> None:
        self.pattern, self.opened = pattern, opened
        self.before = before  # alternatives, and their bytes, that count too
        self.done: list[bytes] = []
        self.parts: list[list[bytes]] = []
        self.count, self.size = 1, 0  # what the parts stand for when joined

    def add(self, part: list[bytes]) -> None:
        if part != [b""]:  # {} would be joined for nothing
            self.multiply(len(part), sum(map(len, part)))
            self.parts.append(part)

    def multiply(self, count: int, size: int) -> None:
        self.count, self.size = self.count * count, self.size * count + size * self.count
        self._check()

    def turn(self) -> list[bytes]:
        """A comma or the end: join the parts; gives all alternatives until now."""
        self._check()
        self.done += map(b"".join, product(*self.parts))
        self.before = (self.before[0] + self.count, self.before[1] + self.size)
        self.parts, self.count, self.size = [], 1, 0
        return self.done

    def _check(self) -> None:
        count, size = self.before[0] + self.count, self.before[1] + self.size
        if count > ALTERNATIVES_MAX or size > ALTERNATIVES_BYTES_MAX:
            raise InvalidGlob(
                f"{_shown(self.pattern)} stands for {count:,} alternatives of {size:,} bytes or more: "
                f"{ALTERNATIVES_MAX:,} of {ALTERNATIVES_BYTES_MAX:,} bytes in all are allowed"
            )


def _expand(pattern: str) -> list[list[bytes]]:
    """For each part of the pattern between dots outside braces: the texts that its braces stand for."""
    groups = [_Group(pattern, 0)]
    expanded: list[list[bytes]] = []
    for piece, at in _pieces(pattern):
        inside = len(groups) > 1
        if piece == "{":
            if len(groups) > BRACES_DEPTH_MAX:
                raise _invalid(pattern, at, f"nests braces deeper than the {BRACES_DEPTH_MAX} allowed")
            groups.append(_Group(pattern, at))
        elif piece == "}" and inside:
            part = groups.pop().turn()
            groups[-1].add(part)
        elif piece == "," and inside:
            groups[-1].turn()
        elif piece == "." and not inside:
            expanded.append(groups[0].turn())
            groups = [_Group(pattern, 0, before=groups[0].before)]
        else:
            groups[-1].add([_encoded(pattern, piece, at)])
    if len(groups) > 1:
        raise _invalid(
            pattern, groups[-1].opened, "has an unclosed {: write {a,b}, or [{] for the character itself"
        )
    expanded.append(groups[0].turn())
    return expanded


def _pieces(pattern: str) -> Iterator[tuple[str, int]]:
    """(piece, where it begins): `{`, `,`, `}`, `.`, or a run of other characters, its classes whole."""
    begin = at = 0
    while at < len(pattern):
        if pattern[at] in "{,}.":
            if begin < at:
                yield pattern[begin:at], begin
            yield pattern[at], at
            begin = at = at + 1
        elif pattern[at] == "[":
            at = _class_end(pattern, at)
        else:
            at += 1
    if begin < at:
        yield pattern[begin:at], begin


def _class_end(pattern: str, at: int) -> int:
    """Where the class that opens at `at` is over; a `]` that comes first is one of its characters."""
    first = at + 2 if pattern.startswith("!", at + 1) else at + 1
    close = pattern.find("]", first + 1)
    if close < 0:
        raise _invalid(
            pattern, at, "has an unclosed [: write [abc] or [a-z], or [[] for the character itself"
        )
    if "." in pattern[at:close]:
        raise _invalid(pattern, at, "has a [ that is not closed before the next dot: a class is of one node")
    return close + 1


def _shapes(alternatives: Sequence[bytes]) -> list[list[list[bytes]]]:
    """A segment's alternatives as sequences of nodes, each a list of texts; those of one node as one."""
    single: dict[bytes, None] = {}
    several: dict[bytes, list[list[bytes]]] = {}
    for text in alternatives:
        nodes = text.split(b".")
        if len(nodes) == 1 and text and text != b"**":
            single[text] = None
        elif all(nodes):
            several[text] = [[node] for node in nodes]
    return [[list(single)], *several.values()] if single else list(several.values())


def _path(nodes: Sequence[Sequence[bytes]]) -> Path:
    return tuple(ANY_DEPTH if texts == [b"**"] else _matcher(texts) for texts in nodes)


def _without_repeats(path: Path) -> Path:
    """`**.**` is `**`; a last `**` needs a node to end in."""
    kept = [one for i, one in enumerate(path) if not (one.any_depth and i and path[i - 1].any_depth)]
    return (*kept, EVERYTHING) if kept[-1].any_depth else tuple(kept)


# --- one node ---


def _matcher(texts: Sequence[bytes]) -> Matcher:
    """The matcher of a node's alternatives, which have no braces any more."""
    literals, programs = [], []
    for text in texts:
        program = _program(text.decode("utf-8", "surrogateescape"))
        if min(program, default=0) >= 0:
            literals.append("".join(map(chr, program)).encode("utf-8", "surrogateescape"))
        else:
            programs.append(np.array(program, np.int32))
    return Matcher(tuple(dict.fromkeys(literals)), tuple(programs))


def _program(text: str) -> list[int]:
    """The operations that accept what the glob of a node does; a literal's are its characters."""
    program: list[int] = []
    at = 0
    while at < len(text):
        if text[at] == "*":
            if program[-1:] != [kernels.ANY_RUN]:
                program.append(kernels.ANY_RUN)
        elif text[at] == "?":
            program.append(kernels.ANY_ONE)
        elif text[at] == "[":
            end = _class_end(text, at)
            program += _class(text[at + 1 : end - 1])
            at = end
            continue
        else:
            program.append(ord(text[at]))
        at += 1
    return program


def _class(body: str) -> list[int]:
    """CLASS, negated, n, n × (low, high); a class of one character is that character."""
    negated = body.startswith("!")
    body = body[negated:]
    ranges: list[int] = []
    at = 0
    while at < len(body):
        step = 3 if at + 2 < len(body) and body[at + 1] == "-" else 1
        ranges += [ord(body[at]), ord(body[at + step - 1])]
        at += step
    if len(body) == 1 and not negated:
        return ranges[:1]
    return [kernels.CLASS, int(negated), len(ranges) // 2, *ranges]


# --- words for the user ---


def _encoded(pattern: str, piece: str, at: int) -> bytes:
    try:
        return piece.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise _invalid(pattern, at + error.start, "has a character that UTF-8 cannot hold") from None


def _invalid(pattern: str, at: int, reason: str) -> InvalidGlob:
    """An error at a column, counted from 1."""
    return InvalidGlob(f"{_shown(pattern)}, column {at + 1}: {reason}")


def _shown(pattern: str) -> str:
    return repr(pattern) if len(pattern) <= _SHOWN_MAX else f"{pattern[:_SHOWN_MAX]!r}…"
