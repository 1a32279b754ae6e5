"""`python -m benchmarks [QUESTION…] [--quick]`: asks the questions and prints one table."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Row, table
from benchmarks.peers import ROOT, Peers
from benchmarks.workbench import Workbench

# find and start share a store of a million names: the second finds what the first has made
QUESTIONS = (
    "receive",
    "wire",
    "readers",
    "relay",
    "kernel",
    "storage",
    "durability",
    "codec",
    "pack",
    "moves",
    "fetch",
    "render",
    "http",
    "draw",
    "functions",
    "find",
    "tags",
    "start",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when every question was answered, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "questions", nargs="*", metavar="QUESTION", help=f"of {', '.join(QUESTIONS)}; none: all"
    )
    parser.add_argument("--quick", action="store_true", help="sizes a tenth")
    asked = parser.parse_args(arguments)
    unknown = set(asked.questions) - set(QUESTIONS)
    if unknown:
        parser.error(f"no such question: {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    disk = ROOT / "build"  # beside the project: what /tmp lies on may be memory
    disk.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=disk) as folder:
        workbench = Workbench(Path(folder), Peers(), quick=asked.quick)
        rows, failed = _ask(asked.questions or QUESTIONS, workbench)
    print(table(rows))
    if asked.quick:
        print("quick: sizes are a tenth; what must be shown is meant for the whole")
    for question in failed:
        print(f"{question}: failed, see above")
    return 1 if failed else 0


def _ask(questions: Sequence[str], workbench: Workbench) -> tuple[list[Row], list[str]]:
    """The rows of all, and the questions that failed: one that does takes no other's figures along."""
    rows: list[Row] = []
    failed = []
    for question in questions:
        started = time.perf_counter()
        try:
            rows.extend(importlib.import_module(f"benchmarks.{question}").rows(workbench))
        except Exception:
            traceback.print_exc()
            failed.append(question)
        print(f"{question}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return rows, failed


if __name__ == "__main__":
    sys.exit(main())
