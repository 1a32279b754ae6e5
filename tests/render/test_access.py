from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.access import Asker, Door, Knock, NoKeys, is_change, is_loopback, name_of, policy, warning
from render.config import Access, Scope
from render.errors import Refused

NOW = 1_700_000_000
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@dataclass(frozen=True)
class Held:
    name: str
    scope: Scope


@dataclass
class Ring:
    """Keys by their token."""

    keys: dict[str, Held] = field(default_factory=dict)

    def find(self, token: str, now: int) -> Held | None:
        return self.keys.get(token)

    def any(self) -> bool:
        return bool(self.keys)


RING = Ring({"r-token": Held("reader", Scope.READ), "a-token": Held("boss", Scope.ADMIN)})


def knock(method: str = "GET", peer: str = "127.0.0.1", version: str = "HTTP/1.1", **headers: Any) -> Knock:
    """With `Host: x` unless told otherwise; a list is a header several times."""
    given = {"host": "x"} | {name.replace("_", "-"): value for name, value in headers.items()}
    lists = {
        name: value if isinstance(value, list) else [value]
        for name, value in given.items()
        if value is not None
    }
    return Knock(method, peer, lambda name: lists.get(name.lower(), ()), version)


def door(keys: Any = None, *, local: bool = True, **access: Any) -> Door:
    return Door(Access(**access), keys or NoKeys(), local=local, own_names=["box.example.net"])


def status(of: Door, asked: Knock, needed: Scope = Scope.READ, *, changes: bool = False) -> int:
    """200 if the door lets in."""
    try:
        of.admit(asked, of.asker(asked, NOW), needed, changes=changes)
    except Refused as error:
        return error.status
    return 200


# --- Host ---


@given(st.lists(labels, min_size=2, max_size=5).filter(lambda parts: not parts[-1].isdigit()))
def test_a_name_of_the_internet_is_refused_unless_it_is_listed(parts: list[str]) -> None:
    name = ".".join(parts)
    assert status(door(), knock(host=name)) == (200 if parts[-1] == "localhost" else 421)
    assert status(door(hosts=(name,)), knock(host=f"{name.upper()}:8080")) == 200
    assert status(door(hosts=(f".{parts[-1]}",)), knock(host=name)) == 200
    assert status(door(hosts=("*",)), knock(host=f"{name}.")) == 200


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_an_address_is_no_name_that_could_be_bound_to_us(address: Any, port: int) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    assert status(door(), knock(host=host)) == 200
    assert status(door(), knock(host=f"{host}:{port}")) == 200
    assert name_of(f"{host}:{port}") == str(address)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "graphs", "box.example.net:8080", "a.localhost"]
)
def test_names_that_no_page_of_the_internet_has_are_ours(host: str) -> None:
    assert status(door(), knock(host=host)) == 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1.evil.org", "localhost.evil.org", "evil.org:80", "", "xexample.org"]
)
def test_names_that_only_look_like_ours_are_not(host: str) -> None:
    assert status(door(hosts=(".example.org",)), knock(host=host)) == 421


def test_a_request_has_one_host_unless_it_is_older_than_hosts() -> None:
    assert status(door(), knock(host=["x", "y"])) == 400
    assert status(door(), knock(host=None)) == 400
    assert status(door(), knock(host=None, version="HTTP/1.0")) == 200


# --- tokens ---


@pytest.mark.parametrize(
    "given",
    [
        "Bearer r-token",
        "bearer   r-token ",
        "Basic " + base64.b64encode(b"anyone:r-token").decode(),
        "Basic " + base64.b64encode(b":r-token").decode(),
    ],
)
def test_a_token_is_a_bearers_or_a_password(given: str) -> None:
    assert door(RING).asker(knock(authorization=given), NOW) == Asker("reader", Scope.READ)


@given(st.text(max_size=40))
def test_what_is_no_token_of_ours_is_401_even_where_all_may_ask(text: str) -> None:
    for of in (door(RING, anonymous=Scope.ADMIN), door()):
        assert status(of, knock(authorization=text)) == 401
        assert status(of, knock(authorization=f"Bearer {text}")) == 401
        assert status(of, knock(authorization=f"Basic {text}")) == 401
    assert status(door(RING), knock(authorization=["Bearer r-token", "Bearer a-token"])) == 401


@pytest.mark.parametrize("needed", list(Scope))
@pytest.mark.parametrize("held", [Scope.READ, Scope.WRITE, Scope.ADMIN])
def test_a_scope_has_those_before_it(held: Scope, needed: Scope) -> None:
    of = door(Ring({"t": Held("t", held)}))
    assert status(of, knock(authorization="Bearer t"), needed) == (200 if held >= needed else 403)


