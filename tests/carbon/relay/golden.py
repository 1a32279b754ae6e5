"""Rings, and which nodes carbon and carbon-c-relay themselves have chosen for many names (rings.json).

`python -m tests.carbon.relay.golden PYTHON` asks both again: PYTHON is one that has carbon and mmh3.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from carbon.relay.destination import parse_destinations
from carbon.relay.hashring import FastRing, Flavour, HashType, Ring, make_ring

FILE = Path(__file__).with_name("rings.json")
ROWS = 40  # that the file has as they are; of the others it has a digest

_NODES = {
    "three": ["127.0.0.1:2004:a", "127.0.0.1:2104:b", "127.0.0.1:2204:c"],
    "hosts": [f"10.0.0.{i}:2004" for i in range(1, 6)],
    "mixed": [
        *("10.2.0.1:1", "10.2.0.1:2:a", "10.2.0.2:1:b", "10.2.0.2:2:10"),
        *("10.2.0.3:1:9", "10.2.0.3:2", "10.2.0.4:1:c", "10.2.0.4:2:2"),
    ],
    "many": [f"10.1.{i // 16}.{i % 16}:2004:{i}" for i in range(40)],
}


class Spec(NamedTuple):
    whose: str  # "carbon" or "carbon-c-relay"
    fast: bool
    hash: str
    nodes: str
    replicas: int
    diverse: bool
    names: int

    def ring(self) -> Ring:
        """Ours."""
        destinations, hash_type = parse_destinations(_NODES[self.nodes]), HashType(self.hash)
        if self.fast:
            return FastRing(destinations, hash_type, replicas=self.replicas, diverse=self.diverse)
        flavour = Flavour(self.whose)
        return make_ring(
            destinations, hash_type, replicas=self.replicas, diverse=self.diverse, flavour=flavour
        )


def specs() -> list[Spec]:
    carbon = [
        Spec("carbon", fast, hashed, nodes, replicas, diverse, _how_many(nodes, replicas))
        for fast in (False, True)
        for hashed in ("carbon_ch", "fnv1a_ch", "mmh3_ch")
        for nodes in _NODES
        for replicas, diverse in ((1, True), (3, True), (3, False))
        if not (fast and nodes == "many" and hashed != "mmh3_ch")  # hashes of nodes are the same: any order
    ]
    c_relay = [
        Spec("carbon-c-relay", False, hashed, nodes, replicas, False, _how_many(nodes, replicas))
        for hashed in ("carbon_ch", "fnv1a_ch", "jump_fnv1a_ch")
        for nodes in _NODES
        for replicas in (1, 3)
    ]
    return carbon + c_relay


def _how_many(nodes: str, replicas: int) -> int:
    if replicas > 1:
        return 2_000
    return 100_000 if nodes == "three" else 10_000


def names(how_many: int) -> list[str]:
    """Names of hosts, of applications, of many lengths."""

    def name(i: int) -> str:
        servers, stats = f"servers.web-{i % 997:03d}.cpu.{i}.load", f"stats.timers.app{i}.p99"
        return (servers, stats, f"dc{i % 3}.{'x' * (i % 90)}.{i}")[i % 3]

    return list(map(name, range(how_many)))


def digest(rows: Sequence[Sequence[int]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def ask_carbon(python: str, asked: Sequence[Spec], paths: Sequence[str]) -> list[list[list[int]]]:
    """The nodes of each name (as many as the spec says) in each ring, as carbon gives them."""
    rings = [
        {**spec._asdict(), "destinations": [tuple(d) for d in parse_destinations(_NODES[spec.nodes])]}
        for spec in asked
    ]
    script = Path(__file__).with_name("carbon_rings.py")
    done = subprocess.run(
        [python, "-W", "ignore", str(script)],
        input=json.dumps([rings, list(paths)]),
        capture_output=True,
        text=True,
        check=True,
        cwd=script.parent,
    )
    answer: list[list[list[int]]] = json.loads(done.stdout)
    return answer


def ask_c_relay(program: str, spec: Spec, paths: Sequence[str]) -> list[list[int]]:
    """The nodes of each name, as carbon-c-relay's test mode prints them."""
    destinations = parse_destinations(_NODES[spec.nodes])
    at = {f"{each.host}:{each.port}": node for node, each in enumerate(destinations)}
    lines = [
        address + (f"={each.instance}" if each.instance is not None else "")
        for address, each in zip(at, destinations, strict=True)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(f"cluster ring {spec.hash} replication {spec.replicas}\n" + "\n".join(lines))
        config.write("\n;\nmatch * send to ring stop;\n")
        config.flush()
        told = subprocess.run(
            [program, "-f", config.name, "-t"], input="\n".join(paths) + "\n", capture_output=True, text=True
        )
    blocks = told.stdout.split("match\n")[1:]
    return [[at[found] for found in re.findall(r"^ {8}(\S+:\d+)$", block, re.MULTILINE)] for block in blocks]


def main() -> None:
    asked, paths = specs(), names(100_000)
    of_carbon = [spec for spec in asked if spec.whose == "carbon"]
    answers = dict(zip(of_carbon, ask_carbon(sys.argv[1], of_carbon, paths), strict=True))
    lines: list[Any] = []
    for spec in asked:
        rows = answers.get(spec) or ask_c_relay("carbon-c-relay", spec, paths[: spec.names])
        assert len(rows) == spec.names
        lines.append({**spec._asdict(), "digest": digest(rows), "rows": rows[:ROWS]})
    FILE.write_text("[\n" + ",\n".join(map(json.dumps, lines)) + "\n]\n")


if __name__ == "__main__":
    main()
