from __future__ import annotations

import configparser
import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage import retention
from storage.errors import InvalidConfig, InvalidRetention
from storage.schema import AGGREGATION_FILE, SCHEMAS_FILE, Rules
from storage.sections import FILE_BYTES_MAX, SECTIONS_MAX

EVERY_MINUTE = "1m:30d,15m:5y"
NAMES = [
    "carbon.agents.a.cpuUsage",
    "hosts.web1.load",
    "a.b.count",
    "stats.timers.x.upper_90",
    "x;k=v",
    "A.B",
]


def rules(folder: Path, *, schemas: str | None = None, aggregation: str | None = None) -> Rules:
    for name, text in ((SCHEMAS_FILE, schemas), (AGGREGATION_FILE, aggregation)):
        if text is not None:
            (folder / name).write_text(text)
    return Rules.load(folder)


# --- syntax ---

# Lines that make files which are right about as often as wrong, in all the forms that Graphite reads.
lines = st.sampled_from(
    [
        "[a]", "[b] # words", "  [c d]", "[DEFAULT]", "[]",
        "pattern = ^carbon\\.", "Pattern: count$", "  pattern=hosts|=", "pattern = ", "pattern = (",
        "pattern =.*", "retentions = 60:90d", "  retentions: 10s:6h,", "    1m:7d", "\t15m:1y",
        "RETENTIONS=1s:1h", "retentions = x",
        "# words", "  ; words = words", "", "   ", "words", "= x",
    ]
)  # fmt: skip
whole_sections = st.tuples(
    st.sampled_from(["[a]", "[b]", "[c d] ; words"]),
    st.sampled_from(["# words", "", "  ; words"]),
    st.sampled_from(["pattern = ^carbon\\.", "  pattern: count$", "pattern=[a-z]\\.b", "Pattern = .*"]),
    st.sampled_from(
        ["retentions = 60:90d", "retentions = 10s:6h,\n   1m:7d", "  retentions:5s:1h,\n\n    1m:1d"]
    ),
)
right = st.lists(whole_sections, max_size=3, unique_by=lambda section: section[0]).map(
    lambda sections: "\n".join(map("\n".join, sections))
)
files = right | st.lists(right | lines, max_size=6).map("\n".join)


def stdlib_decides(text: str, name: str) -> str | None:
    """The retention's text by the standard library's parser and carbon's rules; None where we refuse."""
    parser = configparser.ConfigParser(interpolation=None, default_section="DEFAULT")
    try:
        parser.read_string(text)
        decided = [
            (re.compile(parser[section]["pattern"] or "("), retention.parse(parser[section]["retentions"]))
            for section in parser.sections()
        ]
    except (configparser.Error, KeyError, re.error, InvalidRetention):
        return None
    if "[DEFAULT]" in text.replace(" ", "").split("\n"):
        return None
    return next((str(kept) for pattern, kept in decided if pattern.search(name)), EVERY_MINUTE)


