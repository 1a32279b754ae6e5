"""plumbago top: what a running server does, second by second, asked over its control socket.

A view is made of two snapshots of its counters, as lines of text. Names, samples and addresses come from whoever
sends: they reach the terminal clipped, and escaped where they are not printable.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import click

from storage.ask import socket_address
from storage.cli import CONFIG, DATA, bytes_words, one_line_errors
from storage.errors import CannotAsk, JobFailed
from storage.progress import printable

Snapshot = Mapping[str, Any]  # see stats.snapshot

_EVERY_S = 1.0
_ANSWER_S = 10.0  # a server that is busy for so long is not well
_ANSWER_BYTES_MAX = 16 << 20
_WIDTH, _HEIGHT = 80, 24
_STAGES = ("read", "decide", "aggregate", "store", "relay")


@click.command()
@DATA
@CONFIG
@click.option("--once", is_flag=True, help="Print what was done in one second, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the counters since the start as JSON, and end.")
@one_line_errors
def top(data: Path, config: Path | None, once: bool, as_json: bool) -> None:
    """Show what a running server does: rates, what it refuses, who sends, how busy it is. Ctrl-C ends it."""
    first = ask(data)
    if as_json:
        click.echo(json.dumps(first))
    elif once or not sys.stdout.isatty():
        time.sleep(_EVERY_S)
        for line in lines(View(first, ask(data)), *shutil.get_terminal_size((_WIDTH, _HEIGHT))):
            click.echo(line.rstrip())
    else:
        with _whole_screen():
            _watch(data, first)


def ask(data: Path) -> Snapshot:
    """The counters of the server that has the folder; raises CannotAsk, JobFailed."""
    try:
        with socket_address(data) as address, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(address)
            connection.sendall(b'{"ask": "stats"}\n')
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline(_ANSWER_BYTES_MAX) or "{}")
    except (FileNotFoundError, ConnectionError):
        raise CannotAsk(
            f"no server has {data}: start `plumbago serve --data {data}`, or say with --data where it is"
        ) from None
    except TimeoutError:
        raise CannotAsk(f"the server that has {data} did not answer within {_ANSWER_S:g} s") from None
    except OSError as error:
        raise CannotAsk(
            f"the server that has {data} cannot be asked ({error.strerror}): be the user that it runs as"
        ) from None
    if "answer" not in answer:
        raise JobFailed(f"the server says: {printable(str(answer.get('error', 'nothing')))}")
    found: Snapshot = answer["answer"]
    return found


# --- the screen ---


@contextmanager
def _whole_screen() -> Iterator[None]:
    """The terminal's other screen, without a cursor; Ctrl-C ends it."""
    click.echo("\x1b[?1049h\x1b[?25l", nl=False)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        click.echo("\x1b[?25h\x1b[?1049l", nl=False)


def _watch(data: Path, before: Snapshot) -> None:
    while True:
        time.sleep(_EVERY_S)
        width, height = shutil.get_terminal_size((_WIDTH, _HEIGHT))
        try:
            after = ask(data)
        except (CannotAsk, JobFailed) as error:
            shown = [clip(f"{error}; it is asked again every second", width)]
        else:
            shown, before = lines(View(before, after), width, height), after
        # each line cleared behind itself: clearing the screen first would flicker
        click.echo("\x1b[H" + "\x1b[K\r\n".join(shown) + "\x1b[J", nl=False)


# --- two snapshots → lines ---


@dataclass(frozen=True)
class View:
    """What was done between two snapshots of one server; nothing, if it was started again between them."""

    before: Snapshot
    after: Snapshot

    @property
    def _seconds(self) -> float:
        return float(self.after["at"] - self.before["at"])

    def rate(self, *keys: str) -> float:
        """A second, of a counter or of one in a table of counters."""
        return self._rate(_at(self.before, keys), _at(self.after, keys))

    def _rate(self, before: float, after: float) -> float:
        if self.after.get("pid") != self.before.get("pid") or self._seconds <= 0:
            return 0.0
        return max(0.0, (after - before) / self._seconds)

    def now(self, key: str) -> float:
        return float(self.after.get(key, 0))

    def listeners(self) -> list[tuple[str, float, float]]:
        """(name, datapoints a second, refused a second), the busiest first."""
        before, after = _by_listener(self.before), _by_listener(self.after)
        names = {**self.after.get("received", {}), **after}
        found = [
            (name, self.rate("received", name), self._rate(before.get(name, 0), after.get(name, 0)))
            for name in names
        ]
        return sorted(found, key=lambda row: (-row[1], -row[2], row[0]))

    def refused(self) -> list[tuple[str, float, str]]:
        """(reason, refused a second, newest sample and who sent it), what is refused most first."""
        newest = {
            reason: f"{sample} {source}" for reason, sample, source in self.after.get("newest_rejects", [])
        }
        found = [
            (reason, self.rate("rejected", reason), newest.get(reason, ""))
            for reason in self.after.get("rejected", {})
        ]
        return sorted(found, key=lambda row: (-row[1], row[2] == "", row[0]))

    def senders(self) -> list[tuple[str, float, float, float]]:
        """(address, datapoints, new series, refused: each a second), who sends most first."""
        before = {address: counts for address, *counts in self.before.get("sources", [])}
        found = []
        for address, *counts in self.after.get("sources", []):
            was = before.get(address, [0, 0, 0])
            datapoints, series, refused = (self._rate(*pair) for pair in zip(was, counts, strict=True))
            found.append((address, datapoints, series, refused))
        return sorted(found, key=lambda row: (-row[1] - row[3], row[0]))

    def stages(self) -> list[tuple[str, float]]:
        """(stage, part of the time)"""
        known = self.after.get("stage_s", {})
        order = [name for name in _STAGES if name in known] + sorted(set(known) - set(_STAGES))
        return [(name, self.rate("stage_s", name)) for name in order]


