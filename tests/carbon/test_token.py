"""A token before a stream: whole, split anywhere, rubbish after – and nothing for who has none."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.errors import BadFrame
from carbon.names import NameTable
from carbon.protocols.compressed import CompressedReader
from carbon.protocols.line import LineReader
from carbon.protocols.pickle import PickleReader
from carbon.protocols.reader import Reader
from carbon.protocols.token import WRONG_TOKEN, TokenReader, is_token
from carbon.stats import Stats
from tests.carbon.memory import MemorySeries

NOW = 1_700_000_000
TOKEN = b"correct-horse-battery"
DIGEST = hashlib.sha256(TOKEN).digest()
LINES = b"a.b 1 10\nc.d 2 20\n"
PICKLED = pickle.dumps([("a.b", (10, 1.0)), ("c.d", (20, 2.0))], 2)
SAID = {  # how two datapoints are said: its reader, its bytes
    "lines": (LineReader, LINES),
    "pickle": (PickleReader, struct.pack(">I", len(PICKLED)) + PICKLED),
    "gzip": (lambda names, stats: CompressedReader(LineReader(names, stats)), gzip.compress(LINES)),
}
POINTS = [("a.b", 10, 1.0), ("c.d", 20, 2.0)]
NO_TOKENS = [b"token ", b"token x\n", TOKEN + b"\n", b"\n", b"Token " + TOKEN]
Make = Callable[[NameTable, Stats], Reader]
every = pytest.mark.parametrize(("make", "said"), SAID.values(), ids=SAID)


def read(
    make: Make, pieces: Sequence[bytes], digest: bytes = DIGEST
) -> tuple[list[tuple[str, int, float]], str]:
    """(datapoints, why it broke or "")"""
    stats = Stats()
    names = NameTable(MemorySeries(), stats)
    reader = TokenReader(make(names, stats), digest)
    points, broken = [], ""
    for piece in pieces:
        try:
            batch = reader.feed(piece, NOW)
        except BadFrame as bad:
            batch, broken = bad.batch, bad.reason
        if batch is not None:
            points += list(
                zip(names.interned.names(batch.ids), *(x.tolist() for x in batch[1:]), strict=True)
            )
    return points, broken


def pieces_of(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)])]


@every
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@given(cuts=st.lists(st.integers(0, 80), max_size=6))
def test_what_follows_the_token_is_read_split_anywhere(
    make: Make, said: bytes, end: bytes, cuts: list[int]
) -> None:
    stream = b"token " + TOKEN + end + said
    assert read(make, pieces_of(stream, cuts)) == (POINTS, "")
    assert read(make, [stream[i : i + 1] for i in range(len(stream))]) == (POINTS, "")


@every
@given(
    first=st.binary(max_size=40) | st.sampled_from(NO_TOKENS), cuts=st.lists(st.integers(0, 80), max_size=4)
)
def test_without_the_token_nothing_is_read_whatever_comes(
    make: Make, said: bytes, first: bytes, cuts: list[int]
) -> None:
    stream = first + said + b"\n" + LINES + b"x" * 2000
    assert read(make, pieces_of(stream, cuts)) == ([], WRONG_TOKEN)


def test_the_token_is_asked_for_once_and_only_at_the_beginning() -> None:
    stream = b"token " + TOKEN + b"\n" + LINES
    assert read(LineReader, [stream, b"token " + TOKEN + b"\n"]) == (POINTS, "")
    assert read(LineReader, [LINES, stream]) == ([], WRONG_TOKEN)


def test_rubbish_after_the_token_is_the_inner_readers_matter() -> None:
    assert read(PickleReader, [b"token " + TOKEN + b"\n" + SAID["pickle"][1] + b"\xff" * 8])[0] == POINTS


def test_who_sends_a_token_without_end_is_refused_in_bounded_memory() -> None:
    reader = TokenReader(LineReader(NameTable(MemorySeries(), Stats()), Stats()), DIGEST)
    for _ in range(1029):
        assert reader.feed(b"t", NOW) is None or False
        if len(reader._line or b"") >= 1024:
            break
    with pytest.raises(BadFrame):
        reader.feed(b"t", NOW)
    with pytest.raises(BadFrame):  # and stays refused
        reader.feed(b"\ntoken " + TOKEN + b"\n", NOW)


@pytest.mark.parametrize(
    "token", [b"", TOKEN[:-1], TOKEN + b"x", TOKEN + b" ", b" " + TOKEN, TOKEN.upper(), DIGEST]
)
def test_a_token_is_right_to_the_byte(token: bytes) -> None:
    assert is_token(TOKEN, DIGEST)
    assert not is_token(token, DIGEST)
    assert read(LineReader, [b"token " + token + b"\n" + LINES]) == ([], WRONG_TOKEN)


def test_a_refusal_does_not_show_what_was_sent() -> None:
    with pytest.raises(BadFrame) as caught:
        TokenReader(LineReader(NameTable(MemorySeries(), Stats()), Stats()), DIGEST).feed(
            b"token secret\n", NOW
        )
    assert "secret" not in str(caught.value)
