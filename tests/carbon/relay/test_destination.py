"""Destinations read as carbon's files spell them, and refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon.errors import InvalidDestination
from carbon.relay.destination import Destination, parse_destination, parse_destinations

Instances = st.none() | st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
Hosts = st.from_regex(r"[A-Za-z0-9._-]{1,50}", fullmatch=True) | st.ip_addresses().map(str)


@given(st.builds(Destination, Hosts, st.integers(1, 65535), Instances))
def test_a_destination_reads_back_from_its_text(destination: Destination) -> None:
    assert parse_destination(destination.text) == destination
    assert parse_destination(f"  {destination.text}\n") == destination


@given(st.text())
def test_any_text_is_a_destination_or_refused(text: str) -> None:
    try:
        destination = parse_destination(text)
    except InvalidDestination:
        return
    assert parse_destination(destination.text) == destination


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:2004", Destination("127.0.0.1", 2004)),
        ("graphite.example.net:2004:a", Destination("graphite.example.net", 2004, "a")),
        ("[::1]:2004", Destination("::1", 2004)),
        ("[fe80::1%eth0]:2004:b", Destination("fe80::1%eth0", 2004, "b")),
    ],
)
def test_what_carbon_reads(text: str, wanted: Destination) -> None:
    assert parse_destination(text) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no port"),
        ("graphite", "no port"),
        ("graphite:", "port is ''"),
        ("graphite:pickle", "port is 'pickle'"),
        ("graphite:0", "port is '0'"),
        ("graphite:65536", "port is '65536'"),
        ("graphite:２００４", "not a number"),
        (":2004", "no host name"),
        ("gra phite:2004", "no host name"),
        ("graphite:2004:", "instance is ''"),
        ("graphite:2004:a b", "instance is 'a b'"),
        ("graphite:2004:a'b", "instance"),
        ("::1:2004", "brackets"),
        ("fe80::1:2004:a", "brackets"),
        ("[::1]", "] and a port"),
        ("[::1:2004", "] and a port"),
        ("[host]:2004", "no IPv6 address"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidDestination) as refused:
        parse_destination(text)
    assert why in str(refused.value)
    assert repr(text) in str(refused.value)


def test_a_list_of_destinations_has_each_once() -> None:
    assert len(parse_destinations(["a:1", "b:1", "a:2", "a:1:x"])) == 4
    for wrong in ([], ["a:1", "b:1", "a:1"], [f"h{i}:1" for i in range(1001)]):
        with pytest.raises(InvalidDestination):
            parse_destinations(wrong)


def test_counters_are_named_as_carbon_names_them() -> None:
    assert Destination("10.0.0.1", 2004, "a").node == "10_0_0_1:2004:a"
    assert Destination("10.0.0.1", 2004).node == "10_0_0_1:2004:None"