def test_without_a_token_nobody_may_anything_once_there_is_one() -> None:
    assert [status(door(RING), knock(), needed) for needed in Scope] == [200, 401, 401, 401]
    assert [status(door(), knock(), needed) for needed in Scope] == [200, 200, 200, 401]
    assert [status(door(local=False), knock(), needed) for needed in Scope] == [200, 200, 401, 401]
    assert status(door(RING, anonymous=Scope.READ), knock()) == 200
    assert status(door(anonymous=Scope.NONE), knock()) == 401


def test_who_is_refused_is_told_how_to_ask_and_not_what_there_is() -> None:
    with pytest.raises(Refused) as refused:
        door(RING).admit(knock(), Asker("", Scope.NONE), Scope.READ, changes=False)
    assert str(refused.value) == "a token that may read is needed"
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")
    assert refused.value.headers["Cache-Control"] == "no-store"


# --- proxies ---


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_proxy_that_is_listed_is_believed(peer: str) -> None:
    of = door(RING, proxies=(ipaddress.ip_network("10.0.0.0/8"),), proxy_scope=Scope.WRITE)
    assert of.asker(knock(peer=peer, x_forwarded_user="ann"), NOW) == Asker("ann", Scope.WRITE)
    assert of.asker(knock(peer=peer), NOW).scope is Scope.NONE


@pytest.mark.parametrize("peer", ["11.0.0.1", "", "::1", "rubbish"])
def test_whoever_else_names_a_user_is_not(peer: str) -> None:
    of = door(RING, proxies=(ipaddress.ip_network("10.0.0.0/8"),), proxy_scope=Scope.WRITE)
    assert of.asker(knock(peer=peer, x_forwarded_user="ann"), NOW) == Asker("", Scope.NONE)
    assert door(RING).asker(knock(x_forwarded_user="ann"), NOW) == Asker("", Scope.NONE)


@given(st.ip_addresses(), st.none() | st.ip_addresses())
def test_who_is_not_in_a_proxys_network_is_believed_nothing(proxy: Any, other: Any) -> None:
    peer = proxy if other is None else other
    of = door(proxies=(ipaddress.ip_network(proxy),), proxy_scope=Scope.ADMIN)
    named = {"x_forwarded_user": "ann", "x_forwarded_for": str(proxy), "forwarded": f"for={proxy}"}
    asker = of.asker(knock(peer=str(peer), **named), NOW)
    assert asker == (Asker("ann", Scope.ADMIN) if peer == proxy else Asker("", Scope.NONE))


@pytest.mark.parametrize("nobody", ["", "  ", None])
def test_a_proxy_that_names_nobody_lets_nobody_in(nobody: str | None) -> None:
    networks = (ipaddress.ip_network("10.0.0.0/8"),)
    asked = knock(peer="10.1.2.3", x_forwarded_user=nobody)
    for local in (True, False):
        of = door(proxies=networks, proxy_scope=Scope.ADMIN, local=local)
        assert [status(of, asked, needed) for needed in Scope] == [200, 401, 401, 401]
    of = door(proxies=networks, proxy_scope=Scope.ADMIN, anonymous=Scope.READ)
    assert of.asker(asked, NOW) == Asker("", Scope.READ)


def test_a_user_that_is_named_twice_is_refused_from_a_proxy_and_ignored_from_others() -> None:
    of = door(proxies=(ipaddress.ip_network("10.0.0.0/8"),), anonymous=Scope.READ)
    twice = ["ann", "boss"]
    assert status(of, knock(peer="10.1.2.3", x_forwarded_user=twice)) == 400
    assert of.asker(knock(peer="11.1.2.3", x_forwarded_user=twice), NOW) == Asker("", Scope.READ)


def test_a_token_counts_before_what_a_proxy_says() -> None:
    of = door(RING, proxies=(ipaddress.ip_network("10.0.0.0/8"),), proxy_scope=Scope.ADMIN)
    asked = knock(peer="10.1.2.3", x_forwarded_user="ann", authorization="Bearer r-token")
    assert of.asker(asked, NOW) == Asker("reader", Scope.READ)
    assert status(of, knock(peer="10.1.2.3", x_forwarded_user="ann", authorization="Bearer x")) == 401


