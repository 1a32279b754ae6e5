from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from render.deleting import Deleter
from render.errors import Unavailable
from storage.store import Store

NOW = 1_700_000_000


def holding(data: Path, *paths: str) -> None:
    store = Store(data, durable=True)
    store.append(store.create(list(paths)), np.full(len(paths), NOW), np.ones(len(paths)), NOW)
    store.close()


def left(data: Path) -> set[str]:
    return set(Store(data, writable=False).index.all_paths())


def test_these_series_go_and_no_other_though_their_paths_look_like_globs(tmp_path: Path) -> None:
    paths = ["a", "*", "a.{b,c}", "a.b", "m;t=*", "m;t=x"]
    holding(tmp_path, *paths)
    Deleter(tmp_path, None)(["*", "a.{b,c}", "m;t=*", "no.such", "*"])
    assert left(tmp_path) == {"a", "a.b", "m;t=x"}


def test_where_the_store_is_anothers_that_takes_no_requests_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    holding(tmp_path, "a")
    owner = Store(tmp_path)
    delete = Deleter(tmp_path, None)
    with pytest.raises(Unavailable) as raised:
        delete(["a"])
    assert str(tmp_path) not in str(raised.value)
    assert str(tmp_path) in caplog.text
    owner.close()
    delete(["a"])
    assert not left(tmp_path)


def test_one_request_deletes_at_a_time(tmp_path: Path) -> None:
    holding(tmp_path, "a", "b")
    delete = Deleter(tmp_path, None)

    class Asking(list[str]):
        """Paths in the midst of whose deletion another is asked for."""

        def __iter__(self) -> Iterator[str]:
            with pytest.raises(Unavailable, match="other series are being deleted"):
                delete(["b"])
            return super().__iter__()

    delete(Asking(["a"]))
    assert left(tmp_path) == {"b"}
    delete(["b"])
    assert not left(tmp_path)
