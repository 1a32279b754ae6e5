from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.api import House, Response, not_found, respond, route, wrong_method
from render.api.tags import complete_tags, complete_values, find_series, tag, tag_multi_series, tags
from render.config import Http, Limits
from render.plan import render
from render.request import read_params
from render.source import SharedStore
from storage.store import Store
from tests.effort import tries
from tests.render import golden
from tests.render.api.store import NOW, MemoryStore

PATHS, *ANSWERS = json.loads((Path(golden.__file__).parent / "tags.json").read_text())


class DeletingStore(MemoryStore):
    def delete(self, paths: Any) -> None:
        self._index.remove([self._paths.index(path) for path in paths if path in self._paths])


def of(paths: list[str], **more: Any) -> House:
    store = DeletingStore()
    for path in paths:
        store.add(path, NOW - 60, 60, [1.0, 2.0])
    return House(store, delete=store.delete, **more)


def ask(line: str, to: House) -> Response:
    """What a line of targets_tags.txt is answered with: a method, a path with its query, a form."""
    method, _, rest = line.partition(" ")
    url, _, form = rest.partition(" ")
    path, _, query = url.partition("?")
    params = read_params(
        query.encode(), form.encode(), "application/x-www-form-urlencoded", fields_max=to.http.fields_max
    )
    found = route(unquote(path))
    if found is None:
        return not_found(path)
    if method not in found.methods:
        return wrong_method(method, found)
    return respond(found.view, params, to, NOW)


def answer(line: str, to: House) -> Any:
    response = ask(line, to)
    assert response.status == 200, response.body
    return json.loads(response.body)


def test_all_is_answered_as_graphite_web_answers_it() -> None:
    """In one go, as some lines delete. What that one calls a fault of its own (500) is the client's here."""
    to, wrong = of(PATHS), []
    for one in ANSWERS:
        response = ask(one["asked"], to)
        status = 400 if one["status"] == 500 else one["status"]
        same = response.status == status and (status != 200 or json.loads(response.body) == one["body"])
        if not same:
            wrong.append((one, response.status, response.body))
    assert not wrong
    assert len(ANSWERS) > 100


SMALL = of([*PATHS, "plain.metric", "load;dc=east;host=z;rack=with=sign"])


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("GET /tags/findSeries", "expr"),
        ("GET /tags/findSeries?expr=name", "expr"),
        ("GET /tags/findSeries?expr=name=~(", "expr"),
        ("GET /tags/findSeries?expr=name!=a", "expr"),
        ("GET /tags/autoComplete/values?expr=name=a", "tag"),
        ("GET /tags?limit=-1", "limit"),
        ("GET /tags/host?limit=1.5", "limit"),
        ("GET /tags/autoComplete/tags?limit=a", "limit"),
        ("GET /tags?filter=(", "filter"),
        ("GET /tags/host?filter=[", "filter"),
        ("POST /tags/tagMultiSeries x=1", "path"),
        ("POST /tags/delSeries x=1", "path"),
    ],
)
def test_an_error_is_json_and_names_the_parameter(line: str, name: str) -> None:
    response = ask(line, SMALL)
    said = json.loads(response.body)
    assert (response.status, response.content_type, list(said["parameters"])) == (
        400,
        "application/json",
        [name],
    )
    assert name in said["error"]


def test_all_that_is_wrong_is_told_at_once() -> None:
    response = ask("GET /tags/autoComplete/values?limit=a&expr=b", SMALL)
    assert set(json.loads(response.body)["parameters"]) == {"tag", "limit", "expr"}


def test_pretty_answers_are_indented_and_their_keys_sorted() -> None:
    body = ask("GET /tags/unit?pretty=1", SMALL).body.decode()
    assert (
        body
        == '{\n  "tag": "unit",\n  "values": [\n    {\n      "count": 1,\n      "value": "B"\n    }\n  ]\n}'
    )


def test_completions_are_a_hundred_unless_more_are_asked_for() -> None:
    to = of([f"m;host=h{i:03d};t{i:03d}=1" for i in range(150)])
    assert answer("GET /tags/autoComplete/values?tag=host", to) == [f"h{i:03d}" for i in range(100)]
    assert len(answer("GET /tags/autoComplete/values?tag=host&limit=10000&expr=name=m", to)) == 150
    assert len(answer("GET /tags/autoComplete/tags", to)) == 100
    assert len(answer("GET /tags/autoComplete/tags?limit=10000&expr=t001!=", to)) == 2
    assert len(answer("GET /tags", to)) == 152


def test_more_than_may_be_given_is_cut_and_the_header_says_so() -> None:
    to = of([f"m;host=h{i}" for i in range(9)] + ["a;b=1", "a;c=1"], http=Http(found_max=3))
    for line, size in [
        ("GET /tags/findSeries?expr=name=m", 3),
        ("GET /tags", 3),
        ("GET /tags?limit=99", 3),
        ("GET /tags/autoComplete/values?tag=host", 3),
    ]:
        response = ask(line, to)
        assert len(json.loads(response.body)) == size
        assert ("X-Plumbago-Truncated" in response.headers) is ("autoComplete" not in line)
    response = ask("GET /tags/host", to)
    assert len(json.loads(response.body)["values"]) == 3
    assert response.headers["X-Plumbago-Truncated"] == "3"
    assert "X-Plumbago-Truncated" not in ask("GET /tags?limit=2", to).headers


def test_a_plain_path_has_no_tags_not_even_a_name() -> None:
    assert answer("GET /tags/findSeries?expr=name=plain.metric", SMALL) == []
    assert answer("GET /tags/autoComplete/values?tag=name&valuePrefix=p", SMALL) == []


