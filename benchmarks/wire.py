"""What does the way in cost: pickles, few or many connections, small writes, idle ones, rules, datagrams, latency?

Everything goes over real sockets to a real receiver. CPU is all of the server's until its work is done; the latency is
from the last byte sent until a reader beside the server sees the datapoint.
"""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import pickle
import re
import resource
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.lines import Receiver, Taken, make_lines, take
from benchmarks.measure import Row
from benchmarks.peers import CARBON
from benchmarks.server import Server
from benchmarks.victoria import VICTORIA, VictoriaMetrics, victoria
from benchmarks.workbench import STEP_S, Workbench, names, now_in_steps
from carbon.datagrams import Iovec, Message

_TWIN = "4 connections, 64 KiB writes"
_RULES = 1_000
_LATENCIES = 200
_LOST_S = 20.0
_IDLE = 10_000
_MILLION_ROUNDS = 5
_DATAGRAMS_A_SECOND, _DATAGRAMS_S = 210_000, 5
_AT_ONCE = 100

_sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg


def rows(bench: Workbench) -> Iterator[Row]:
    paths = names(bench.size(100_000))
    with Server(bench.folder / "wire") as server:
        usual = _again(server, paths, 20)
        for what, connections, piece in (
            ("1 connection", 1, 1 << 16),
            ("500 connections", 500, 1 << 16),
            ("4 connections, 1 KiB writes", 4, 1 << 10),
        ):
            taken = _again(server, paths, 20, connections=connections, piece=piece)
            yield _cost(what, taken, _TWIN, usual)
        yield from _pickles(bench, server)
    yield from _latency(bench)
    yield from _datagrams(bench)
    yield from _rules(bench, paths)
    yield from _receivers(bench, paths)
    yield from _million(bench)


def _cost(what: str, ours: Taken, twin: str, theirs: Taken | None, *, times: float | None = None) -> Row:
    figure = theirs and theirs.cpu_s_a_million
    return Row(f"wire: {what}", ours.cpu_s_a_million, "CPU-s a million", twin, figure, times=times)


def _again(
    receiver: Receiver,
    paths: list[str],
    rounds: int,
    *,
    connections: int = 4,
    piece: int = 1 << 16,
    zipped: bool = False,
) -> Taken:
    """With names that are known: a round is sent before."""
    times = [now_in_steps() - STEP_S * ago for ago in range(rounds, -1, -1)]
    take(receiver, paths, make_lines(paths, times[:1], connections=connections))
    lines = make_lines(paths, times[1:], connections=connections)
    if zipped:
        lines = lines._replace(buffers=[gzip.compress(one, 1) for one in lines.buffers])
    return take(receiver, paths, lines, piece=piece)


# --- pickle ---


def _pickles(bench: Workbench, server: Server) -> Iterator[Row]:
    paths = names(bench.size(100_000))
    ours = _pickled(server, paths, 10)
    few = names(bench.size(10_000))
    cache = bench.peers.carbon_cache(bench.folder / "carbon-pickle")
    theirs = None
    if cache is not None:
        with cache:
            theirs = _pickled(cache, few, 10)
    yield _cost("pickles of 500, names known", ours, f"{CARBON}, {len(few):,} × 10", theirs, times=10)


def _pickled(receiver: Receiver, paths: list[str], rounds: int) -> Taken:
    times = [now_in_steps() - STEP_S * ago for ago in range(rounds, -1, -1)]
    take(receiver, paths, make_lines(paths, times[:1]))
    lines = make_lines(paths, times[1:])
    frames = [b"".join(map(_frame, _pieces(buffer.splitlines(), 500))) for buffer in lines.buffers]
    return take(receiver, paths, lines._replace(buffers=frames), port=receiver.pickle_port)


