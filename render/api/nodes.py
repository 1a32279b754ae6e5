"""What /metrics/find has found, in each of its formats.

There may be 50,000 nodes: they are columns, and JSON is put together of texts, as an object a node took three times
as long, and garbage collections more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import orjson

from render.formats import msgpack, pickle
from render.source import Nodes
from storage.index import Last

Ids = npt.NDArray[np.int32]
Interval = tuple[int, int]  # epoch seconds


@dataclass(frozen=True, eq=False)
class Found:
    """Nodes sorted by path; a path that is branch and leaf is two of them, the branch first."""

    paths: Sequence[str]
    series: Ids  # -1 = a branch

    @classmethod
    def of(cls, nodes: Nodes, nodes_max: int, *, leaves_only: bool = False) -> Found:
        """Those of the first nodes_max paths."""
        paths, series, branch = nodes.paths[:nodes_max], nodes.series[:nodes_max], nodes.branch[:nodes_max]
        leaf = series >= 0
        if leaves_only:
            return cls(list(compress(paths, leaf.tolist())), series[leaf])
        if not np.any(branch & leaf):
            return cls(paths, np.where(branch, -1, series))
        at = np.repeat(np.arange(len(paths)), branch.astype(np.intp) + leaf)
        second = np.concatenate(([False], at[1:] == at[:-1]))
        listed = np.where(branch[at] & ~second, -1, series[at])
        return cls([paths[i] for i in at.tolist()], listed)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def leaf(self) -> list[bool]:
        leaf: list[bool] = (self.series >= 0).tolist()
        return leaf

    @cached_property
    def names(self) -> list[str]:
        """Each path's last node."""
        return [path[path.rfind(".") + 1 :] for path in self.paths]


@dataclass(frozen=True)
class Asked:
    """What is asked for, as formats need it."""

    wildcards: bool
    position: int
    retentions_s: Callable[[Ids], npt.NDArray[np.int64]]
    now: int


_BRANCH = '"allowChildren":1,"expandable":1,"leaf":0}'
_LEAF = '"allowChildren":0,"expandable":0,"leaf":1}'


def treejson(last: Last, prefix: str, most: int, *, wildcards: bool, leaves_only: bool) -> tuple[bytes, bool]:
    """One entry a name, branches first; a name that is one anywhere is one. ids begin with the prefix.

    Also tells whether there are more than the `most` that are listed.
    """
    branches = [] if leaves_only else sorted(compress(last.names, last.branch.tolist()))
    others = last.leaf if leaves_only else last.leaf & ~last.branch
    leaves = sorted(compress(last.names, others.tolist()))
    nodes = last.leaves + (0 if leaves_only else last.branches)
    (begin,) = _quoted([prefix])
    entries = []
    if wildcards and nodes > 1:
        entries.append(f'{{"text":"*","id":"{begin}*",{_BRANCH if branches else _LEAF}')
    for names, kind in ((branches[:most], _BRANCH), (leaves[: max(0, most - len(branches))], _LEAF)):
        entries += [f'{{"text":"{name}","id":"{begin}{name}",{kind}' for name in _quoted(names)]
    return _listed(entries), len(branches) + len(leaves) > most


def completer(found: Found, asked: Asked) -> bytes:
    names, paths, leaf = _quoted(found.names), _quoted(found.paths), found.leaf
    order = sorted(range(len(found)), key=found.names.__getitem__)
    ends = ('.","name":"', '","name":"'), ('","is_leaf":"0"}', '","is_leaf":"1"}')
    entries = [f'{{"path":"{paths[i]}{ends[0][leaf[i]]}{names[i]}{ends[1][leaf[i]]}' for i in order]
    if asked.wildcards and len(found) > 1:
        entries.append('{"name":"*"}')
    return b'{"metrics":%s}' % _listed(entries)


def json(found: Found, asked: Asked) -> bytes:
    """By path, with from when to when a leaf may have datapoints."""

    def end(interval: Interval | None) -> str:
        if interval is None:
            return '","is_leaf":false}'
        return f'","is_leaf":true,"intervals":[{{"start":{interval[0]},"end":{interval[1]}}}]}}'

    each, kinds = _intervals(found, asked)
    ends = [end(kind) for kind in kinds]
    return _listed([f'{{"path":"{path}{ends[i]}' for path, i in zip(_quoted(found.paths), each, strict=True)])


def nodelist(found: Found, asked: Asked) -> bytes:
    """The nodes at a position of the paths; paths that are shorter have none."""
    at = asked.position
    split = (path.split(".") for path in found.paths)
    return orjson.dumps({"nodes": sorted({parts[at] for parts in split if -len(parts) <= at < len(parts)})})


def pickled(found: Found, asked: Asked) -> bytes:
    return pickle.encode_nodes(_timed(found, asked))


def packed(found: Found, asked: Asked) -> bytes:
    return msgpack.encode_nodes(_timed(found, asked))


Format = Callable[[Found, Asked], bytes]
JSON: Mapping[str, Format] = MappingProxyType({"completer": completer, "json": json, "nodelist": nodelist})
CLUSTER: Mapping[str, Format] = MappingProxyType({"pickle": pickled, "msgpack": packed})


def _timed(found: Found, asked: Asked) -> Iterable[tuple[str, Interval | None]]:
    each, kinds = _intervals(found, asked)
    return zip(found.paths, [kinds[i] for i in each], strict=True)


def _intervals(found: Found, asked: Asked) -> tuple[list[int], list[Interval | None]]:
    """Which of the intervals that there are each node has; None = a branch's."""
    retentions = np.full(len(found), -1, np.int64)
    leaf = found.series >= 0
    retentions[leaf] = asked.retentions_s(found.series[leaf])
    kinds, each = np.unique(retentions, return_inverse=True)
    ends = [None if kind < 0 else (asked.now - kind, asked.now) for kind in kinds.tolist()]
    return each.tolist(), ends


def _listed(entries: Sequence[str]) -> bytes:
    return f"[{','.join(entries)}]".encode()


def _quoted(texts: Sequence[str]) -> Sequence[str]:
    """The texts as they stand between quotes in JSON; most need no change, which is found out for all at once."""
    whole = "".join(texts)
    if len(orjson.dumps(whole)) == len(whole.encode()) + 2:
        return texts
    return [orjson.dumps(text)[1:-1].decode() for text in texts]