def _at(snapshot: Snapshot, keys: Sequence[str]) -> float:
    value: Any = snapshot
    for key in keys:
        value = value.get(key, 0)
        if not isinstance(value, Mapping):
            break
    return float(value)


def _by_listener(snapshot: Snapshot) -> dict[str, int]:
    counts: dict[str, int] = {}
    for listener, _, count in snapshot.get("rejected_by", []):
        counts[listener] = counts.get(listener, 0) + count
    return counts


def lines(view: View, width: int = _WIDTH, height: int = _HEIGHT) -> list[str]:
    """The view as at most `height` lines of at most `width` columns."""
    shown = [*_head(view), ""]
    tables = [table for table in (_listeners(view), _refused(view), _senders(view), _names(view)) if table[1]]
    room = _shared(height + 1 - len(shown), [len(rows) + 2 for _, rows in tables])
    for (title, rows), part in zip(tables, room, strict=True):
        if part > 2:  # the title, rows, an empty line, which is not needed behind the last
            shown += [title, *rows[: part - 2], ""]
    while shown and not shown[-1]:
        shown.pop()
    return [clip(line, width) for line in shown[:height]]


def _shared(whole: int, wanted: Sequence[int]) -> list[int]:
    """How much each gets: what it wants, or as much as the others that do not get what they want."""
    parts = [0] * len(wanted)
    for rank, i in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        parts[i] = max(0, min(wanted[i], (whole - sum(parts)) // (len(wanted) - rank)))
    return parts


def _head(view: View) -> Iterator[str]:
    memory = bytes_words(view.now("memory_bytes"))
    yield (
        f"plumbago  process {view.now('pid'):.0f}   CPU {view.rate('cpu_s'):.0%}"
        f"   memory {memory}   errors {view.now('errors'):,.0f}"
    )
    yield (
        f"received {_rate(sum(rate for _, rate, _ in view.listeners()))}   stored {_rate(view.rate('committed'))}"
        f"   refused {_rate(sum(rate for _, rate, _ in view.refused()))}   new series {_rate(view.rate('creates'))}"
    )
    yield (
        f"connections {view.now('connections'):,.0f}, held back {view.now('paused'):,.0f}"
        f"   waiting {view.now('waiting'):,.0f}   dropped by the kernel {_rate(view.rate('udp_drops'))}"
    )
    busy = "  ".join(f"{name} {part:.0%}" for name, part in view.stages()) or "not measured"
    yield f"stall {view.now('max_stall_s'):.3f} s   lag {view.now('lag_s'):.1f} s   busy: {busy}"
    if view.after.get("read_only"):
        yield "THE DISK HAS FAILED: nothing is stored until the server is started again; see its log"


Table = tuple[str, list[str]]


def _listeners(view: View) -> Table:
    rows = [f"{_cell(name, 20)} {points:14,.0f} {bad:14,.0f}" for name, points, bad in view.listeners()]
    return f"{'LISTENER':20} {'DATAPOINTS/S':>14} {'REFUSED/S':>14}", rows


def _refused(view: View) -> Table:
    rows = [f"{_cell(why, 34)} {rate:9,.0f}  {printable(newest)}" for why, rate, newest in view.refused()]
    return f"{'REFUSED, AS':34} {'A SECOND':>9}  NEWEST", rows


def _senders(view: View) -> Table:
    rows = [
        f"{_cell(address, 39)} {points:12,.0f} {series:12,.0f} {bad:12,.0f}"
        for address, points, series, bad in view.senders()
    ]
    return f"{'SENDER':39} {'DATAPOINTS/S':>12} {'NEW SERIES/S':>12} {'REFUSED/S':>12}", rows


def _names(view: View) -> Table:
    return "NEWEST SERIES", [printable(str(name)) for name in reversed(view.after.get("newest_names", []))]


def _rate(value: float) -> str:
    return f"{value:,.0f}/s"


def _cell(text: str, width: int) -> str:
    shown = clip(text, width)
    return shown + " " * (width - sum(map(_columns, shown)))


def clip(text: str, width: int) -> str:
    """A line of no more than so many columns, with nothing that a terminal would obey."""
    safe = printable(text)
    if sum(map(_columns, safe)) <= width:
        return safe
    shown, left = [], width - 1
    for c in safe:
        left -= _columns(c)
        if left < 0:
            break
        shown.append(c)
    return "".join(shown) + "…"


def _columns(c: str) -> int:
    return 2 if east_asian_width(c) in "WF" else 1


COMMANDS = [top]