def _pieces(lines: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    for at in range(0, len(lines), size):
        yield lines[at : at + size]


def _frame(lines: Sequence[bytes]) -> bytes:
    fields = [line.split() for line in lines]
    items = [(name.decode(), (int(when), float(value))) for name, value, when in fields]
    data = pickle.dumps(items, protocol=2)
    return struct.pack("!L", len(data)) + data


# --- latency ---


def _latency(bench: Workbench) -> Iterator[Row]:
    config = bench.folder / "many"
    config.mkdir()
    (config / "plumbago.toml").write_text(
        "[listener.line]\nconnections-max = 20000\nconnections-per-source-max = 20000\n"
    )
    with Server(bench.folder / "latency", "--config", str(config)) as server:
        idle = _p99(server)
        yield Row("wire: latency to queryable, p99, idle server", idle * 1e3, "ms", "", None, limit=200)
        wanted = bench.size(_IDLE)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 1000), hard))
        with contextlib.ExitStack() as held:
            for _ in range(wanted):
                held.enter_context(socket.create_connection(("127.0.0.1", server.line_port)))
            beside = _p99(server)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        twin = "without them"
        yield Row(
            f"wire: the same beside {wanted:,} idle connections",
            beside * 1e3,
            "ms",
            twin,
            idle * 1e3,
            times=0.5,
        )


def _p99(server: Server) -> float:
    """Seconds from the last byte sent until a reader sees the datapoint."""
    (path,) = names(1)
    taken = []
    with socket.create_connection(("127.0.0.1", server.line_port)) as connection:
        for i in range(_LATENCIES + 20):
            now = now_in_steps()
            connection.sendall(f"{path} {i} {now}\n".encode())
            sent = time.perf_counter()
            while not server.has([path], now, [float(i)]):
                if time.perf_counter() - sent > _LOST_S:
                    raise TimeoutError("a datapoint did not come")
                time.sleep(0.0005)
            taken.append(time.perf_counter() - sent)
            time.sleep(0.01)
    return sorted(taken[20:])[int(_LATENCIES * 0.99)]


# --- datagrams ---


class Datagrams(NamedTuple):
    sent: int
    lost: int
    seconds: float


def _datagrams(bench: Workbench) -> Iterator[Row]:
    with Server(bench.folder / "udp") as server:
        _flood(server, 20_000)
        found = _flood(server, _DATAGRAMS_A_SECOND * _DATAGRAMS_S)
    rate = found.sent / found.seconds
    yield Row("wire: UDP, a line a datagram", rate, "datagrams/s", "", None, limit=200_000)
    yield Row("wire: UDP, lost of a million", found.lost / found.sent * 1e6, "datagrams", "", None, limit=0)


