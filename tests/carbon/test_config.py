"""Settings: what a file says, or an InvalidConfig with file, line, key and what is allowed; never another error."""

from __future__ import annotations

import hashlib
import ipaddress
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon.config import ALWAYS, TABLES, Kind, Listener, Settings, age_of, described, line_of, size_of
from storage.errors import InvalidConfig
from tests.effort import tries

TOKEN = "correct-horse-battery"
KEYS = [key for table in (*TABLES.values(), Listener) for key, _, _ in described(table)]


def read(text: str) -> Settings:
    return Settings.read("the.toml", text, tomllib.loads(text))


def refused(text: str) -> tuple[int, str, str]:
    """(line, key, reason) of what is wrong; fails if nothing is."""
    with pytest.raises(InvalidConfig) as caught:
        read(text)
    assert caught.value.path == "the.toml"
    return caught.value.line, caught.value.key, caught.value.reason


# --- never another error ---

odd_texts = st.sampled_from(
    ["off", "auto", "1d", "5K", "1G", "5\u212a", "٣", "1e9", "::1/0", "a:1", "\0", "x\ny",
     "line", "udp", TOKEN, "ab" * 32]
)  # fmt: skip
simple = (
    st.none() | st.booleans() | st.integers() | st.integers(10**4290, 10**4310) | st.floats()
    | st.text(max_size=20) | odd_texts | st.dates() | st.times() | st.datetimes()
)  # fmt: skip
values = st.recursive(
    simple,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
)
keys = st.sampled_from(KEYS) | st.text(max_size=6)
tables = st.dictionaries(keys, values, max_size=4) | values
names = st.sampled_from([*Kind, "other", "a b", "x=1", ""]) | st.text(max_size=5)
files = st.dictionaries(
    st.sampled_from([*TABLES, "listener"]) | st.text(max_size=4),
    tables | st.dictionaries(names, tables, max_size=3),
    max_size=4,
)


@given(files)
@settings(max_examples=tries(200))
def test_any_values_are_settings_or_an_invalid_config(found: dict[str, Any]) -> None:
    try:
        assert isinstance(Settings.read("the.toml", "", found), Settings)
    except InvalidConfig as error:
        assert (error.path, error.line, bool(error.reason)) == ("the.toml", 1, True)  # noqa: PT017  # else settings


@given(st.sampled_from(KEYS), simple | odd_texts)
@settings(max_examples=tries(500))
def test_one_setting_of_any_value_is_taken_or_refused_by_its_key(key: str, value: object) -> None:
    every: dict[str, type[Any]] = {**TABLES, "listener": Listener}
    for name, table in every.items():
        if key in [known for known, _, _ in described(table)]:
            inside = {key: value}
            try:
                Settings.read("f", "", {name: {"other": inside} if name == "listener" else inside})
            except InvalidConfig as error:
                assert error.key == key or key.startswith("tls-")  # noqa: PT017  # these go together


@given(st.binary(max_size=60) | st.text("[]=.\"'#\n0aelmstx", max_size=60).map(str.encode))
def test_a_file_of_anything_is_settings_or_an_invalid_config(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "plumbago.toml").write_bytes(data)
    try:
        Settings.load(folder)
    except InvalidConfig as error:
        assert error.path.endswith("plumbago.toml")  # noqa: PT017  # else settings


@pytest.mark.parametrize(
    "text", ["x = " + "9" * 5000, "x = " + "[" * 5000, "x = \x00", "[limits]\nnames-max = 0x" + "f" * 4000]
)
def test_a_file_that_python_chokes_on_is_an_invalid_config(tmp_path: Path, text: str) -> None:
    (tmp_path / "plumbago.toml").write_text(text)
    with pytest.raises(InvalidConfig):
        Settings.load(tmp_path)


# --- what is taken ---


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), (7, 7), ("7B", 7), ("512K", 512 << 10), ("64M", 64 << 20), ("2GiB", 2 << 30), ("1kb", 1024)],
)
def test_a_size_is_a_number_with_a_power_of_1024(text: object, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize(
    "value", ["", "K", "-1", "1T", "1.5G", "5\u212a", "٣", True, None, 1.5, "9" * 20, []]
)
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no size such as"):
        size_of(value)


@pytest.mark.parametrize(
    ("text", "age"), [(0, 0), ("90", 90), ("90s", 90), ("2m", 120), ("12h", 43_200), ("1w", 604_800)]
)
def test_an_age_is_seconds_or_a_number_with_a_unit(text: object, age: int) -> None:
    assert age_of(text) == age


@pytest.mark.parametrize(
    "value", ["", "s", "-1s", "1y", "1.5h", True, None, 1.5, "9" * 20, "101w" * 99, 10**12]
)
def test_what_is_no_age_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"no age such as|more than 100 years"):
        age_of(value)


