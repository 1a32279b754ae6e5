from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from render.api import Response
from render.transfer import coding_of, sent

BODY = b'{"target": "a.b", "datapoints": [[1.5, 60]]}' * 100


def decoded(response: Response) -> bytes:
    body = b"".join(response.chunks())
    coding = response.headers.get("Content-Encoding", "")
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return gzip.decompress(body) if coding == "gzip" else body


def in_pieces(body: bytes, size: int) -> Response:
    def rest() -> Iterator[bytes]:
        yield from (body[at : at + size] for at in range(size, len(body), size))

    return Response(body[:size], rest=rest())


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ((), ""),
        (("gzip",), "gzip"),
        (("gzip, deflate, br, zstd",), "zstd"),
        (("gzip;q=1.0, zstd;q=0.5",), "gzip"),
        (("identity",), ""),
        (("*",), "zstd"),
        (("zstd;q=0, *",), "gzip"),
        (("gzip;q=x",), ""),
        (("deflate", "GZIP"), "gzip"),
        (("," * 5000,), ""),
    ],
)
def test_the_coding_is_what_the_client_likes_best(accepted: tuple[str, ...], coding: str) -> None:
    assert coding_of(accepted) == coding


@given(st.lists(st.text(max_size=40), max_size=3))
def test_whatever_is_accepted_is_no_fault(accepted: list[str]) -> None:
    assert coding_of(accepted) in ("", "gzip", "zstd")


@given(st.binary(max_size=5000), st.integers(1, 2000), st.sampled_from(["", "gzip", "zstd"]))
def test_a_body_arrives_as_it_was(body: bytes, size: int, coding: str) -> None:
    assert decoded(sent(Response(body), [coding], ())) == body
    assert decoded(sent(in_pieces(body, size), [coding], ())) == body


def test_a_large_body_is_smaller_on_the_way_and_a_small_one_is_left() -> None:
    response = sent(Response(BODY), ["gzip"], ())
    assert len(response.body) < len(BODY) / 10
    assert response.headers["Vary"] == "Accept-Encoding"
    assert "Content-Encoding" not in sent(Response(b"[]"), ["gzip"], ()).headers


def test_pictures_are_not_compressed_again() -> None:
    response = sent(Response(BODY, "image/png"), ["gzip"], ())
    assert response.body == BODY
    assert "Content-Encoding" not in response.headers


def test_what_the_client_has_is_not_sent_again() -> None:
    for accepted in ([], ["gzip"]):
        tag = sent(Response(BODY), accepted, ()).headers["ETag"]
        for known in ([tag], [f"W/{tag}"], [f'"x", {tag}'], ["*"]):
            again = sent(Response(BODY), accepted, known)
            assert (again.status, again.body) == (304, b"")
            assert again.headers["ETag"] == tag
            assert "Content-Encoding" not in again.headers
        assert sent(Response(BODY + b"x"), accepted, [tag]).status == 200


def test_each_coding_has_a_tag_of_its_own() -> None:
    tags = {sent(Response(BODY), accepted, ()).headers["ETag"] for accepted in ([], ["gzip"], ["zstd"])}
    assert len(tags) == 3


def test_errors_and_what_is_still_being_made_have_no_tag() -> None:
    assert "ETag" not in sent(Response(BODY, status=400), (), ()).headers
    assert "ETag" not in sent(in_pieces(BODY, 100), (), ()).headers
    assert sent(replace(Response(BODY), status=400), (), ["*"]).status == 400
