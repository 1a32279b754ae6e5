"""Real clients of Graphite against `plumbago serve`; each is skipped where it is not installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.server import Server, eventually

pytestmark = pytest.mark.timeout(180)

_COLLECTD = """
Hostname "web1"
FQDNLookup false
BaseDir "{folder}"
PIDFile "{folder}/pid"
PluginDir "/usr/lib/collectd"
TypesDB "/usr/share/collectd/types.db"
Interval 1
LoadPlugin load
LoadPlugin memory
LoadPlugin cpu
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "us">
    Host "127.0.0.1"
    Port "{port}"
    Protocol "{protocol}"
    Prefix "collectd."
    EscapeCharacter "_"
    SeparateInstances true
    StoreRates true
  </Node>
</Plugin>
"""


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("collectd") is None, reason="collectd is not installed")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_what_collectd_measured_is_what_render_answers(server: Server, tmp_path: Path, protocol: str) -> None:
    config = tmp_path / "collectd.conf"
    port = server.line if protocol == "tcp" else server.udp
    config.write_text(_COLLECTD.format(folder=tmp_path, port=port, protocol=protocol))
    collectd = subprocess.Popen(
        ["collectd", "-f", "-C", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        used = eventually(lambda: server.values("collectd.web1.memory.memory.used"), 40)
        assert 1e6 < used["collectd.web1.memory.memory.used"][-1] < 1e13
        eventually(
            lambda: server.values("sumSeries(collectd.web1.cpu.*.cpu.*)"), 40
        )  # rates: first ones are nan
        load = server.values("aliasByNode(collectd.web1.load.load.shortterm,1)")
        assert load["web1"][-1] >= 0
    finally:
        collectd.terminate()
        collectd.wait(10)


def test_a_client_that_closes_without_a_word_costs_nothing(server: Server) -> None:
    for _ in range(50):
        socket.create_connection(("127.0.0.1", server.line)).close()
    server.send(b"a.b 1 -1\n")
    eventually(lambda: server.values("a.b"))