def test_a_file_of_all_tables_is_read() -> None:
    found = read(f"""
        [listener.line]
        token = "{TOKEN}"
        allow = ["10.0.0.0/8", "2001:db8::/32"]
        idle = "off"
        [listener.fast]
        kind = "msgpack"
        port = 2104
        connections-max = 7
        [limits]
        memory = "2G"
        new-series-a-second = "off"
        [relay]
        destinations = "a:2004, b:2004:x"
        flow-control = false
        [aggregator]
        write-back = "30s"
        [report]
        prefix = "our.carbon"
        every = "5m"
    """)
    line, fast = found.listener["line"], found.listener["fast"]
    assert line.digest == hashlib.sha256(TOKEN.encode()).digest()
    assert line.allow == tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "2001:db8::/32")))
    assert (line.idle, line.kind) == (None, Kind.LINE)
    assert (fast.kind, fast.port, fast.connections_max, fast.is_open) == (Kind.MSGPACK, 2104, 7, True)
    assert (found.limits.memory, found.limits.new_series_a_second) == (2 << 30, None)
    assert (found.relay.destinations, found.relay.flow_control) == (("a:2004", "b:2004:x"), False)
    assert (found.aggregator.write_back, found.report.prefix, found.report.every) == (30, "our.carbon", 300)


def test_what_no_table_says_is_the_default() -> None:
    assert read("line-port = 2003\n") == Settings() == Settings.load(None)
    assert Settings().listener_of("pickle") == Listener("pickle", kind=Kind.PICKLE)


def test_a_folder_without_the_file_gives_the_defaults(tmp_path: Path) -> None:
    assert Settings.load(tmp_path) == Settings()


def test_a_listener_is_of_the_kind_of_its_name_unless_it_says_another() -> None:
    found = read("[listener.protobuf]\nport = 1\n[listener.x]\nport = 2\nkind = 'carbonlink'\n").listener
    assert (found["protobuf"].kind, found["x"].kind) == (Kind.PROTOBUF, Kind.CARBONLINK)


def test_a_token_may_be_given_as_its_digest() -> None:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    found = read(f"[listener.line]\ntoken-sha256 = '{digest}'\n").listener["line"]
    assert found.digest == read(f"[listener.line]\ntoken = '{TOKEN}'\n").listener["line"].digest
    assert not found.is_open


@pytest.mark.parametrize("guard", ["token = 'correct-horse-battery'", "allow = '10.0.0.0/8'",
                                   "tls-certificate='c'\ntls-key='k'\ntls-client-ca='a'"])  # fmt: skip
def test_a_listener_with_a_guard_is_not_open(guard: str) -> None:
    assert not read(f"[listener.line]\n{guard}\n").listener["line"].is_open
    assert read("[listener.line]\ntls-certificate='c'\ntls-key='k'\n").listener["line"].is_open


# --- what is refused: line, key, and what is allowed ---


