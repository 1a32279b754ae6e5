from __future__ import annotations

import pytest

from render.errors import ArgumentError, Unavailable
from render.extras import Extras
from render.lookups.tables import Aliases, Key, Lookups
from tests.render.functions.asking import Fixed, ask
from tests.render.golden.series import START
from tests.render.memory import MemorySource


def named(*names: str) -> MemorySource:
    source = MemorySource()
    for name in names:
        source.add(name, START + 60, 60, [1.0])
    return source


def with_hash(**aliases: str) -> Extras:
    return Extras(lookups=Lookups({"alias": Fixed({(name,): alias for name, alias in aliases.items()})}))


def with_query(aliases: dict[Key, str], width: int = 1) -> Extras:
    return Extras(lookups=Lookups({}, {("db", "owner"): Fixed(aliases, width)}))


# --- aliasByRedis ---


@pytest.mark.parametrize(
    ("call", "names"),
    [  # carbonapi's own expectations
        ('aliasByRedis(metric*, "alias")', ["new1", "new2"]),
        ('aliasByRedis(test.metric2, "alias")', ["new2"]),
        ('aliasByRedis(test.metric3, "alias")', ["test.metric3"]),
        ('aliasByRedis(test.metric2, "alias", true)', ["test.new2"]),
        ('aliasByRedis(metric1, "alias", true)', ["new1"]),
        ('aliasByRedis(scale(test.metric2, 3), "alias", true)', ["test.new2"]),
        ('aliasByRedis(seriesByTag("name=tagged.metric2"), "alias")', ["new2"]),
        ('aliasByRedis(no.such, "alias")', []),
    ],
)
def test_the_last_node_is_looked_up(call: str, names: list[str]) -> None:
    source = named("metric1", "metric2", "test.metric2", "test.metric3", "tagged.metric2;a=b")
    assert ask(source, call, extras=with_hash(metric1="new1", metric2="new2")).names == names


def test_each_series_has_its_own_alias_whatever_its_step_and_order(golden_source: MemorySource) -> None:
    extras = with_hash(f1="eins", c1="zwei", c2="drei")
    target = 'aliasByRedis(sortByName({fine,coarse}.*, false, true), "alias", true)'
    assert ask(golden_source, target, extras=extras).names == [
        "fine.f2",
        "fine.eins",
        "coarse.drei",
        "coarse.zwei",
    ]


def test_only_keys_of_the_configuration_can_be_asked() -> None:
    with pytest.raises(
        ArgumentError, match=r"keyName: 'secrets' is none of the keys that \[lookup.redis\] allows"
    ):
        ask(named("a"), 'aliasByRedis(a, "secrets")', extras=with_hash())
    with pytest.raises(ArgumentError, match="keyName: there is no Redis"):
        ask(named("a"), 'aliasByRedis(a, "alias")', extras=Extras())


# --- aliasByPostgres ---


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ("1", ["shop", "web2"]),
        ("1, 2", ["shop.cpu", "web2.cpu"]),
        ("-2, 0, -1", ["shop.servers.cpu", "web2.servers.cpu"]),
        ("1, 9", ["shop", "web2"]),
        ("9, 1", ["web1", "web2"]),  # nothing to be looked up, and no first part of the name
        ("9", ["servers.web1.cpu", "servers.web2.cpu"]),
        ("'name'", ["servers.web1.cpu", "servers.web2.cpu"]),
    ],
)
def test_nodes_are_looked_up_and_the_others_stay(nodes: str, names: list[str]) -> None:
    source = named("servers.web1.cpu", "servers.web2.cpu")
    table = Fixed({("web1",): "shop"})
    extras = Extras(lookups=Lookups({}, {("db", "owner"): table}))
    assert ask(source, f"aliasByPostgres(servers.*.*, 'db', 'owner', {nodes})", extras=extras).names == names
    assert not any("" in key for keys in table.asked for key in keys)


def test_a_query_takes_as_many_nodes_as_it_has_places() -> None:
    source = named("dc1.web1.cpu", "dc2.web1.cpu")
    extras = with_query({("dc1", "web1"): "shop"}, width=2)
    target = "aliasByPostgres(*.web1.cpu, 'db', 'owner', 0, 1, 2)"
    assert ask(source, target, extras=extras).names == ["shop.cpu", "dc2.web1.cpu"]
    assert ask(source, "aliasByPostgres(*.web1.cpu, 'db', 'owner', 1)", extras=extras).names == [
        "web1",
        "web1",
    ]


def test_tags_are_looked_up(golden_source: MemorySource) -> None:
    target = "aliasByPostgres(seriesByTag('name=load'), 'db', 'owner', 'host', 'dc')"
    names = ask(golden_source, target, extras=with_query({("b",): "shop"})).names
    assert names == ["a.east", "shop.east", "c.west"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("'other', 'owner', 0", "databaseName: there is no database 'other'"),
        ("'db', 'drop', 0", "keyString: database 'db' has no query 'drop'"),
        ("'db', 'owner'", "nodes: is missing"),
    ],
)
def test_only_databases_and_queries_of_the_configuration_can_be_named(arguments: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask(named("a"), f"aliasByPostgres(a, {arguments})", extras=with_query({}))


class Broken:
    width = 1

    def ask(self, keys: list[Key]) -> Aliases:
        raise Unavailable("no answer")


def test_a_table_that_gives_no_answer_is_no_fault_of_the_target() -> None:
    extras = Extras(lookups=Lookups({"alias": Broken()}))  # type: ignore[dict-item]  # of lists only
    with pytest.raises(Unavailable) as raised:
        ask(named("a"), "aliasByRedis(a, 'alias')", extras=extras)
    assert raised.value.status == 503
