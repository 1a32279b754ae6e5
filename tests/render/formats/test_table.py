from __future__ import annotations

from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from render.formats.table import Column, table

START = 1_700_000_000
numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
columns = st.lists(
    st.builds(Column, st.text(max_size=40), st.dictionaries(st.integers(START, START + 20), numbers)),
    max_size=8,
)


def test_a_table_has_a_column_a_series_and_a_row_a_timestamp() -> None:
    shown = table(
        [
            Column("servers.web1.cpu", {START: 12.5, START + 60: None}),
            Column("b", {START: 1e9, START + 120: 0.000123456789}),
        ],
        UTC,
        80,
    )
    assert shown.split("\n") == [
        "                     servers.web1.cpu            b",
        "2023-11-14 22:13:20              12.5   1000000000",
        "2023-11-14 22:14:20                 -            -",
        "2023-11-14 22:15:20                 -  0.000123457",
    ]


def test_long_names_are_cut_in_front_and_what_does_not_fit_is_counted() -> None:
    many = [Column(f"servers.frontend.web{i}.cpu.user", {START: float(i)}) for i in range(9)]
    shown = table(many, UTC, 60).split("\n")
    assert shown[0].split() == ["…b0.cpu.user", "…1.cpu.user", "…2.cpu.user"] or "…" in shown[0]
    assert shown[-1] == "… and 7 more series: --format csv or json shows all"


@given(columns, st.integers(20, 200))
def test_a_table_keeps_to_its_width_unless_one_column_alone_is_too_wide(
    many: list[Column], width: int
) -> None:
    lines = table(many, UTC, width).split("\n")
    timestamps = {at for column in many for at in column.values}
    assert len(lines) - lines[-1].startswith("… and") == len(timestamps) + 1
    widest = max(map(len, lines[: len(timestamps) + 1]))
    one_column = 19 + 2 + 30
    assert widest <= max(width, one_column)


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in table([Column("a\x1b[31m", {START: 1.0})], UTC, 80)