def _flood(server: Server, count: int) -> Datagrams:
    """At so many a second, or as fast as this process can."""
    now = now_in_steps()
    pool = _Pool([f"{name} 1 {now}".encode() for name in names(1000)])
    before = _settled(server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", server.line_port))
        started = time.perf_counter()
        sent = 0
        while sent < count:
            sent += pool.send(sender, sent, _AT_ONCE)
            ahead = sent / _DATAGRAMS_A_SECOND - (time.perf_counter() - started)
            if ahead > 0:
                time.sleep(ahead)
        seconds = time.perf_counter() - started
    return Datagrams(sent, sent - (_settled(server) - before), seconds)


class _Pool:
    """Datagrams for sendmmsg: with a system call for each, one process would not send 200,000 a second."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = [ctypes.create_string_buffer(line, len(line)) for line in lines]
        self._iovecs = (Iovec * len(lines))()
        self._messages = (Message * len(lines))()
        for i, line in enumerate(self._lines):
            self._iovecs[i] = Iovec(ctypes.addressof(line), len(line))
            header = self._messages[i].header
            header.iov, header.iov_length = ctypes.addressof(self._iovecs[i]), 1

    def send(self, sender: socket.socket, at: int, count: int) -> int:
        """Send `count` of them from the `at`-th on; how many the kernel took."""
        at %= len(self._lines)
        count = min(count, len(self._lines) - at)
        sent = _sendmmsg(sender.fileno(), ctypes.byref(self._messages, at * ctypes.sizeof(Message)), count, 0)
        if sent < 0:
            raise OSError(ctypes.get_errno(), "sendmmsg")
        return int(sent)


def _settled(server: Server) -> int:
    """How many have come, when no more do."""
    seen, now = -1, _counted(server)
    while seen != now:
        time.sleep(1.0)
        seen, now = now, _counted(server)
    return now


def _counted(server: Server) -> int:
    found = re.search(rb'received_datapoints_total\{listener="udp"\} (\S+)', server.admin("/metrics"))
    return int(float(found[1])) if found else 0


# --- rules ---


def _rules(bench: Workbench, paths: list[str]) -> Iterator[Row]:
    config = bench.folder / "rules"
    config.mkdir()
    with Server(bench.folder / "no-rules") as server:
        plain = _again(server, paths, 20)
    (config / "rewrite-rules.conf").write_text(
        "[pre]\n" + "".join(f"^legacy{i}\\.(.*) = modern{i}.\\1\n" for i in range(_RULES // 2))
    )
    (config / "aggregation-rules.conf").write_text(
        "".join(f"sum{i}.<leaf> (60) = sum group{i}.*.<leaf>\n" for i in range(_RULES // 2))
    )
    with Server(bench.folder / "with-rules", "--config", str(config)) as server:
        ruled = _again(server, paths, 20)
    yield Row(f"wire: with {_RULES:,} rules", ruled.per_s, "points/s", "without", plain.per_s, times=0.8)
    yield _cost(f"with {_RULES:,} rules", ruled, "without", plain, times=0.8)


# --- a million names ---


def _million(bench: Workbench) -> Iterator[Row]:
    """A million names: new, known, shuffled, beside VictoriaMetrics."""
    paths = names(bench.size(1_000_000))
    with Server(bench.folder / "million") as server:
        ours = _story(server, paths)
    theirs, peer = None, victoria(bench.folder / "million-victoria")
    if peer is not None:
        with peer:
            theirs = _story(peer, paths)
    count = f"{len(paths):,}"
    yield Row(
        f"wire: {count} new names, first points kept", ours.new.per_s, "names/s", "", None, limit=50_000
    )
    grown = theirs and theirs.grown
    yield Row("wire: memory for them", ours.grown, "bytes a series", VICTORIA, grown, limit=1_500)
    yield _cost(f"{count} new names", ours.new, VICTORIA, theirs and theirs.new, times=2)
    yield _cost(f"{count} names known", ours.known, VICTORIA, theirs and theirs.known, times=5)
    yield _cost(f"{count} names shuffled", ours.shuffled, VICTORIA, theirs and theirs.shuffled, times=1)


class _Story(NamedTuple):
    new: Taken
    grown: float  # bytes a series
    known: Taken
    shuffled: Taken


def _story(receiver: Server | VictoriaMetrics, paths: list[str]) -> _Story:
    warm = names(1000, ("warm.up",))
    take(receiver, warm, make_lines(warm, [now_in_steps()]))
    times = [now_in_steps() - STEP_S * ago for ago in range(2 * _MILLION_ROUNDS, -1, -1)]
    before = receiver.memory().pss
    new = take(receiver, paths, make_lines(paths, times[:1]))
    grown = (receiver.memory().pss - before) * 2**20 / len(paths)
    known = take(receiver, paths, make_lines(paths, times[1 : _MILLION_ROUNDS + 1]))
    shuffled = take(receiver, paths, make_lines(paths, times[_MILLION_ROUNDS + 1 :], shuffled=True))
    return _Story(new, grown, known, shuffled)


# --- readers in front ---


def _receivers(bench: Workbench, paths: list[str]) -> Iterator[Row]:
    """Two processes that read and parse before the one that stores, against that one alone."""
    found = {}
    for count in (0, 2):
        with Server(bench.folder / f"readers-{count}", "--receivers", str(count)) as server:
            zipped = names(len(paths), ("zipped",))
            found[count] = _again(server, paths, 20), _again(server, zipped, 20, zipped=True)
    for what, alone, before in zip(("lines", "gzip lines"), found[0], found[2], strict=True):
        yield Row(f"wire: 2 readers, {what}", before.per_s, "points/s", "no readers", alone.per_s)


if __name__ == "__main__":
    import sys

    from benchmarks.__main__ import main

    sys.exit(main(["wire", *sys.argv[1:]]))
