"""Rules' files on a running server: what they say is done, changed and explained; wrong ones change nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.receiver import metrics
from tests.e2e.server import Server, eventually

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

RELOAD_S = 25.0  # files are looked at every ten seconds


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "blacklist.conf").write_text("# noise\n\\.debug\\.\n")
    (folder / "whitelist.conf").write_text("^(app|old|total|carbon)\\b\n")
    (folder / "rewrite-rules.conf").write_text("[pre]\n^old\\. = app.\n[post]\n")
    (folder / "aggregation-rules.conf").write_text("total.<what> (1) = sum app.*.<what>\n")
    return folder


@pytest.fixture
def ruled(tmp_path: Path, config: Path) -> Iterator[Server]:
    running = Server(tmp_path / "data", "--config", str(config))
    yield running
    running.stop()


def lines(*names: str) -> bytes:
    now = int(time.time())
    return "".join(f"{name} {i + 1} {now}\n" for i, name in enumerate(names)).encode()


def names_of(server: Server) -> set[str]:
    found = server.get("/metrics/index.json")
    return {name for name in found if not name.startswith("carbon.")}


def test_rules_are_followed_reloaded_and_explained(ruled: Server, config: Path) -> None:
    ruled.send(lines("app.web1.hits", "app.web2.hits", "old.web3.hits", "app.debug.hits", "other"))
    expected = {f"app.web{i}.hits" for i in (1, 2, 3)}
    eventually(lambda: names_of(ruled) >= expected)
    eventually(lambda: ruled.values("total.hits", **{"from": "-5min"}).get("total.hits"), 15)
    assert sum(ruled.values("total.hits")["total.hits"]) > 0
    assert names_of(ruled) == {*expected, "total.hits"}
    told = metrics(ruled.ports["admin"])
    assert told['rejected_total{listener="line",reason="blacklisted"}'] == 1
    assert told['rejected_total{listener="line",reason="not whitelisted"}'] == 1

    # wrong: says so, and the old rules stay
    (config / "blacklist.conf").write_text("(\n")
    eventually(lambda: metrics(ruled.ports["admin"])["errors_total"] == 1, RELOAD_S)
    ruled.send(lines("app.debug.hits", "app.web4.hits"))
    eventually(lambda: "app.web4.hits" in names_of(ruled))
    assert "app.debug.hits" not in names_of(ruled)

    # right again, and otherwise
    (config / "blacklist.conf").write_text("web5\n")
    (config / "aggregation-rules.conf").write_text("sums.<what> (1) = max app.*.<what>\n")

    def is_taken() -> bool:
        ruled.send(lines("app.debug.hits", "app.web5.hits"))
        return "app.debug.hits" in names_of(ruled)

    eventually(is_taken, RELOAD_S)
    ruled.send(lines("app.web5.hits", "old.web6.hits"))
    eventually(lambda: {"app.web6.hits", "sums.hits"} <= names_of(ruled), 15)
    _, _, errors = ruled.stop()
    assert errors.count("the rules stay as they were") == 1
    assert "blacklist.conf:1" in errors
    assert "rules reloaded" in errors


def explain(config: Path, *names: str) -> str:
    command = [sys.executable, "-m", "plumbago", "explain", *names, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_explain_says_which_line_of_which_file_decides(config: Path) -> None:
    said = explain(config, "old.web1.hits", "app.debug.x", "t;b=1;a=2")
    old, debug = said.split("\napp.debug.x:\n")
    assert old.startswith("old.web1.hits:\n")
    assert "rewrite-rules.conf:2: renamed to app.web1.hits" in said
    assert "aggregation-rules.conf:1: feeds total.hits, sum every 1 s" in said
    assert "stored as app.web1.hits" in said
    assert "blacklist.conf:2: blacklisted" in debug
    assert "t;a=2;b=1:\n" in debug
