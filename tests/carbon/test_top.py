"""plumbago top: two snapshots are shown as rates, on any terminal, with no untrusted text raw."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from threading import Thread
from typing import Any
from unicodedata import east_asian_width

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from carbon.stats import Stats, snapshot
from carbon.top import COMMANDS, View, ask, clip, lines, top
from storage.ask import socket_address
from storage.errors import CannotAsk, JobFailed

nasty = st.text(max_size=300) | st.sampled_from(
    ["\x1b[2J", "a\nb", "\x9b1m", "x\u202ey", "\ud800", "漢" * 90, "é" * 90, "\x7f"]
)


def snapshots(**after: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a server two seconds apart: nothing was counted, but for what is given."""
    before = {**snapshot(Stats()), "at": 100.0, "cpu_s": 5.0, "pid": 7}
    return before, {**before, "at": 102.0, "cpu_s": 6.0, **after}


def columns(line: str) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in line)


BUSY: dict[str, Any] = {
    "received": {"line": 20_000, "pickle": 500, "self": 0},
    "rejected": {"bad value": 30, "empty node": 0, "too old": 8},
    "rejected_by": [["line", "bad value", 20], ["line", "too old", 4], ["udp", "bad value", 10]],
    "newest_rejects": [["bad value", "b'old'", "10.0.0.1"], ["bad value", "b'a.b x 1'", "10.0.0.9"]],
    "committed": 19_000, "creates": 6, "connections": 12, "paused": 3, "waiting": 1234, "errors": 2,
    "udp_drops": 50, "max_stall_s": 0.25, "lag_s": 1.5, "memory_bytes": 300 << 20,
    "stage_s": {"store": 0.5, "read": 0.2, "idle": 0.1},
    "sources": [["10.0.0.9", 200, 2, 0], ["10.0.0.1", 19_000, 4, 30]],
    "newest_names": ["first.a", "last.b"],
}  # fmt: skip

WANTED = """\
plumbago  process 7   CPU 50%   memory 300.0 MiB   errors 2
received 10,250/s   stored 9,500/s   refused 19/s   new series 3/s
connections 12, held back 3   waiting 1,234   dropped by the kernel 25/s
stall 0.250 s   lag 1.5 s   busy: read 10%  store 25%  idle 5%

LISTENER               DATAPOINTS/S      REFUSED/S
line                         10,000             12
pickle                          250              0
udp                               0              5
self                              0              0

REFUSED, AS                         A SECOND  NEWEST
bad value                                 15  b'a.b x 1' 10.0.0.9
too old                                    4
empty node                                 0

SENDER                                  DATAPOINTS/S NEW SERIES/S    REFUSED/S
10.0.0.1                                       9,500            2           15
10.0.0.9                                         100            1            0

NEWEST SERIES
last.b
first.a
"""


def test_two_snapshots_are_shown_as_rates() -> None:
    shown = "\n".join(line.rstrip() for line in lines(View(*snapshots(**BUSY)), 80, 24)) + "\n"
    assert shown == WANTED


@given(
    st.lists(nasty, max_size=30),
    st.lists(nasty, max_size=30),
    st.lists(nasty, max_size=30),
    st.integers(10, 200),
    st.integers(1, 60),
)
def test_the_view_fits_and_no_untrusted_text_is_raw(
    names: list[str], samples: list[str], addresses: list[str], width: int, height: int
) -> None:
    counted = {
        "received": dict.fromkeys(names, 5),
        "rejected": dict.fromkeys(samples, 5),
        "rejected_by": [[name, sample, 3] for name, sample in zip(names, samples, strict=False)],
        "newest_rejects": [[sample, sample, sample] for sample in samples],
        "sources": [[address, 1, 1, 1] for address in addresses],
        "newest_names": names,
        "stage_s": dict.fromkeys(names[:3], 0.1),
        "read_only": True,
    }
    shown = lines(View(*snapshots(**counted)), width, height)
    assert len(shown) <= height
    assert all(columns(line) <= width for line in shown)
    assert all(line.isprintable() for line in shown)


