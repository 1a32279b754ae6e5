"""Run by a Python that has the peer's carbon: rings and names as JSON on stdin → the nodes of each name."""

import importlib
import json
import sys


class Settings(dict):  # type: ignore[type-arg]  # runs where only the peer is
    __getattr__ = dict.__getitem__


def main() -> None:
    routers = importlib.import_module("carbon.routers")
    rings, names = json.load(sys.stdin)
    answers = []
    for ring in rings:
        kind = routers.FastHashingRouter if ring["fast"] else routers.ConsistentHashingRouter
        router = kind(
            Settings(
                REPLICATION_FACTOR=ring["replicas"],
                DIVERSE_REPLICAS=ring["diverse"],
                ROUTER_HASH_TYPE=ring["hash"],
            )
        )
        nodes = [tuple(each) for each in ring["destinations"]]
        for node in nodes:
            router.addDestination(node)
        number = {node: i for i, node in enumerate(nodes)}
        answers.append(
            [[number[found] for found in router.getDestinations(name)] for name in names[: ring["names"]]]
        )
    json.dump(answers, sys.stdout)


main()
