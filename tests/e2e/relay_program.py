"""A relay in a process of its own, for tests that connect, break and kill it: `python -m tests.e2e.relay_program JSON`.

It reads commands on stdin and answers each with a line of JSON: `send FIRST COUNT` sends numbered datapoints,
`stats` gives the sums of all destinations' counters, `stop SECONDS` stops it and gives them for the last time.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from twisted.internet import reactor as installed
from twisted.internet import stdio
from twisted.protocols.basic import LineReceiver

from carbon.relay.client import Limits
from carbon.relay.destination import parse_destinations
from carbon.relay.encode import Format
from carbon.relay.relay import Relay, RelayOptions, connector
from carbon.relay.router import Method, Router
from carbon.relay.window import Keep
from storage.intern import Interned, lay

reactor: Any = installed
NAMES = 1000


def name_of(number: int) -> str:
    return f"relay.test.n{number % NAMES}"


class Commands(LineReceiver):
    delimiter = b"\n"

    def __init__(self, asked: dict[str, Any]) -> None:
        router = Router(Method(asked["method"]), parse_destinations(asked["destinations"]))
        self._names = Interned()
        paths = [name_of(number).encode() for number in range(NAMES)]
        self._ids, self._routes = self._names.add_all(*lay(paths)), router.route_ids(paths)
        limits = Limits(retry_first_s=0.1, retry_max_s=0.5, keep=Keep(**asked["keep"]), **asked["limits"])
        options = RelayOptions(
            Format(asked["form"]), tls=asked["authorities"] is not None, limits=limits,
            authorities=Path(asked["authorities"]) if asked["authorities"] else None,
        )  # fmt: skip
        data = Path(asked["data"]) if asked["data"] else None
        self._relay = Relay(
            router, self._names, options, reactor, connector(reactor, options), data=data,
            on_full=lambda: self._told.update(["full"]), on_room=lambda: self._told.update(["room"]),
        )  # fmt: skip
        self._told: Counter[str] = Counter()
        self._relay.start()

    def _answer(self, answer: dict[str, float]) -> None:
        self.sendLine(json.dumps(answer).encode())  # type: ignore[no-untyped-call]  # Twisted's

    def lineReceived(self, line: bytes) -> None:  # noqa: N802
        match line.split():
            case [b"send", first, count]:
                self._send(int(first), int(count))
                self._answer(self._stats())
            case [b"stats"]:
                self._answer(self._stats())
            case [b"stop", seconds]:
                self._relay.stop(float(seconds)).addCallback(self._stopped)

    def _send(self, first: int, count: int) -> None:
        numbers = np.arange(first, first + count)
        at = numbers % NAMES
        self._relay.send(self._routes[at], self._ids[at], numbers, numbers / 8)

    def _stats(self) -> dict[str, float]:
        sums: Counter[str] = Counter(dict(self._told))
        for part in self._relay.stats():
            for name, value in part.items():
                sums[name.rpartition(".")[2]] += int(value)
        return dict(sums)

    def _stopped(self, _: None) -> None:
        self._answer(self._stats())
        reactor.callLater(0.1, reactor.stop)


if __name__ == "__main__":
    stdio.StandardIO(Commands(json.loads(sys.argv[1])))  # type: ignore[no-untyped-call]  # Twisted's
    reactor.run()