def test_on_a_small_terminal_every_table_has_its_first_rows() -> None:
    many = {**BUSY, "rejected": {f"reason {i}": 100 - i for i in range(50)}}
    many["sources"] = [[f"10.0.0.{i}", 500 - i, 0, 0] for i in range(50)]
    many["newest_names"] = [f"name.{i}" for i in range(20)]
    many["received"] = {f"listener{i}": 100 - i for i in range(50)}
    shown = lines(View(*snapshots(**many)), 80, 24)
    assert len(shown) == 24
    for first in ("listener0 ", "reason 0 ", "10.0.0.0 ", "name.19"):
        assert any(line.startswith(first) for line in shown)
    assert len(lines(View(*snapshots(**many)), 80, 100)) > 60


def test_a_server_that_was_started_again_has_done_nothing_yet() -> None:
    before, after = snapshots(received={"line": 5})
    assert View(before, after).rate("received", "line") == 2.5
    assert View(before, {**after, "pid": 8}).rate("received", "line") == 0
    assert View(after, {**before, "at": 104.0}).rate("received", "line") == 0


def test_what_an_older_server_does_not_tell_is_0() -> None:
    shown = lines(View({"at": 1.0}, {"at": 2.0}))
    assert shown[1] == "received 0/s   stored 0/s   refused 0/s   new series 0/s"


@given(nasty, st.integers(1, 50))
def test_what_is_clipped_is_printable_and_short(text: str, width: int) -> None:
    shown = clip(text, width)
    assert shown.isprintable()
    assert columns(shown) <= width
    if text.isprintable() and columns(text) <= width:
        assert shown == text


# --- the command ---


class Answering:
    """A control socket that gives each connection the next of some answers."""

    def __init__(self, data: Path, *answers: bytes) -> None:
        self.asked: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX)
        with socket_address(data) as address:
            self._socket.bind(address)
        self._socket.listen()
        self._thread = Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        for answer in answers:
            connection, _ = self._socket.accept()
            with connection:
                self.asked.append(connection.recv(1000))
                connection.sendall(answer)

    def end(self) -> None:
        self._thread.join(10)
        self._socket.close()


def answer(**counted: Any) -> bytes:
    return json.dumps({"answer": counted}).encode() + b"\n"


def test_the_server_is_asked_over_its_control_socket(tmp_path: Path) -> None:
    server = Answering(tmp_path, answer(errors=3))
    assert ask(tmp_path) == {"errors": 3}
    server.end()
    assert server.asked == [b'{"ask": "stats"}\n']


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b'{"error": "a request is \\u001b[31m"}\n', r"the server says: a request is \\x1b\[31m"),
        (b"", "the server says: nothing"),
    ],
)
def test_a_server_that_gives_no_answer_is_told(tmp_path: Path, said: bytes, why: str) -> None:
    server = Answering(tmp_path, said)
    with pytest.raises(JobFailed, match=why):
        ask(tmp_path)
    server.end()


def test_without_a_server_one_line_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotAsk, match="start `plumbago serve --data "):
        ask(tmp_path)
    done = CliRunner().invoke(top, ["--data", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert "no server has" in done.output


def test_json_is_the_snapshot_and_once_is_a_view_of_a_second(tmp_path: Path) -> None:
    before, after = snapshots(**BUSY)
    server = Answering(tmp_path, answer(**before), answer(**before), answer(**after))
    done = CliRunner().invoke(top, ["--data", str(tmp_path), "--json"])
    assert json.loads(done.output) == json.loads(json.dumps(before))
    done = CliRunner().invoke(top, ["--data", str(tmp_path), "--once"])
    server.end()
    assert done.output == WANTED
    assert "\x1b" not in done.output
    assert [command.name for command in COMMANDS] == ["top"]
