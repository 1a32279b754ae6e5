"""The functions of graphite-web 1.1.10 as its /functions shows them: group and parameters of each.

    PYTHON_WITH_GRAPHITE_WEB tests/render/golden/make_signatures.py

writes signatures.json: a line a function. Needs what make.py needs.
"""

from __future__ import annotations

import json
import math
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

# this script also runs where no package of ours can be imported, and mypy where no graphite-web is
from make import graphite_web  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        graphite_web(pathlib.Path(folder))
        from graphite.functions import SeriesFunctions  # type: ignore[import-not-found]  # as above

        found = {name: described(function) for name, function in sorted(SeriesFunctions().items())}
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(one)}" for name, one in found.items())
    (HERE / "signatures.json").write_text(f"{{\n{lines}\n}}\n")


def described(function) -> dict[str, object]:  # type: ignore[no-untyped-def]  # graphite-web is untyped
    params = [param.toJSON() for param in function.params]
    for param in params:
        if param.get("default") == math.inf:
            param["default"] = "inf"  # JSON has none
    return {"group": function.group, "params": params}


if __name__ == "__main__":
    main()
