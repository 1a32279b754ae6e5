"""What graphite-web 1.1.10 answers to the cases that draw.py draws: reads them, writes answers.json.gz.

    python -m tests.render.differential.draw | PYTHON_WITH_GRAPHITE_WEB tests/render/differential/make.py

Of each function's cases it keeps so many that are answered with series, and a few with none or an error. The
Python needs what golden/make.py needs.
"""

# It runs in another Python, whose packages are not here:
# mypy: ignore-errors
from __future__ import annotations

import gzip
import json
import pathlib
import resource
import signal
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "golden"))

from make import graphite_web  # noqa: E402  # this script also runs where no package of ours can be imported
from series import Points  # noqa: E402

KEPT = {"points": 14, "missing": 3, "nothing": 2, "error": 3}


CASE_S, MEMORY_BYTES = 10, 4 << 30  # graphite-web sets itself no bounds


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, too_long)
    drawn = json.load(sys.stdin)
    worlds = [{path: Points(*points) for path, points in world.items()} for world in drawn["worlds"]]
    with tempfile.TemporaryDirectory() as folder:
        evaluate = graphite_web(pathlib.Path(folder))
        answers = {name: kept(cases, worlds, evaluate) for name, cases in drawn["cases"].items()}
    text = json.dumps({"worlds": drawn["worlds"], "answers": answers}, separators=(",", ":"))
    packed = gzip.compress(text.encode(), mtime=0)
    (HERE / "answers.json.gz").write_bytes(packed)
    few = [name for name, found in answers.items() if sum("series" in one for one in found) < 12]
    print(f"{sum(map(len, answers.values()))} cases, {len(packed)} bytes; fewer than 12 answers: {few}")


def kept(cases, worlds, evaluate) -> list[dict[str, object]]:
    left, found = dict(KEPT), []
    for case in cases:
        if not any(left.values()) and "always" not in case:
            continue
        signal.alarm(CASE_S)
        answer = evaluate(case["target"], case["xFilesFactor"], worlds[case["world"]], *case["window"])
        signal.alarm(0)
        kind = kind_of(answer)
        if "always" in case:
            found.append({**case, **slim(answer)})
        elif left[kind]:
            left[kind] -= 1
            found.append({**case, **slim(answer)})
    return found


def too_long(*_) -> None:
    raise TimeoutError(f"no answer after {CASE_S} s")


def kind_of(answer: dict) -> str:
    if "error" in answer:
        return "error"
    values = [value for one in answer["series"] for value in one["values"]]
    if any(value is not None for value in values):
        return "points"
    return "missing" if values else "nothing"


def slim(answer: dict) -> dict[str, object]:
    """Without what no test looks at."""
    for one in answer.get("series", []):
        del one["xFilesFactor"]
    return answer


if __name__ == "__main__":
    main()