def test_times_filter_nothing() -> None:
    line = "GET /tags/autoComplete/values?tag=rack&from=-1h&until=nonsense"
    assert answer(line, SMALL) == ["with=sign"]


def test_tagging_makes_no_series() -> None:
    to = of(["a;b=c"])
    assert answer("POST /tags/tagSeries path=new;z=1;a=2", to) == "new;a=2;z=1"
    assert answer("GET /tags/findSeries?expr=name=new", to) == []


def test_a_path_that_no_series_can_have_is_refused_with_the_reason() -> None:
    for path, said in [
        ("a b;c=d", "white space"),
        ("a..b", "empty node"),
        ("a;=b", "no tag"),
        ('{a="b"}', "{"),
    ]:
        response = ask(f"POST /tags/tagSeries path={path}", SMALL)
        assert response.status == 400
        assert said in json.loads(response.body)["error"]


def test_nobody_deletes_over_http_unless_the_house_allows_it() -> None:
    store = MemoryStore()
    store.add("a;b=c", NOW, 60, [1.0])
    response = ask("POST /tags/delSeries path=a;b=c", House(store))
    assert response.status == 403
    assert "plumbago delete" in json.loads(response.body)["error"]


def test_the_paths_to_delete_are_canonical() -> None:
    deleted: list[str] = []
    to = House(MemoryStore(), delete=deleted.extend)
    assert answer('POST /tags/delSeries path=m;z=1;a=2&path=b&path=o{x="y"}', to) is True
    assert deleted == ["m;a=2;z=1", "b", "o;x=y"]


def test_a_pattern_that_takes_too_long_is_given_up() -> None:
    to = of([f"m;host=h{i}" for i in range(600)], limits=Limits(duration_s=-1))
    assert ask("GET /tags/findSeries?expr=host=~.*x", to).status == 503
    assert ask("GET /tags/host?filter=.*x", to).status == 503


texts = st.text(max_size=12) | st.sampled_from(
    ["name=load", "host=~a|b", "dc!=", "host!=~(a", "~", "=", "a=b=c", "100", "-1", "name", "host=~(a+)+$"]
)
names = st.sampled_from(
    ["expr", "expr[]", "tag", "limit", "filter", "tagPrefix", "valuePrefix", "path", "pretty"]
)


@given(
    st.dictionaries(names, st.lists(texts, max_size=3)),
    st.sampled_from([tags, tag("host"), find_series, complete_tags, complete_values, tag_multi_series]),
)
@settings(max_examples=tries(300))
def test_any_request_is_answered_or_is_the_clients_fault(params: dict[str, list[str]], view: Any) -> None:
    response = respond(view, params, SMALL, NOW)
    assert response.status in (200, 400)
    json.loads(response.body)


# --- on a real store ---


def test_tagged_series_of_a_store_are_found_grouped_and_called_by_their_tags(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    paths = [f"cpu;dc=dc{i % 2};host=web{i}" for i in range(4)] + ["mem;host=web1", "plain.cpu"]
    series = writer.create(paths)
    writer.append(series, np.full(len(series), NOW - 60), np.arange(1.0, len(series) + 1), NOW)
    shared = SharedStore(Store(tmp_path, writable=False))

    def targets(target: str) -> dict[str, float]:
        response = ask(
            f"POST /render format=json&from={NOW - 120}&until={NOW - 60}&target={target}", House(shared)
        )
        assert response.status == 200, response.body
        return {one["target"]: one["datapoints"][0][0] for one in json.loads(response.body)}

    assert targets("seriesByTag('name=cpu','host=~web[01]')") == {
        "cpu;dc=dc0;host=web0": 1.0,
        "cpu;dc=dc1;host=web1": 2.0,
    }
    assert targets("seriesByTag('name=cpu') | groupByTags('sum', 'dc')") == {
        "cpu;dc=dc0": 4.0,
        "cpu;dc=dc1": 6.0,
    }
    assert targets("aliasByTags(seriesByTag(\"host=web1\"), 'name', 'host')") == {
        "cpu.web1": 2.0,
        "mem.web1": 5.0,
    }
    assert targets("sumSeries( seriesByTag( 'name=cpu' , 'dc!=dc1' ) )") == {
        "sumSeries(seriesByTag( 'name=cpu' , 'dc!=dc1' ))": 4.0
    }
    assert targets("seriesByTag('name=plain.cpu')") == {}
    (found,) = render(shared, ["seriesByTag('name=mem')"], start=NOW - 120, until=NOW, now=NOW, zone=UTC)
    assert found.tags == [{"name": "mem", "host": "web1"}]


def test_names_come_and_go_while_tags_are_asked_for(tmp_path: Path) -> None:
    writer = Store(tmp_path)
    writer.create([f"m;host=a{i}" for i in range(3)])
    shared = SharedStore(Store(tmp_path, writable=False))
    to = House(shared)
    ways = ["GET /tags/autoComplete/values?tag=host", "GET /tags/autoComplete/values?tag=host&expr=name=m"]
    assert [answer(way, to) for way in ways] == [["a0", "a1", "a2"]] * 2
    writer.create(["m;host=b", "n;host=c"])
    writer.delete(["m;host=a1"], NOW)
    writer.rename("m;host=a0", "m;host=d")
    shared.refresh()
    assert [answer(way, to) for way in ways] == [["a2", "b", "c", "d"], ["a2", "b", "d"]]
    assert answer("GET /tags/host?filter=a", to)["values"] == [{"value": "a2", "count": 1}]
    writer.close()
    Store(tmp_path).create(["m;host=a1"])  # a writer that starts rewrites the catalogue
    shared.refresh()
    assert answer(ways[1], to) == ["a1", "a2", "b", "d"]
    assert answer("GET /tags/findSeries?expr=host=~a", to) == ["m;host=a1", "m;host=a2"]
