"""What a metric name may be, and its canonical form; every way in (lines, pickles, imports) asks here.

A name is UTF-8 of at most 4,096 bytes without white space or control characters; its nodes (between dots) are not
empty. `name;tag=value;…` is a tagged series; its canonical form has the tags in order, the last of duplicates. The
tag `name` is the metric's own name, as in carbon: one that is given goes, and so does a `~` before the metric.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from storage.compiled import njit
from storage.errors import InvalidName

NAME_BYTES_MAX = 4096  # carbon has no limit of its own; a file system's path ends here too


class Fault(IntEnum):
    """Why a name cannot be stored; 0 = it can."""

    NONE = 0
    EMPTY_NODE = 1
    CONTROL_CHARACTER = 2
    TOO_LONG = 3
    NOT_UTF8 = 4
    BAD_TAG = 5
    WHITE_SPACE = 6

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


@njit(nogil=True, cache=True)
def name_fault(text, start, stop):  # type: ignore[no-untyped-def]
    """The Fault of the name text[start:stop] (uint8), tags not looked into."""
    if stop - start > NAME_BYTES_MAX:
        return 3
    node, tagged = start, False
    follow, low, high = 0, 0x80, 0xBF  # continuation bytes awaited, and the range of the next
    for i in range(start, stop):
        c = text[i]
        if follow > 0:
            if c < low or c > high:
                return 4
            follow -= 1
            low, high = 0x80, 0xBF
        elif c == 46 and not tagged:  # .
            if i == node:
                return 1
            node = i + 1
        elif c == 59 and not tagged:  # ;
            if i == node:
                return 1
            tagged = True
        elif c == 32:
            return 6
        elif c < 32 or c == 127:
            return 2
        elif c >= 0x80:
            if c == 0xC2 and i + 1 < stop and 0x80 <= text[i + 1] < 0xA0:
                return 2  # C1: a terminal may take it as the beginning of a command
            if 0xC2 <= c <= 0xDF:
                follow = 1
            elif 0xE0 <= c <= 0xEF:
                follow = 2
                low = 0xA0 if c == 0xE0 else 0x80
                high = 0x9F if c == 0xED else 0xBF
            elif 0xF0 <= c <= 0xF4:
                follow = 3
                low = 0x90 if c == 0xF0 else 0x80
                high = 0x8F if c == 0xF4 else 0xBF
            else:
                return 4
    if follow > 0:
        return 4
    if not tagged and node == stop:
        return 1
    return 0


def fault(name: bytes) -> Fault:
    found = Fault(name_fault(np.frombuffer(name, np.uint8), 0, len(name)))
    if found is Fault.NONE and b";" in name:
        try:
            canonical(name.decode())
        except InvalidName:
            return Fault.BAD_TAG
    return found


def canonical(name: str) -> str:
    """`name;b=2;a=1` → `name;a=1;b=2`; a plain name is its own. Raises InvalidName.

    A tag is at least one character without `;!^=`, a value at least one without `;`, not beginning with `~`. As the
    metric is the value of the tag `name`, `~name;name=x` is `name`.
    """
    if ";" not in name:
        return name
    metric, *pairs = name.split(";")
    tags: dict[str, str] = {}
    for pair in pairs:
        tag, equals, value = pair.partition("=")
        if not tag or not equals or not value or value[0] == "~" or "!" in tag or "^" in tag:
            raise InvalidName(
                f"{pair!r} in {name!r} is no tag: tag=value, no ! or ^ in the tag, no ~ before the value"
            )
        tags[tag] = value
    metric = metric.lstrip("~")
    if not metric or metric[0] == ".":
        raise InvalidName(f"the metric of {name!r} is no value of the tag name: none begins with ~")
    tags.pop("name", None)
    return ";".join([metric, *(f"{tag}={tags[tag]}" for tag in sorted(tags))])
