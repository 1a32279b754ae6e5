from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.journal import File, Journal, SlowQueries, access_line, slow_line
from render.statistics import Note

NOW = 1_700_000_000.25
LINE = b"x" * 99  # 100 with its end


def lines(*paths: Path) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines()]


# --- the file ---


def test_what_is_written_is_there_in_its_order_when_it_is_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log")
    for i in range(1000):
        journal.write(b"%d" % i)
    journal.close()
    assert lines(tmp_path / "log") == [b"%d" % i for i in range(1000)]
    assert journal.dropped == 0
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640


def test_a_file_that_was_there_is_continued(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before\n")
    journal = Journal(tmp_path / "log")
    journal.write(b"after")
    journal.close()
    assert lines(tmp_path / "log") == [b"before", b"after"]


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Journal(tmp_path / "nowhere" / "log")


class Pipe:
    """A disk that takes what it is told to: a pipe, which holds a writer that is ahead of its reader."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.got = b""

    def read(self) -> None:
        os.set_blocking(self.end, True)
        while data := os.read(self.end, 1 << 16):
            self.got += data


def test_a_slow_disk_holds_nobody_and_what_is_too_much_is_dropped_and_counted(tmp_path: Path) -> None:
    disk = Pipe(tmp_path / "log")
    journal = Journal(tmp_path / "log", waiting_bytes_max=100_000)
    began = time.monotonic()
    for _ in range(20_000):
        journal.write(LINE)
    assert time.monotonic() - began < 2
    assert journal.dropped > 10_000
    reader = Thread(target=disk.read)
    reader.start()
    journal.close()
    reader.join(5)
    assert len(disk.got.splitlines()) == 20_000 - journal.dropped


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_file_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "moved"
    journal = Journal(path)
    journal.write(b"first")
    until(lambda: path.stat().st_size > 0)
    path.rename(old)  # logrotate, create
    journal.write(b"second")
    until(path.exists)
    until(lambda: path.stat().st_size > 0)
    os.truncate(path, 0)  # logrotate, copytruncate
    journal.write(b"third")
    journal.close()
    assert (lines(old), lines(path)) == ([b"first"], [b"third"])


def test_a_file_that_has_grown_is_rotated_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written = 0
    journal = Journal(path, file_bytes_max=1000, kept=2, gather_s=0)
    for number in range(60):
        journal.write(b"%03d" % number + LINE[3:])
        written += len(LINE) + 1
        until(lambda: not journal._lines)
    journal.close()
    files = [tmp_path / "log.2", tmp_path / "log.1", path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(0 < file.stat().st_size <= 1000 for file in files)
    kept = [int(line[:3]) for line in lines(*files)]
    assert kept == list(range(60 - len(kept), 60))
    assert len(kept) > 20


def test_two_that_write_into_one_file_rotate_it_once_each_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    journals = [Journal(path, file_bytes_max=5000, kept=100, gather_s=0) for _ in range(2)]
    for i in range(500):
        for name, journal in zip(b"ab", journals, strict=True):
            journal.write(b"%c%04d" % (name, i) + LINE[5:])
        if i % 10 == 0:
            for journal in journals:
                until(lambda journal=journal: not journal._lines)  # type: ignore[misc]  # of this round
    for journal in journals:
        journal.close()
    files = list(tmp_path.iterdir())
    assert sorted(line[:5] for line in lines(*files)) == sorted(
        b"%c%04d" % (name, i) for name in b"ab" for i in range(500)
    )
    assert sum(journal.dropped for journal in journals) == 0
    assert len(files) < 100_000 / 5000 * 3


def test_who_comes_second_to_a_file_that_has_grown_does_not_rotate_it_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first, second = File(path, 1000, 5), File(path, 1000, 5)
    first.append(b"old\n")
    first.rotate()
    first.append(b"new\n")
    second.rotate()  # it has looked before the first was done
    second.append(b"newer\n")
    assert (lines(tmp_path / "log.1"), lines(path)) == ([b"old"], [b"new", b"newer"])
    first.close()
    second.close()


def test_a_disk_that_takes_nothing_costs_lines_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "log").symlink_to(full)
    journal = Journal(tmp_path / "log")
    for _ in range(3):
        before = journal.dropped
        journal.write(LINE)
        until(lambda before=before: journal.dropped > before)  # type: ignore[misc]  # of this round
    journal.close()
    assert journal.dropped == 3
    assert len(caplog.records) == 1


# --- lines ---

ACCOUNT = {
    "seconds": 1.9, "series": 3, "points": 40, "cache": "miss", "targets": ["sumSeries(a.*)"], "window": [100, 200],
    "steps": [{"step": "sumSeries(a.*)", "within": [{"step": "a.*", "series": 3}]}],
}  # fmt: skip


def ended(uri: bytes = b"/render?target=a&from=-1h", **more: Any) -> Note:
    note = Note("r1", "192.0.2.1", "GET", uri, "/render", "grafana", account=ACCOUNT)
    note.status, note.sent, note.seconds, note.made_s, note.waited_s = 200, 512, 2.5, 2.0, 0.25
    for name, value in more.items():
        setattr(note, name, value)
    return note


def test_a_request_as_a_line() -> None:
    assert json.loads(access_line(ended(), NOW)) == {
        "time": "2023-11-14T22:13:20.250Z", "id": "r1", "client": "192.0.2.1", "name": "grafana", "method": "GET",
        "path": "/render", "query": "target=a&from=-1h", "status": 200, "bytes": 512, "ms": 2500.0,
        "worker": False, "cache": "miss",
    }  # fmt: skip


def test_a_slow_request_as_a_line() -> None:
    assert json.loads(slow_line(ended(), NOW, 4)) == {
        "time": "2023-11-14T22:13:20.250Z", "slow": True, "id": "r1", "client": "192.0.2.1", "name": "grafana",
        "path": "/render", "status": 200, "targets": ["sumSeries(a.*)"], "window": [100, 200], "seconds": 2.0,
        "waited": 0.25, "worker": False, "series": 3, "points": 40, "bytes_read": 320, "steps": ACCOUNT["steps"],
        "left_out": 4,
    }  # fmt: skip


@given(st.binary(max_size=3000), st.text() | st.just("\ud800"), st.lists(st.text() | st.just("\udfff")))
def test_whatever_is_asked_is_one_line_of_bounded_length(uri: bytes, name: str, targets: list[str]) -> None:
    note = ended(uri, name=name[:200], account={**ACCOUNT, "targets": targets})
    for line in (access_line(note, NOW), slow_line(note, NOW, 0)):
        assert b"\n" not in line
        assert isinstance(json.loads(line), dict)
    assert len(json.loads(access_line(note, NOW))["query"]) <= 2000


def test_a_plan_without_end_is_cut() -> None:
    deep: dict[str, Any] = {"step": "x"}
    for _ in range(100):
        deep = {"step": "x", "within": [deep, {"step": "y"}]}
    note = ended(account={"steps": [deep] * 3, "targets": ["t" * 9000] * 500})
    told = orjson.loads(slow_line(note, NOW, 0))
    assert orjson.dumps(told["steps"]).count(b'"step"') == 200
    assert len(told["targets"]) == 20
    assert {len(target) for target in told["targets"]} == {2000}


SECRETS = [
    "token=s3cret", "target=a&access_token=s3cret&x=1", "api_key=s3cret", "apikey=s3cret;target=a", "Password=s3cret",
    "target=a&X-Auth=s3cret", "client_secret=s3cret", "%74oken=s3cret",
]  # fmt: skip


@pytest.mark.parametrize("query", SECRETS)
def test_what_looks_like_a_secret_is_not_written(query: str) -> None:
    line = access_line(ended(b"/render?" + query.encode()), NOW)
    assert b"s3cret" not in line
    assert b"***" in line


def test_other_parameters_are_written_as_they_are() -> None:
    query = "target=aliasByNode(a.token.b,1)&key=aggregationMethod&from=-1h"
    assert json.loads(access_line(ended(b"/render?" + query.encode()), NOW))["query"] == query


def test_a_users_password_in_a_url_is_not_written() -> None:
    assert (
        json.loads(access_line(ended(b"http://me:s3cret@host/render"), NOW))["path"] == "http://host/render"
    )


# --- slow ones ---


class Ticking:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_line_a_second_tells_how_many_had_none() -> None:
    clock, written = Ticking(), list[bytes]()
    slow = SlowQueries(1.0, written.append, clock)
    assert not slow.look_at(ended(made_s=0.99), NOW)
    assert [slow.look_at(ended(), NOW) for _ in range(3)] == [True] * 3
    clock.now = 1.0
    assert slow.look_at(ended(), NOW)
    clock.now = 2.5
    assert slow.look_at(ended(), NOW)
    assert [json.loads(line)["left_out"] for line in written] == [0, 2, 0]


def test_0_means_that_nothing_is_slow() -> None:
    slow = SlowQueries(0.0, lambda line: pytest.fail(line.decode()))
    assert not slow.look_at(ended(made_s=1e6), NOW)