@given(files, st.sampled_from(NAMES))
@example("[a]\npattern = .*\nretentions = 10s:6h,\n # words\n\n  1m:7d\n", "x")
@example("[a]\n  pattern = .*\n  retentions = 10s:6h", "x")
def test_a_file_reads_as_the_standard_library_reads_it(text: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected = stdlib_decides(text, name)
        if expected is None:
            with pytest.raises(InvalidConfig):
                rules(Path(folder), schemas=text)
        else:
            assert str(rules(Path(folder), schemas=text).decide(name).schema.retention) == expected


@given(st.binary(max_size=80) | st.text("[]ab=:#;\n .()*", max_size=80).map(str.encode))
def test_any_bytes_are_rules_or_an_invalid_config(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / SCHEMAS_FILE).write_bytes(data)
        try:
            schema = Rules.load(Path(folder)).decide("a").schema
        except InvalidConfig as caught:
            line = caught.line
        else:
            assert str(schema.retention) == EVERY_MINUTE
            line = 1
        assert 1 <= line <= data.count(b"\n") + 1


# --- decisions ---

patterns = st.sampled_from(["^a", "b$", ".*", "\\.c", "a|b", "^$", "[A-Z]", "^.+$", "\\d\\.", "(?i)A", "."])
names = st.text("abcAB.;=1", min_size=1, max_size=8)


@given(st.lists(patterns, max_size=6), st.lists(patterns, max_size=6), st.lists(names, max_size=20))
def test_the_first_section_that_matches_decides(kept: list[str], rolled: list[str], names: list[str]) -> None:
    schemas = "".join(f"[s{i}]\npattern = {p}\nretentions = {i + 1}s:1d\n" for i, p in enumerate(kept))
    aggregation = "".join(f"[s{i}]\npattern = {p}\nxFilesFactor = 0.{i + 1}\n" for i, p in enumerate(rolled))
    with tempfile.TemporaryDirectory() as folder:
        loaded = rules(Path(folder), schemas=schemas, aggregation=aggregation)
    for name, outcome in zip(names, loaded.decide_all(names), strict=True):
        decision = loaded.decide(name)
        i = next((i for i, p in enumerate(kept) if re.search(p, name)), None)
        j = next((j for j, p in enumerate(rolled) if re.search(p, name)), None)
        step = 60 if i is None else i + 1
        assert decision.schema == loaded.schemas[outcome]
        assert decision.schema.retention.archives[0].step == step
        assert decision.schema.x_files_factor == (0 if j is None else (j + 1) / 10)
        assert decision.retention_rule == (
            "built-in default 'everything else, every minute'"
            if i is None
            else f"section [s{i}] of storage-schemas.conf, line {3 * i + 1}"
        )


@given(st.lists(st.sampled_from(NAMES) | names))
def test_many_names_are_decided_as_each_alone(names: list[str]) -> None:
    loaded = Rules.load(None)
    assert [loaded.schemas[i] for i in loaded.decide_all(names)] == [
        loaded.decide(name).schema for name in names
    ]


@pytest.mark.parametrize(
    ("name", "kept", "method"),
    [
        ("hosts.web1.cpu.user", "10s:6h,1m:7d,10m:5y", "average"),
        ("collectd.web1.load", "10s:6h,1m:7d,10m:5y", "average"),
        ("statsd.numStats", "10s:6h,1m:7d,10m:5y", "average"),
        ("stats_counts.logins", "10s:6h,1m:7d,10m:5y", "sum"),
        ("stats.timers.db.count", "10s:6h,1m:7d,10m:5y", "sum"),
        ("stats.timers.db.count_ps", "10s:6h,1m:7d,10m:5y", "average"),
        ("stats.timers.db.upper_90", "10s:6h,1m:7d,10m:5y", "max"),
        ("stats.timers.db.upper_99_9", "10s:6h,1m:7d,10m:5y", "max"),
        ("stats.timers.db.lower_10", "10s:6h,1m:7d,10m:5y", "min"),
        ("stats.timers.db.mean_90", "10s:6h,1m:7d,10m:5y", "average"),
        ("app.upper_case", EVERY_MINUTE, "average"),
        ("app.latency.max;host=web1;zone=a.count", EVERY_MINUTE, "max"),
        ("app.latency.lower", EVERY_MINUTE, "min"),
        ("app.requests.counter", EVERY_MINUTE, "sum"),
        ("http_requests_total;code=200", EVERY_MINUTE, "last"),
        ("count", EVERY_MINUTE, "sum"),
        ("my.hosts.a", EVERY_MINUTE, "average"),
        ("hosts", EVERY_MINUTE, "average"),
        ("app.account", EVERY_MINUTE, "average"),
    ],
)
def test_without_files_the_name_says_its_schema(name: str, kept: str, method: str) -> None:
    schema = Rules.load(None).decide(name).schema
    assert (str(schema.retention), schema.aggregation, schema.x_files_factor) == (kept, method, 0)


def test_a_decision_says_which_rules_made_it(tmp_path: Path) -> None:
    loaded = rules(tmp_path, schemas="# ours\n[web farm]\npattern = ^web\\.\nretentions = 1s:1h\n")
    decision = loaded.decide("web.a.max")
    assert decision.retention_rule == "section [web farm] of storage-schemas.conf, line 2"
    assert decision.aggregation_rule == "built-in default 'maxima keep the highest'"


def test_patterns_see_case_and_tags(tmp_path: Path) -> None:
    loaded = rules(tmp_path, schemas="[a]\npattern = ;dc=B$\nretentions = 1s:1h\n")
    steps = [loaded.decide(name).schema.retention.archives[0].step for name in ("x;dc=B", "x;dc=b", "x")]
    assert steps == [1, 60, 60]


@pytest.mark.parametrize(
    ("method", "canonical"),
    [(m, m) for m in ("average", "sum", "last", "max", "min", "avg_zero", "absmax", "absmin")]
    + [("avg", "average")],
)
def test_a_section_may_name_each_of_whispers_methods(tmp_path: Path, method: str, canonical: str) -> None:
    loaded = rules(tmp_path, aggregation=f"[a]\npattern=.\naggregationMethod = {method}\nxFilesFactor = 1\n")
    schema = loaded.decide("a").schema
    assert (schema.aggregation, schema.x_files_factor) == (canonical, 1)


def test_a_section_that_sets_nothing_averages_and_wants_no_part_known(tmp_path: Path) -> None:
    schema = rules(tmp_path, aggregation="[a]\npattern = .*\n").decide("a.max").schema
    assert (schema.aggregation, schema.x_files_factor) == ("average", 0)


def test_an_empty_file_leaves_the_last_built_in_rule_only(tmp_path: Path) -> None:
    schema = rules(tmp_path, schemas="", aggregation="").decide("hosts.a.max").schema
    assert (str(schema.retention), schema.aggregation) == (EVERY_MINUTE, "average")


# --- errors ---

RETENTION = "retentions = 1s:1h"


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        (f"\n# words\n[a]\n{RETENTION}\n", 3, "pattern", "is missing in section [a]"),
        ("[a]\npattern = .*\n", 1, "retentions", "is missing in section [a]"),
        (f"[a]\n{RETENTION}\npattern =\n", 3, "pattern", "says nothing"),
        (f"[a]\n\nPattern = (a\n{RETENTION}", 3, "Pattern", "'(a' is no regular expression"),
        ("[a]\r\npattern = a\r\nretentions = 1s:1x\r\n", 3, "retentions", "unknown unit"),
        (
            "[a]\npattern = a\n\nretentions = 10s:6h,\n  15s:7d\n",
            4,
            "retentions",
            "15 s is no multiple of 10 s",
        ),
        (f"[a]\npattern = a\nmatch = b\n{RETENTION}", 3, "match", "there are pattern, retentions"),
        (
            f"[a]\npattern = a\n{RETENTION}\npriority = 100",
            4,
            "priority",
            "the first section that matches wins",
        ),
        (
            f"[a]\npattern = a\npattern = b\n{RETENTION}",
            3,
            "pattern",
            "stands twice in section [a], first in line 2",
        ),
        (f"[a]\npattern = a\n{RETENTION}\n\n[a]\n", 5, "[a]", "stands twice, first in line 1"),
        ("# words\n\npattern = a\n[a]\n", 3, "'pattern = a'", "stands before the first [section]"),
        ("[a]\npattern = a\nwords\n", 3, "'words'", "wanted is key = value"),
        ("[a\npattern = a\n", 1, "'[a'", "wanted is [name]"),
        ("[DEFAULT]\npattern = a\n", 1, "[DEFAULT]", "name it [default]"),
        ("[a]\nwords \u2028 [\n", 2, "'words \\u2028 ['", "wanted is key = value"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_key(
    tmp_path: Path, text: str, line: int, key: str, said: str
) -> None:
    (tmp_path / SCHEMAS_FILE).write_bytes(text.encode())
    with pytest.raises(InvalidConfig, match=re.escape(said)) as caught:
        Rules.load(tmp_path)
    assert (caught.value.path, caught.value.line) == (str(tmp_path / SCHEMAS_FILE), line)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("value", "methods"),
    [
        ("average,max", ("average", "max")),
        ("avg, count,p99 ,median", ("average", "count", "p99", "median")),
        ("p95", ("p95",)),
    ],
)
def test_several_aggregations_can_be_kept(tmp_path: Path, value: str, methods: tuple[str, ...]) -> None:
    (tmp_path / "storage-aggregation.conf").write_text(f"[all]\npattern = .\naggregationMethod = {value}\n")
    schema = Rules.load(tmp_path).decide("a.b").schema
    assert (schema.methods, schema.method) == (methods, methods[0])


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("xFilesFactor = 1.5", "'1.5' is no number from 0 to 1"),
        ("xFilesFactor = nan", "'nan' is no number from 0 to 1"),
        ("xFilesFactor = half", "'half' is no number from 0 to 1"),
        ("aggregationMethod = mean", "'mean' is no method; there are average, sum, last"),
        ("aggregationMethod = p101", "'p101' is no method"),
        ("aggregationMethod = average,", "'' is no method"),
        ("aggregationMethod = average,max,avg", "each method once"),
        ("retentions = 1s:1h", "there are pattern, xFilesFactor, aggregationMethod"),
    ],
)
def test_a_wrong_aggregation_is_said_with_what_is_allowed(tmp_path: Path, option: str, said: str) -> None:
    with pytest.raises(InvalidConfig, match=re.escape(said)) as caught:
        rules(tmp_path, aggregation=f"[a]\npattern = a\n{option}\n")
    assert (caught.value.line, caught.value.key) == (3, option.split()[0])


