"""The built-in host collector: CPU, memory, load, disk and network of this host through psutil.

Rates are per second since the last measurement, percentages of the whole machine, sizes bytes. Names are
hosts.<hostname>.<what>.<measure>.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psutil

from carbon.stats import node

INTERVAL_S = 10
_PSEUDO = ("loop", "ram", "zram", "fd", "sr")  # block devices that are no disks


class HostCollector:
    """`measure()` → name → value, names below `hosts.<hostname>.`"""

    def __init__(self, hostname: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix = f"hosts.{node(hostname)}."
        self._clock = clock
        self._at = clock()
        self._counters = dict(_counters())
        psutil.cpu_times_percent()

    def measure(self) -> dict[str, float]:
        now = self._clock()
        counters = dict(_counters())
        values = dict(_gauges())
        elapsed = now - self._at
        if elapsed > 0:
            for name, count in counters.items():
                before = self._counters.get(name, count)
                if count >= before:  # a counter that went back was reset: no rate for this interval
                    values[name] = (count - before) / elapsed
        self._at, self._counters = now, counters
        return {self._prefix + name: value for name, value in values.items()}


def _gauges() -> Iterator[tuple[str, float]]:
    cpu = psutil.cpu_times_percent()
    for mode in ("user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal"):
        if hasattr(cpu, mode):
            yield f"cpu.{mode}", getattr(cpu, mode)
    yield "cpu.count", float(psutil.cpu_count() or 1)
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    for field in ("total", "available", "used", "free", "cached", "buffers"):
        if hasattr(memory, field):
            yield f"memory.{field}", float(getattr(memory, field))
    yield "memory.used_percent", memory.percent
    yield "swap.used", float(swap.used)
    yield "swap.total", float(swap.total)
    for name, value in zip(("1min", "5min", "15min"), psutil.getloadavg(), strict=True):
        yield f"load.{name}", value
    yield "processes.count", float(len(psutil.pids()))
    yield from _file_systems()


def _file_systems() -> Iterator[tuple[str, float]]:
    for part in psutil.disk_partitions():
        try:
            usage = psutil.disk_usage(part.mountpoint)
        except OSError:
            continue
        name = "root" if part.mountpoint == "/" else node(part.mountpoint.strip("/"))
        yield f"disk.{name}.used", float(usage.used)
        yield f"disk.{name}.free", float(usage.free)
        yield f"disk.{name}.used_percent", usage.percent


def _counters() -> Iterator[tuple[str, float]]:
    """Numbers that only grow; `measure` turns them into rates."""
    for device, io in (psutil.disk_io_counters(perdisk=True) or {}).items():
        if not device.startswith(_PSEUDO):
            at = f"diskio.{node(device)}"
            yield f"{at}.read_bytes_per_second", float(io.read_bytes)
            yield f"{at}.written_bytes_per_second", float(io.write_bytes)
            yield f"{at}.reads_per_second", float(io.read_count)
            yield f"{at}.writes_per_second", float(io.write_count)
    for interface, net in psutil.net_io_counters(pernic=True).items():
        at = f"network.{node(interface)}"
        yield f"{at}.received_bytes_per_second", float(net.bytes_recv)
        yield f"{at}.sent_bytes_per_second", float(net.bytes_sent)
        yield f"{at}.received_packets_per_second", float(net.packets_recv)
        yield f"{at}.sent_packets_per_second", float(net.packets_sent)
        yield f"{at}.errors_per_second", float(net.errin + net.errout)
        yield f"{at}.drops_per_second", float(net.dropin + net.dropout)