def test_another_header_than_the_configured_one_names_nobody() -> None:
    of = door(proxies=(ipaddress.ip_network("10.0.0.0/8"),), user_header="X-Auth-Request-User")
    assert of.asker(knock(peer="10.1.2.3", x_auth_request_user="ann"), NOW).name == "ann"
    assert of.asker(knock(peer="10.1.2.3", x_forwarded_user="ann"), NOW) == Asker("", Scope.NONE)


# --- pages of other origins ---

FOREIGN = [
    {"origin": "https://evil.org"},
    {"origin": "null"},
    {"origin": "http://x.evil.org"},
    {"origin": "http://x:81"},
    {"origin": "x"},
    {"origin": ["http://x", "http://evil.org"]},
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
]
OWN = [
    {},
    {"origin": "http://x"},
    {"origin": "http://x:80"},
    {"origin": "https://x:443"},
    {"origin": "http://X", "sec_fetch_site": "same-origin"},
    {"sec_fetch_site": "none"},
    {"origin": "http://[::1]:8080", "host": "[::1]:8080"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_page_changes_nothing_whatever_it_may_otherwise(headers: dict[str, Any]) -> None:
    for of in (door(anonymous=Scope.ADMIN), door(anonymous=Scope.ADMIN, origins=("*",))):
        assert status(of, knock("POST", **headers), Scope.WRITE, changes=True) == 403
        assert status(of, knock("POST", **headers)) == 200


@pytest.mark.parametrize("headers", OWN)
def test_our_own_pages_and_programs_change_something(headers: dict[str, Any]) -> None:
    assert status(door(), knock("POST", **headers), Scope.WRITE, changes=True) == 200


def test_a_page_that_is_listed_changes_something() -> None:
    of = door(origins=("https://graphs.example.org",))
    asked = knock("POST", origin="https://graphs.example.org", sec_fetch_site="cross-site")
    assert status(of, asked, Scope.WRITE, changes=True) == 200


def test_only_pages_that_are_listed_read_answers() -> None:
    mine = "https://graphs.example.org"
    assert door().shared_with(knock(origin=mine)) == {}
    of = door(origins=(mine,))
    assert of.shared_with(knock(origin=mine)) == {"Access-Control-Allow-Origin": mine, "Vary": "Origin"}
    assert of.shared_with(knock(origin="https://evil.org")) == {"Vary": "Origin"}
    assert of.shared_with(knock()) == {"Vary": "Origin"}
    assert of.preflight(knock(origin=mine))["Access-Control-Allow-Origin"] == mine
    for foreign in (knock(origin="https://evil.org"), knock(), knock(origin=mine, host="evil.org")):
        with pytest.raises(Refused):
            of.preflight(foreign)
    assert door(origins=("*",)).shared_with(knock(origin="https://any.org"))["Access-Control-Allow-Origin"]


def test_no_answer_is_a_script_of_a_foreign_page() -> None:
    script = {"sec_fetch_dest": "script", "sec_fetch_site": "cross-site"}
    of = door(origins=("https://graphs.example.org",))
    assert status(of, knock(**script)) == 403
    assert status(of, knock(**script, referer="https://evil.org/https://graphs.example.org")) == 403
    assert status(of, knock(**script, referer="https://graphs.example.org/page?x")) == 200
    assert status(of, knock(sec_fetch_dest="script", sec_fetch_site="same-origin")) == 200
    assert status(of, knock(sec_fetch_dest="image", sec_fetch_site="cross-site")) == 200


# --- what is said about it ---


@pytest.mark.parametrize(
    ("method", "methods", "changes"),
    [
        ("GET", ("GET", "POST"), False),
        ("HEAD", (), False),
        ("POST", ("GET", "HEAD", "POST"), False),
        ("POST", ("POST",), True),
        ("DELETE", ("GET", "DELETE"), True),
        ("ANY", ("GET",), True),
    ],
)
def test_what_is_a_change(method: str, methods: tuple[str, ...], changes: bool) -> None:
    assert is_change(method, methods) is changes


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
    ],
)
def test_what_is_reached_from_outside_is_warned_of_while_all_may_ask(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    said = warning(host, f"{host}:8080", door(local=loopback))
    assert bool(said) is not loopback
    assert "may read" in said or loopback
    assert warning(host, f"{host}:8080", door(RING, local=loopback)) == ""


def test_a_picture_that_is_opened_as_a_page_runs_nothing() -> None:
    assert "sandbox" in policy("image/svg+xml")
    assert "script" not in policy("image/svg+xml")
    assert policy("application/json").startswith("default-src 'none'")
    assert "script-src 'self'" in policy("text/html; charset=utf-8")
    assert "unsafe" not in policy("text/html; charset=utf-8")
