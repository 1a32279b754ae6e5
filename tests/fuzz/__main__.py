"""`python -m tests.fuzz SECONDS [--seed N]`: feeds nearly right bytes to every reader until the time is over.

With atheris installed and `--atheris` its mutator, led by what Python code is reached, takes the place of ours. With
NUMBA_BOUNDSCHECK=1 (and a NUMBA_CACHE_DIR of its own, for what is compiled without stays in the usual one) the kernels
check every index. What breaks a promise is printed, as bytes to put into a test, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import traceback
from collections.abc import Sequence

from tests.fuzz import led


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--atheris", action="store_true", help="never comes back; exits by itself")
    asked = parser.parse_args(arguments)
    told = logging.getLogger("carbon.stats")
    before = told.level
    told.setLevel(logging.ERROR)  # bad input is logged by the thousand
    try:
        return _run(asked)
    finally:
        told.setLevel(before)


def _run(asked: argparse.Namespace) -> int:
    if asked.atheris:
        led.run(int(asked.seconds))
    print(f"seed {asked.seed}")
    return _own(asked.seconds, random.Random(asked.seed))


def _own(seconds: float, source: random.Random) -> int:
    from tests.carbon.protocols.spoken import SPOKEN
    from tests.fuzz.streams import RSS_BYTES_MAX, mutated, prepare, rss_bytes, seeds

    corpus = seeds()
    prepare()
    deadline, rounds, size, failures = time.monotonic() + seconds, 0, 0, 0
    limit = rss_bytes() + RSS_BYTES_MAX
    while time.monotonic() < deadline and failures < 20:
        name = source.choice(list(SPOKEN))
        of = corpus[source.choice([name, name, *SPOKEN])]
        middle = mutated(source.choice(of), source.choice(of), source)
        cuts = [source.randrange(len(middle) + 1) for _ in range(source.randrange(4))]
        failures += not _holds(name, middle, cuts)
        rounds, size = rounds + 1, size + len(middle)
        if len(middle) < 4096 and source.random() < 0.02:
            corpus[name].append(middle)  # mutants of mutants
        if rss_bytes() > limit:
            print(f"more than {RSS_BYTES_MAX >> 20} MB: {name} {middle!r} {cuts}")
            return 1
    print(f"{rounds} streams, {size} bytes, {failures} that broke a promise")
    return 1 if failures else 0


def _holds(name: str, middle: bytes, cuts: list[int]) -> bool:
    from tests.fuzz.streams import check

    try:
        check(name, middle, cuts)
    except Exception:
        traceback.print_exc()
        print(f"{name} {middle!r} {cuts}")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