def test_a_file_that_is_not_utf8_is_said_with_the_line(tmp_path: Path) -> None:
    (tmp_path / SCHEMAS_FILE).write_bytes(b"[a]\npattern = \xff\n")
    with pytest.raises(InvalidConfig, match="is not UTF-8") as caught:
        Rules.load(tmp_path)
    assert caught.value.line == 2


def test_a_byte_order_mark_is_no_part_of_the_first_section(tmp_path: Path) -> None:
    (tmp_path / SCHEMAS_FILE).write_bytes(b"\xef\xbb\xbf[a]\npattern = .\nretentions = 1s:1h\n")
    assert Rules.load(tmp_path).decide("a").schema.retention.longest == 3600


def test_what_grows_without_end_is_refused(tmp_path: Path) -> None:
    section = "[{}]\npattern = a\nretentions = 1s:1h\n"
    with pytest.raises(InvalidConfig, match="one section too many"):
        rules(tmp_path, schemas="".join(map(section.format, range(SECTIONS_MAX + 1))))
    with pytest.raises(InvalidConfig, match="larger than 1,048,576 bytes"):
        rules(tmp_path, schemas="#" * (FILE_BYTES_MAX + 1))


def test_a_folder_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="is no folder"):
        Rules.load(tmp_path / "cnof")


def test_a_file_that_cannot_be_read_is_no_absent_file(tmp_path: Path) -> None:
    (tmp_path / SCHEMAS_FILE).mkdir()
    with pytest.raises(InvalidConfig, match="cannot be read"):
        Rules.load(tmp_path)


# --- reload ---


def test_rules_know_when_their_files_have_changed(tmp_path: Path) -> None:
    text = "[a]\npattern = a\nretentions = 1s:1h\n"
    loaded = rules(tmp_path, schemas=text)
    assert not loaded.changed()
    file = tmp_path / SCHEMAS_FILE
    os.utime(file, ns=(0, 0))  # written again, as long as before
    assert loaded.changed()
    loaded = Rules.load(tmp_path)
    assert not loaded.changed()
    (tmp_path / AGGREGATION_FILE).write_text("")
    assert loaded.changed()
    loaded = Rules.load(tmp_path)
    file.unlink()
    assert loaded.changed()


def test_built_in_rules_never_change() -> None:
    assert not Rules.load(None).changed()
