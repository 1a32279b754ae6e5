from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.intern import Interned, lay
from storage.order import order

# some sort before the separator that follows them, some after
PART = st.text("a!:<z", min_size=1, max_size=20).map(str.encode)


@given(st.integers(1, 4), st.lists(PART, min_size=1, unique=True), st.sampled_from([b".", b";"]), st.data())
def test_the_order_of_parts_is_that_of_the_joined_texts(
    depth: int, parts: list[bytes], separator: bytes, data: st.DataObject
) -> None:
    names = Interned()
    ids = names.add_all(*lay(parts)).tolist()
    paths = data.draw(st.lists(st.lists(st.sampled_from(ids), min_size=depth, max_size=depth), min_size=1))
    joined = [separator.join(parts[i] for i in path) for path in paths]
    places = order(names, np.array(paths, np.int32).T.copy(), separator)
    assert [joined[i] for i in places] == sorted(joined)
