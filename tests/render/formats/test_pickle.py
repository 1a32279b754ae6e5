from __future__ import annotations

import math
import pickle
import pickletools

from hypothesis import given
from hypothesis import strategies as st
from msgpack import unpackb  # type: ignore[import-untyped]  # has no stubs

from render.formats import msgpack
from render.formats.pickle import encode, encode_nodes
from render.formats.presentation import Presentation
from render.series import SeriesList
from tests.render.formats.lists import block, cold, names, series_lists


def infos(series: SeriesList) -> list[dict[str, object]]:
    """The twin: what graphite-web's getInfo gives of each series."""
    return [
        {
            "name": one.name,
            "start": one.start,
            "end": one.end,
            "step": one.step,
            "values": [None if math.isnan(value) else value for value in one.values.tolist()],
            "pathExpression": one.expression,
            "valuesPerPoint": one.points_per_value,
            "consolidationFunc": one.consolidation,
            "xFilesFactor": one.x_files_factor,
        }
        for one in series
    ]


@cold
@given(series_lists())
def test_what_python_reads_is_what_graphite_web_would_have_pickled(series: SeriesList) -> None:
    read = pickle.loads(encode(series, Presentation()))
    assert repr(read) == repr(infos(series))  # repr tells -0.0 from 0.0, and 1 from 1.0


def test_python_2_reads_it_and_nothing_in_it_is_looked_up() -> None:
    body = encode(SeriesList([block([[1.0, math.nan]], names=["ä"])]), Presentation())
    opcodes = [opcode for opcode, _, _ in pickletools.genops(body)]
    assert max(opcode.proto for opcode in opcodes) == 2
    assert not {"GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ"} & {opcode.name for opcode in opcodes}


times = st.integers(-(2**62), 2**62)
nodes = st.lists(st.tuples(names, st.none() | st.tuples(times, times)))


@given(nodes)
def test_nodes_are_read_as_they_are(given: list[tuple[str, tuple[int, int] | None]]) -> None:
    def plain(sequence: type) -> list[dict[str, object]]:
        return [
            {"path": path, "is_leaf": interval is not None}
            | ({"intervals": [sequence(interval)]} if interval else {})
            for path, interval in given
        ]

    assert pickle.loads(encode_nodes(given)) == plain(tuple)
    assert unpackb(msgpack.encode_nodes(given)) == plain(list)