@pytest.mark.parametrize(
    ("table", "line", "allowed"),
    [
        ("limits", "memory = '2T'", "such as 1048576, 512K, 64M or 2G"),
        ("limits", "names-max = 0", "from 1 to 200,000,000"),
        ("limits", "names-max = true", "from 1 to 200,000,000"),
        ("limits", "new-series-a-second = 'many'", "from 1 to 10,000,000"),
        ("relay", "method = 'best'", "none of constant, rules, consistent-hashing"),
        ("relay", "destinations = ['a']", "host:port or host:port:instance"),
        ("relay", "destinations = ['a:1', 'a:1']", "named twice"),
        ("relay", "destinations = 3", "no list of texts"),
        ("relay", "destinations = [3]", "no text"),
        ("relay", "tls = 1", "neither true nor false"),
        ("relay", "tls-ca = ''", "no text"),
        ("aggregator", "write-back = -1", "such as 0, 90s, 12h or 1d"),
        ("report", "prefix = 'a..b'", "such as carbon"),
        ("report", "prefix = 'a b'", "such as carbon"),
        ("listener.x", "port = 65536", "from 0 to 65,535"),
        ("listener.x", "kind = 'ftp'", "none of line, udp, pickle"),
        ("listener.x", 'path = "a\\u0000b"', "printable"),
        ("listener.x", "allow = ['10.0.0.1/8']", "such as 10.0.0.0/8 or 2001:db8::/32"),
        ("listener.x", "token = 'short'", "16 to 512 bytes without blanks"),
        ("listener.x", "token = 'with a blank, but long'", "16 to 512 bytes without blanks"),
        ("listener.x", f"token = '{'x' * 513}'", "16 to 512 bytes without blanks"),
        ("listener.x", "token = 1234567890123456", "16 to 512 bytes without blanks"),
        ("listener.x", f"token-sha256 = '{'g' * 64}'", "64 hexadecimal digits"),
        ("listener.x", f"token-sha256 = '{'a' * 62}'", "64 hexadecimal digits"),
        ("listener.x", "idle = 'never'", "such as 0, 90s, 12h or 1d"),
        ("listener.x", "connections-max = 0", "from 1 to 100,000"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_with_its_line_key_and_what_is_allowed(
    table: str, line: str, allowed: str
) -> None:
    number, key, reason = refused(f"# a comment\nline-port = 2003\n\n[{table}] # here\n\n{line}\n")
    assert (number, key) == (6, line.split(" ")[0])
    assert allowed in reason


def test_what_is_refused_of_a_token_is_not_shown() -> None:
    for value in ("'secret'", "['secret']", "{a='secret'}"):
        for key in ("token", "token-sha256"):
            assert "secret" not in "".join(map(str, refused(f"[listener.x]\n{key} = {value}\n")))


@pytest.mark.parametrize("table", [*TABLES, "listener.line"])
def test_a_setting_that_there_is_not_is_refused_with_those_that_there_are(table: str) -> None:
    line, key, reason = refused(f"[{table}]\nno-such = 1\n")
    assert (line, key) == (2, "no-such")
    known = TABLES.get(table, Listener)
    assert all(each in reason for each, _, _ in described(known))


def test_what_should_be_a_table_and_is_none_is_refused_with_its_line() -> None:
    assert refused("\nlimits = 3\n") == (2, "limits", "is no table: write [limits]")
    assert refused("\n\n[[relay]]\n")[:2] == (3, "relay")
    assert refused("\nlistener = 3\n")[:2] == (2, "listener")
    assert refused("[listener]\nline = 3\n")[:2] == (2, "listener.line")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[listener.x]\ntls-certificate = 'c'", "tls-key"),
        ("[listener.x]\ntls-key = 'k'", "tls-key"),
        ("[listener.x]\ntls-client-ca = 'a'", "tls-client-ca"),
        (f"[listener.udp]\ntoken = '{TOKEN}'", "token"),
        ("[listener.udp]\ntls-certificate = 'c'\ntls-key = 'k'", "tls-certificate"),
        ("[listener.udp]\ntls-client-ca = 'k'", "tls-client-ca"),
        ("[listener.u]\nkind = 'udp'\npath = 'p'", "path"),
        ("[listener.x]\npath = 'p'\nport = 1", "path"),
        (f"[listener.carbonlink]\nport = 1\ntoken = '{TOKEN}'", "token"),
        (f"[listener.carbonlink]\nport = 1\ntoken-sha256 = '{'ab' * 32}'", "token-sha256"),
        (f"[listener.x]\ntoken = '{TOKEN}'\ntoken-sha256 = '{'ab' * 32}'", "token-sha256"),
        ("[listener.'a=b']\nport = 1", "name"),
        ("[listener.'a b']\nport = 1", "name"),
    ],
)
def test_what_does_not_fit_together_is_refused(text: str, key: str) -> None:
    line, found, _ = refused(text + "\n")
    assert found == key
    assert text.split("\n")[line - 1].startswith((key, "["))


@pytest.mark.parametrize("name", ALWAYS)
def test_a_listener_that_is_always_there_is_of_no_other_kind(name: str) -> None:
    assert refused(f"[listener.{name}]\nkind = 'msgpack'\n")[:2] == (2, "kind")


def test_toml_that_is_none_says_where(tmp_path: Path) -> None:
    (tmp_path / "plumbago.toml").write_text("line-port = 2003\n[limits\n")
    with pytest.raises(InvalidConfig) as caught:
        Settings.load(tmp_path)
    assert caught.value.line == 2
    assert str(caught.value).startswith(f"{tmp_path}/plumbago.toml:2: ")


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "plumbago.toml").mkdir()
    with pytest.raises(InvalidConfig, match="directory"):
        Settings.load(tmp_path)


def test_a_line_is_found_in_its_own_table() -> None:
    text = 'port = 1\n[listener.a]\nport = 2 # port\n  "port" = 3\n[listener."b"] # c\nport=4\n'
    assert [line_of(text, table, "port") for table in ("", "listener.a", "listener.b")] == [1, 3, 6]
    assert line_of(text, "listener.b", "host") == 5
    assert line_of(text, "listener.c", "port") == 1


# --- what docs/config.md is made of ---


@pytest.mark.parametrize("table", [*TABLES.values(), Listener])
def test_every_field_is_described(table: Any) -> None:
    told = described(table)
    only_here: frozenset[str] = getattr(table, "ONLY_HERE", frozenset())
    assert {key for key, _, _ in told} == {
        each.name.replace("_", "-") for each in fields(table) if each.name not in only_here
    }
    assert all(len(words) > 5 for _, _, words in told)
    assert {key: default for key, default, _ in told} == {
        each.name.replace("_", "-"): getattr(made(table), each.name)
        for each in fields(table)
        if each.name not in only_here
    }


def made(table: Any) -> Any:
    return table("x") if table is Listener else table()
