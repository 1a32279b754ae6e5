"""carbon.conf: every key of carbon's is taken, or told why it is not; what is taken is what carbon would do."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.carbon_conf import DAEMONS, KEYS, Found, described, load, read
from carbon.config import Kind, Listener, Settings
from storage.errors import InvalidConfig

# each key that carbon 1.1 reads, or its example names: a value, and for those that are taken what it becomes
NO_EFFECT = """
STORAGE_DIR CONF_DIR LOG_DIR PID_DIR LOCAL_DATA_DIR WHITELISTS_DIR USER DATABASE ENABLE_LOGROTATION MAX_CACHE_SIZE
MAX_UPDATES_PER_SECOND MAX_UPDATES_PER_SECOND_ON_SHUTDOWN MAX_CREATES_PER_MINUTE MIN_TIMESTAMP_RESOLUTION
MIN_TIMESTAMP_LAG PICKLE_RECEIVER_MAX_LENGTH USE_INSECURE_UNPICKLER LOG_UPDATES LOG_CREATES LOG_CACHE_HITS
LOG_CACHE_QUEUE_SORTS LOG_LISTENER_CONN_SUCCESS LOG_LISTENER_CONN_LOST LOG_AGGREGATOR_MISSES CACHE_WRITE_STRATEGY
WHISPER_SPARSE_CREATE WHISPER_FALLOCATE_CREATE WHISPER_LOCK_WRITES WHISPER_FADVISE_RANDOM CERES_MAX_SLICE_GAP
CERES_NODE_CACHING_BEHAVIOR CERES_SLICE_CACHING_BEHAVIOR CERES_LOCK_WRITES AMQP_VERBOSE AMQP_SPEC ENABLE_MANHOLE
MANHOLE_INTERFACE MANHOLE_PORT MANHOLE_USER MANHOLE_PUBLIC_KEY MANHOLE_HOST_KEY_DIR GRAPHITE_URL ENABLE_TAGS
SKIP_TAGS_FOR_NONTAGGED TAG_UPDATE_INTERVAL TAG_BATCH_SIZE TAG_QUEUE_SIZE TAG_HASH_FILENAMES TAG_RELAY_NORMALIZED
RELAY_CACHE_METRICS DYNAMIC_ROUTER DYNAMIC_ROUTER_MAX_RETRIES QUEUE_LOW_WATERMARK_PCT MAX_QUEUE_SIZE_HARD_PCT
TIME_TO_DEFER_SENDING USE_RATIO_RESET MIN_RESET_STAT_FLOW MIN_RESET_RATIO MIN_RESET_INTERVAL TCP_KEEPALIVE
TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT CACHE_METRIC_NAMES_MAX CACHE_METRIC_NAMES_TTL RAVEN_DSN
CACHE_SIZE_LOW_WATERMARK CACHE_SIZE_HARD_MAX
""".split()  # noqa: SIM905
TAKEN = {
    "LINE_RECEIVER_INTERFACE": "10.0.0.1", "LINE_RECEIVER_PORT": "2103", "ENABLE_UDP_LISTENER": "True",
    "UDP_RECEIVER_INTERFACE": "10.0.0.2", "UDP_RECEIVER_PORT": "2104", "PICKLE_RECEIVER_INTERFACE": "10.0.0.1",
    "PICKLE_RECEIVER_PORT": "2105", "PROTOBUF_RECEIVER_INTERFACE": "::", "PROTOBUF_RECEIVER_PORT": "2106",
    "MAX_RECEIVER_CONNECTIONS": "100", "CACHE_QUERY_INTERFACE": "10.0.0.4", "CACHE_QUERY_PORT": "7102",
    "METRIC_CLIENT_IDLE_TIMEOUT": "30", "WHISPER_AUTOFLUSH": "True", "USE_WHITELIST": "True",
    "CARBON_METRIC_PREFIX": "graphite", "CARBON_METRIC_INTERVAL": "10", "ENABLE_AMQP": "True",
    "AMQP_METRIC_NAME_IN_BODY": "True", "BIND_PATTERNS": "a.#, b.#", "AMQP_HOST": "mq", "AMQP_PORT": "5673",
    "AMQP_VHOST": "/x y", "AMQP_USER": "u@x", "AMQP_PASSWORD": "p:/", "AMQP_EXCHANGE": "metrics",
    "RELAY_RULES": "relay-rules.conf", "AGGREGATION_RULES": "aggregation-rules.conf",
    "REWRITE_RULES": "rewrite-rules.conf",
}  # fmt: skip
RELAYS = {
    "USE_FLOW_CONTROL": "False", "RELAY_METHOD": "consistent-hashing", "ROUTER_HASH_TYPE": "fnv1a_ch",
    "REPLICATION_FACTOR": "2", "DIVERSE_REPLICAS": "False", "DESTINATIONS": "10.1.0.1:2004:a, [::2]:2004:b",
    "DESTINATION_PROTOCOL": "line", "DESTINATION_TRANSPORT": "ssl", "DESTINATION_SSL_CA": "/ca.pem",
    "DESTINATION_POOL_REPLICAS": "True", "DESTINATIONS_POOL_REPLICAS": "True", "MAX_QUEUE_SIZE": "77",
    "MAX_DATAPOINTS_PER_MESSAGE": "88",
}  # fmt: skip
AGGREGATES = {"FORWARD_ALL": "False", "MAX_AGGREGATION_INTERVALS": "9", "WRITE_BACK_FREQUENCY": "4"}


def section(name: str, values: dict[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def cache(text: str, **how: Any) -> Found:
    return read("carbon.conf", f"[cache]\n{text}\n", **how)


def refused(text: str, **how: Any) -> str:
    with pytest.raises(InvalidConfig) as error:
        read("carbon.conf", text, **how)
    return str(error.value)


# --- every key ---


def test_all_113_keys_are_known_and_described() -> None:
    assert len(NO_EFFECT) + len(TAKEN) + len(RELAYS) + len(AGGREGATES) == 113
    assert {*NO_EFFECT, *TAKEN, *RELAYS, *AGGREGATES} == set(KEYS)
    assert [key for key, _ in described()] == list(KEYS)
    assert all(len(words) > 5 for _, words in described())


@pytest.mark.parametrize("key", NO_EFFECT)
@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_key_without_effect_is_told_with_its_line_and_why(key: str, daemon: str) -> None:
    found = read("carbon.conf", f"[{daemon}]\n\n{key} = x\n", daemons=[daemon])
    (line,) = found.warnings
    assert line.startswith(f"carbon.conf:3: {key}: no effect here: ")
    assert found._replace(warnings=()) == Found()


def test_keys_that_are_taken_are_not_warned_about() -> None:
    assert read("c", section("cache", TAKEN)).warnings == ()
    assert read("c", section("relay", RELAYS), daemons=["relay"]).warnings == ()
    assert read("c", section("aggregator", AGGREGATES), daemons=["aggregator"]).warnings == ()


@pytest.mark.parametrize("key", [*RELAYS, *AGGREGATES])
def test_what_only_another_daemon_reads_is_told_to_have_no_effect(key: str) -> None:
    value = (RELAYS | AGGREGATES)[key]
    (line,) = cache(f"{key} = {value}").warnings
    assert line.startswith(f"carbon.conf:2: {key}: no effect for carbon-cache: ")


def test_an_unknown_key_is_told_with_the_nearest_that_there_is() -> None:
    assert cache("LINE_RECIEVER_PORT = 1\nfoo = 2").warnings == (
        "carbon.conf:2: LINE_RECIEVER_PORT: is no key of carbon's: is LINE_RECEIVER_PORT meant?",
        "carbon.conf:3: foo: is no key of carbon's",
    )


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("LINE_RECEIVER_PORT", "many", "'many' is no port from 0 to 65535"),
        ("PICKLE_RECEIVER_PORT", "65536", "'65536' is no port"),
        ("CACHE_QUERY_PORT", "-1", "'-1' is no port"),
        ("ENABLE_UDP_LISTENER", "maybe", "'maybe' is neither True nor False"),
        ("LINE_RECEIVER_INTERFACE", "", "says nothing"),
        ("MAX_RECEIVER_CONNECTIONS", "0", "0 is no number from 1 to 100,000"),
        ("METRIC_CLIENT_IDLE_TIMEOUT", "soon", "'soon' is no whole number"),
        ("CARBON_METRIC_INTERVAL", "-5", "no age"),
        ("RELAY_METHOD", "magic", "'magic' is none of constant, rules"),
        ("REPLICATION_FACTOR", "0", "0 is no whole number from 1 to 16"),
        ("DESTINATIONS", "web1", "there is no port"),
        ("DESTINATION_PROTOCOL", "protobuf", "'protobuf' is none of pickle, line"),
        ("DESTINATION_TRANSPORT", "tls", "'tls' is neither none nor ssl"),
        ("ROUTER_HASH_TYPE", "md5", "'md5' is none of carbon_ch"),
        ("MAX_QUEUE_SIZE", "inf", "'inf' is no whole number"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_with_file_line_and_key(
    key: str, value: str, said: str
) -> None:
    daemon = "relay" if key in RELAYS else "cache"
    message = refused(f"[{daemon}]\n# a comment\n{key} = {value}\n", daemons=[daemon])
    assert message.startswith(f"carbon.conf:3: {key}: ")
    assert said in message


# --- what becomes of the keys ---


def test_a_cache_becomes_options_and_listeners() -> None:
    found = read("c", section("cache", TAKEN))
    assert found.options == {"host": "10.0.0.1", "line_port": 2103, "pickle_port": 2105, "sync": "always"}
    assert found.off == {"udp"}  # it is another listener
    bounds: dict[str, Any] = {"connections_max": 100, "idle": 30}
    assert found.settings.listener == {
        "line": Listener("line", **bounds),
        "pickle": Listener("pickle", kind=Kind.PICKLE, **bounds),
        "carbon-udp": Listener("carbon-udp", kind=Kind.UDP, host="10.0.0.2", port=2104),
        "protobuf": Listener("protobuf", kind=Kind.PROTOBUF, host="::", port=2106, **bounds),
        "carbonlink": Listener("carbonlink", kind=Kind.CARBONLINK, host="10.0.0.4", port=7102),
    }
    assert (found.settings.report.prefix, found.settings.report.every) == ("graphite", 10)
    amqp = found.settings.amqp
    assert amqp.url == "amqp://u%40x:p%3A%2F@mq:5673/%2Fx%20y"
    assert (amqp.exchange, amqp.bind_patterns, amqp.name_in_body) == ("metrics", ("a.#", "b.#"), True)


def test_a_relay_becomes_the_relay_table() -> None:
    found = read("c", section("relay", RELAYS), daemons=["relay"]).settings.relay
    assert (found.destinations, found.method) == (("10.1.0.1:2004:a", "[::2]:2004:b"), "consistent-hashing")
    assert (found.hash, found.replication, found.diverse_replicas) == ("fnv1a_ch", 2, False)
    assert (found.protocol, found.tls, found.tls_ca) == ("line", True, Path("/ca.pem"))
    assert (found.pool_replicas, found.queue_max, found.message_max) == (True, 77, 88)
    assert not found.flow_control


def test_an_aggregator_becomes_the_aggregator_table() -> None:
    text = section("aggregator", AGGREGATES | {"DESTINATIONS": "10.0.0.9:2004", "RELAY_METHOD": "rules"})
    found = read("c", text, daemons=["aggregator"]).settings
    assert (found.aggregator.forward_all, found.aggregator.max_intervals) == (False, 9)
    assert found.aggregator.write_back == 4
    assert (found.relay.destinations, found.relay.method) == (("10.0.0.9:2004",), "consistent-hashing")


def test_what_is_not_set_is_our_default() -> None:
    assert cache("") == Found()
    assert load(None) == Found()


def test_a_key_in_small_letters_is_the_same() -> None:
    assert cache("line_receiver_port = 2222").options == {"line_port": 2222}


@pytest.mark.parametrize(
    ("text", "off", "names"),
    [
        ("", set(), set()),
        ("ENABLE_UDP_LISTENER = no", {"udp"}, set()),
        ("ENABLE_UDP_LISTENER = on", set(), set()),
        ("UDP_RECEIVER_PORT = 3000", set(), set()),
        ("ENABLE_UDP_LISTENER = 1\nUDP_RECEIVER_PORT = 3000", {"udp"}, {"carbon-udp"}),
        ("ENABLE_UDP_LISTENER = 1\nUDP_RECEIVER_PORT = 0", {"udp"}, set()),
        ("ENABLE_UDP_LISTENER = 1\nLINE_RECEIVER_PORT = 3000", {"udp"}, {"carbon-udp"}),
        ("ENABLE_UDP_LISTENER = 1\nLINE_RECEIVER_PORT = 3000\nUDP_RECEIVER_PORT = 3000", set(), set()),
        ("CACHE_QUERY_PORT = 0", set(), set()),
        ("CACHE_QUERY_INTERFACE = 0.0.0.0", set(), set()),
        ("CACHE_QUERY_PORT = 7002", set(), {"carbonlink"}),
        ("PICKLE_RECEIVER_INTERFACE = 127.0.0.1", set(), set()),
        ("PICKLE_RECEIVER_INTERFACE = 0.0.0.0", set(), {"carbon-pickle"}),
        ("PICKLE_RECEIVER_INTERFACE = 0.0.0.0\nLINE_RECEIVER_INTERFACE = 0.0.0.0", set(), set()),
        ("PICKLE_RECEIVER_INTERFACE = 0.0.0.0\nPICKLE_RECEIVER_PORT = 0", set(), set()),
        ("PROTOBUF_RECEIVER_INTERFACE = 0.0.0.0", set(), set()),
    ],
)
def test_listeners_are_there_when_carbon_has_them(text: str, off: set[str], names: set[str]) -> None:
    found = cache(text)
    assert found.off == off
    assert set(found.settings.listener) == names
    assert found.warnings == ()


def test_a_port_of_0_is_off_but_for_lines() -> None:
    assert cache("PICKLE_RECEIVER_PORT = 0").options == {"pickle_port": "off"}
    found = cache("LINE_RECEIVER_PORT = 0")
    assert found.options == {}
    assert "0 is off for carbon" in found.warnings[0]


def test_bounds_of_connections_are_those_of_every_receiver() -> None:
    assert cache("METRIC_CLIENT_IDLE_TIMEOUT = None").settings.listener["line"].idle is None
    found = cache("MAX_RECEIVER_CONNECTIONS = inf")
    assert found.settings.listener == {}
    assert found.warnings == ("carbon.conf:2: MAX_RECEIVER_CONNECTIONS: 5,000 a listener, the default",)


def test_rules_are_read_from_files_of_their_usual_names() -> None:
    (line,) = cache("AGGREGATION_RULES = mine.conf").warnings
    assert line == (
        "carbon.conf:2: AGGREGATION_RULES: no effect here: it is aggregation-rules.conf in the config folder, "
        "whatever is said"
    )
    assert "also with False" in cache("USE_WHITELIST = False").warnings[0]


def test_amqp_is_off_unless_it_is_enabled() -> None:
    assert cache("AMQP_HOST = mq").settings == Settings()
    assert cache("ENABLE_AMQP = True").settings.amqp.url == "amqp://guest:guest@localhost:5672/%2F"


# --- sections ---

CLUSTER = """[cache]
LINE_RECEIVER_PORT = 2003
CARBON_METRIC_PREFIX = one
[cache:b]
LINE_RECEIVER_PORT = 2103
[relay]
LINE_RECEIVER_PORT = 2013
PICKLE_RECEIVER_PORT = 2014
DESTINATIONS = 127.0.0.1:2004:a
[aggregator]
LINE_RECEIVER_PORT = 2023
[other]
x = 1
"""


def test_an_instance_is_its_section_over_that_of_the_daemon() -> None:
    found = read("c", CLUSTER, instance="b")
    assert found.options == {"line_port": 2103}
    assert found.settings.report.prefix == "one"
    assert read("c", "[cache:a]\nLINE_RECEIVER_PORT = 7\n").options == {"line_port": 7}  # carbon's default
    assert "instance z: has no section; there are cache:b" in refused(CLUSTER, instance="z")


def test_a_section_that_is_not_read_is_told() -> None:
    assert [line.partition(": ")[0] + " " + line.split(": ")[1] for line in read("c", CLUSTER).warnings] == [
        "c:4 [cache:b]", "c:6 [relay]", "c:10 [aggregator]", "c:12 [other]",
    ]  # fmt: skip


def test_of_several_daemons_the_others_ports_are_listeners_of_their_own() -> None:
    found = read("c", CLUSTER, daemons=["cache", "relay", "aggregator"])
    assert found.options == {"line_port": 2003}
    assert {name: (each.kind, each.port) for name, each in found.settings.listener.items()} == {
        "relay-line": (Kind.LINE, 2013),
        "relay-pickle": (Kind.PICKLE, 2014),
        "aggregator-line": (Kind.LINE, 2023),
    }
    assert read("c", CLUSTER, daemons=["relay"]).options == {"line_port": 2013, "pickle_port": 2014}


def test_of_two_that_relay_the_first_says_where_to() -> None:
    text = "[relay]\nDESTINATIONS = 10.0.0.1:1\n[aggregator]\nDESTINATIONS = 10.0.0.2:1\nMAX_QUEUE_SIZE = 5\n"
    found = read("c", text, daemons=["relay", "aggregator"]).settings.relay
    assert (found.destinations, found.method, found.queue_max) == (("10.0.0.1:1",), "rules", 1_000_000)
    found = read("c", text, daemons=["aggregator", "relay"]).settings.relay
    assert (found.destinations, found.method, found.queue_max) == (("10.0.0.2:1",), "consistent-hashing", 5)


@pytest.mark.parametrize("method", ["rules", "constant", "consistent-hashing"])
def test_a_relay_to_this_server_itself_is_left_out(method: str) -> None:
    found = read("c", CLUSTER.replace("[aggr", f"RELAY_METHOD = {method}\n[aggr"), daemons=["cache", "relay"])
    assert found.settings.relay.destinations == ()
    assert "c:9: DESTINATIONS: 127.0.0.1:2004:a is this server itself: left out" in found.warnings


def test_destinations_beside_this_server_stay_unless_a_hash_divides_among_them() -> None:
    both = CLUSTER.replace("127.0.0.1:2004:a", "127.0.0.1:2004:a, 10.0.0.2:2004:b")
    found = read("c", both, daemons=["cache", "relay"])
    assert found.settings.relay.destinations == ("10.0.0.2:2004:b",)
    hashed = both.replace("[aggr", "RELAY_METHOD = consistent-hashing\n[aggr")
    assert "127.0.0.1:2004:a is this server itself: it cannot keep" in refused(
        hashed, daemons=["cache", "relay"]
    )
    alone = read("c", hashed, daemons=["relay"]).settings.relay.destinations
    assert alone == ("127.0.0.1:2004:a", "10.0.0.2:2004:b")  # another process, carbon's or ours


# --- the file ---


def test_a_key_may_be_made_of_others_of_its_section() -> None:
    found = cache("ROOT = graph\nLINE_RECEIVER_INTERFACE = %(root)site.%(ROOT)s%%")
    assert found.options == {"host": "graphite.graph%"}
    assert "there is no such key in [cache:b]" in refused(
        "[cache]\nROOT = x\n[cache:b]\nCARBON_METRIC_PREFIX = %(ROOT)s\n", instance="b"
    )


pieces = st.lists(
    st.sampled_from(["%(a)s", "%(B)s", "%(c)s", "%(d)s", "%%", "%", "x", " ", "%(a)", "%()s"]), max_size=4
).map("".join)


@given(st.dictionaries(st.sampled_from("abcd"), pieces))
def test_values_are_made_of_one_another_as_configparser_does_it(values: dict[str, str]) -> None:
    text = section("report", {key: f"k{value}" for key, value in values.items()})
    text = text.replace("[report]", "[cache]")
    theirs = configparser.ConfigParser()
    theirs.read_string(text)
    try:
        wanted = dict(theirs.items("cache"))
    except configparser.InterpolationError:
        with pytest.raises(InvalidConfig):
            read("c", text)
        return
    for key, value in wanted.items():
        found = read("c", text + f"LINE_RECEIVER_INTERFACE = %({key})s\n")
        assert found.options["host"] == value


@pytest.mark.parametrize("length", range(7, 14))
def test_a_chain_of_keys_is_as_long_as_configparser_allows(length: int) -> None:
    chain = {f"k{i}": f"%(k{i + 1})s" for i in range(length)} | {f"k{length}": "end"}
    text = section("cache", chain)
    theirs = configparser.ConfigParser()
    theirs.read_string(text)
    try:
        theirs.items("cache")
    except configparser.InterpolationError:
        assert "refer to one another" in refused(text)
    else:
        read("c", text)


def test_a_folder_without_the_file_says_nothing_and_one_with_it_is_read(tmp_path: Path) -> None:
    assert load(tmp_path) == Found()
    (tmp_path / "carbon.conf").write_text("[cache]\nLINE_RECEIVER_PORT = 2222\nUSER = carbon\n")
    found = load(tmp_path)
    assert found.options == {"line_port": 2222}
    assert found.warnings[0].startswith(f"{tmp_path}/carbon.conf:3: USER: ")


def test_a_file_that_is_no_ini_is_refused_with_its_line() -> None:
    assert refused("[cache]\nPORT\n").startswith("carbon.conf:2: ")
    assert refused("x = 1\n").startswith("carbon.conf:1: ")
