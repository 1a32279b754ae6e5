from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render import protobuf as wire


@given(st.integers(1, 1000), st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_comes_back(field: int, number: int) -> None:
    found = [(at, wire.signed(value)) for at, value in wire.fields(wire.whole(field, number))]
    assert found == ([(field, number)] if number else [])


@given(st.lists(st.tuples(st.integers(1, 2000), st.binary(max_size=300))))
def test_messages_end_to_end_come_back(parts: list[tuple[int, bytes]]) -> None:
    body = b"".join(wire.message(field, part) for field, part in parts)
    assert list(wire.fields(body)) == parts


def test_what_is_zero_false_or_empty_is_not_written() -> None:
    empty = np.empty(0)
    assert wire.whole(1, 0) == wire.single(1, 0.0) == wire.text(1, "") == b""
    assert wire.doubles(1, empty) == wire.booleans(1, empty.astype(bool)) == b""
    assert wire.message(1, b"") == b"\x0a\x00"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x0a\x05abc", "longer than its message"),
        (b"\x0a", "does not end"),
        (b"\xff" * 11, "does not end"),
        (b"\x0b", "kind 3"),
        (b"\x08\x00" * 100_001, "more than 100000 fields"),
    ],
)
def test_what_is_no_message_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        list(wire.fields(body))


def test_a_field_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no text"):
        wire.words(1)
    with pytest.raises(ValueError, match="no number"):
        wire.signed(b"x")
