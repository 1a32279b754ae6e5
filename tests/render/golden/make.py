"""Golden answers: what graphite-web 1.1.10 answers for the targets of targets_<family>.txt over series.py's
series.

    PYTHON_WITH_GRAPHITE_WEB tests/render/golden/make.py combine alias …     (no family: all of them)

writes <family>.json beside the targets: one line a target, with its series or its error. A line of a targets
file is a target; `xFilesFactor=0.5 ` before it is the request's; `#` begins a comment line. The Python needs
graphite-web 1.1.10 and its Django; nothing is opened or written but a temporary folder and the JSON.
"""

# It runs in another Python, whose packages are not here:
# mypy: ignore-errors
from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import series as golden  # noqa: E402  # this script also runs where no package of ours can be imported


def main() -> None:
    families = sys.argv[1:] or sorted(path.stem[len("targets_") :] for path in HERE.glob("targets_*.txt"))
    with tempfile.TemporaryDirectory() as folder:
        evaluate = graphite_web(pathlib.Path(folder))
        for family in families:
            answers = [evaluate(*case) for case in cases(family)]
            lines = ",\n".join(json.dumps(answer, separators=(",", ":")) for answer in answers)
            (HERE / f"{family}.json").write_text(f"[\n{lines}\n]\n")
            failed = sum("error" in answer for answer in answers)
            print(f"{family}: {len(answers)} targets, {failed} of them errors")


def cases(family: str) -> list[tuple[str, float | None]]:
    """The targets of a family, each with the request's xFilesFactor."""
    found = []
    for line in (HERE / f"targets_{family}.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        factor = re.match(r"xFilesFactor=(\S+) (.*)", line)
        found.append((factor[2], float(factor[1])) if factor else (line, None))
    return found


def graphite_web(folder: pathlib.Path):
    """graphite-web's evaluator with a fetch of its own: no finders, no files, no database."""
    (folder / "golden_settings.py").write_text(
        "SECRET_KEY = 'golden'\n"
        f"LOG_DIR = STORAGE_DIR = CONF_DIR = {str(folder)!r}\n"
        "TIME_ZONE = 'UTC'\n"
        "LOG_ROTATION = False\n"
    )
    sys.path.insert(0, str(folder))
    os.environ["GRAPHITE_SETTINGS_MODULE"] = "golden_settings"
    os.environ["DJANGO_SETTINGS_MODULE"] = "graphite.settings"
    import django

    django.setup()
    import pytz
    from graphite.render import evaluator
    from graphite.render.datalib import TimeSeries
    from graphite.util import timebounds

    def fetch(context, pattern):
        start, until, _ = timebounds(context)
        found = []
        for path in golden.find(pattern, context["series"]):
            begin, step, values = golden.window(context["series"][path], start, until)
            one = TimeSeries(
                path, begin, begin + len(values) * step, step, list(values),
                xFilesFactor=context.get("xFilesFactor"),
            )  # fmt: skip
            one.pathExpression = pattern
            found.append(one)
        return found

    evaluator.fetchData = fetch
    evaluator.prefetchData = lambda context, patterns: None

    def moment(seconds: int) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(seconds, pytz.utc)

    def evaluate(
        target: str,
        x_files_factor: float | None,
        series: dict[str, golden.Points] = golden.SERIES,
        start: int = golden.START,
        until: int = golden.UNTIL,
    ) -> dict[str, object]:
        context = {
            "startTime": moment(start),
            "endTime": moment(until),
            "now": moment(until),
            "series": series,
            "tzinfo": pytz.utc,
            "template": {},
            "localOnly": False,
            "targets": [target],
            "xFilesFactor": x_files_factor,
            "data": [],
        }
        answer: dict[str, object] = {"target": target}
        if x_files_factor is not None:
            answer["xFilesFactor"] = x_files_factor
        try:
            answer["series"] = [shown(one) for one in evaluator.evaluateTarget(context, target)]
        except Exception as error:  # whatever it is: graphite-web's outcome is the point
            answer["error"] = f"{type(error).__name__}: {error}"[:200]
        return answer

    return evaluate


def shown(one) -> dict[str, object]:
    return {
        "name": one.name,
        "expression": one.pathExpression,
        "start": one.start,
        "end": one.end,
        "step": one.step,
        "values": list(one),
        "tags": dict(one.tags),
        "consolidation": one.consolidationFunc,
        "xFilesFactor": one.xFilesFactor,
        "options": one.options,
    }


if __name__ == "__main__":
    main()
