"""Who may ask for what: the Host that is asked for, the token, the page of another origin. No sockets here.

In this order, each refused before anything is said about what there is: a Host that is not ours (421; a page whose
name was bound to our address would ask so), credentials that are wrong or not enough (401, 403), a change that a page
of another origin wants, and an answer as a script for such a page (403).
"""

from __future__ import annotations

import base64
import ipaddress
import socket
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from render.config import Access, Network, Scope
from render.errors import Refused

_SAFE = ("GET", "HEAD", "OPTIONS")
_CREDENTIALS_CHARS_MAX = 1024
_USER_CHARS_MAX = 200
_ALLOWED_S = 600  # that a browser remembers what another origin's page may do
_ADDRESS_CHARS_MAX = 100
_LOCALHOST = "localhost"
_NO_STORE = {"Cache-Control": "no-store"}

_API_POLICY = "default-src 'none'; frame-ancestors 'self'; base-uri 'none'"
# a picture has styles of its own; opened as a page it may neither run nor send anything
_SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox"
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; object-src 'none'; frame-ancestors 'self'; base-uri 'none'"
)


class Knock(NamedTuple):
    """What of a request says who asks."""

    method: str
    peer: str  # the address of the connection; "" for a Unix socket
    header: Header
    version: str = "HTTP/1.1"


class Header(Protocol):
    def __call__(self, name: str) -> Sequence[str]:
        """A header's values, () if it is not there."""
        ...


class Asker(NamedTuple):
    name: str  # of the token, or of the user that a proxy has named; "" = nobody in particular
    scope: Scope


class Keys(Protocol):
    """What is asked of render.tokens.Tokens."""

    def find(self, token: str, now: int) -> Key | None: ...

    def any(self) -> bool: ...


class Key(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def scope(self) -> Scope: ...


class NoKeys:
    """There are no tokens."""

    def find(self, token: str, now: int) -> Key | None:
        return None

    def any(self) -> bool:
        return False


class Door:
    """Lets in or refuses; `local`: the server is reached from its own host only."""

    def __init__(
        self, access: Access, keys: Keys, *, local: bool, own_names: Collection[str] | None = None
    ) -> None:
        self._access, self._keys, self._local = access, keys, local
        self._names = frozenset(_own_names() if own_names is None else own_names)

    def asker(self, knock: Knock, now: int) -> Asker:
        """Who asks; raises Refused for a Host that is not ours and for credentials that are not known."""
        self._check_host(knock)
        given = knock.header("authorization")
        if given:
            key = self._keys.find(_secret(given[0]), now) if len(given) == 1 else None
            if key is None:
                raise _unknown("the token is not known, or is over")
            return Asker(key.name, key.scope)
        user = self._user(knock)
        return Asker(user, self._access.proxy_scope) if user else Asker("", self.anonymous())

    def _user(self, knock: Knock) -> str:
        """Whom a proxy of ours names; "" = nobody. Raises Refused for two, of which one is the client's own."""
        if not _is_in(knock.peer, self._access.proxies):
            return ""
        given = knock.header(self._access.user_header)
        if len(given) > 1:
            raise Refused(400, f"a request names one user, this has {len(given)}", _NO_STORE)
        return given[0].strip()[:_USER_CHARS_MAX] if given else ""

    def anonymous(self) -> Scope:
        """What is allowed to who does not say who asks."""
        if self._access.anonymous is not None:
            return self._access.anonymous
        if self._keys.any() or self._access.proxies:  # whom a proxy has not let in may not have more
            return Scope.NONE
        return Scope.WRITE if self._local else Scope.READ

    def admit(self, knock: Knock, asker: Asker, needed: Scope, *, changes: bool) -> None:
        """Raises Refused if the asker may not do what needs that scope, or only a page of ours may."""
        if asker.scope < needed:
            if not asker.name:
                raise _unknown(f"a token that may {needed} is needed")
            raise Refused(403, f"{asker.name!r} may not: that needs a token that may {needed}", _NO_STORE)
        if changes and not self._is_from_us(knock):
            raise Refused(
                403, "a page of another origin may change nothing here: [access] origins", _NO_STORE
            )
        if not changes and self._is_foreign_script(knock):
            raise Refused(403, "a page of another origin may not read this: [access] origins", _NO_STORE)

    def shared_with(self, knock: Knock) -> Mapping[str, str]:
        """The headers by which a page of another origin may read the answer; none if it may not."""
        if not self._access.origins:
            return {}
        origin = _one(knock.header("origin"))
        if not origin or not self._reads(origin):
            return {"Vary": "Origin"}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def preflight(self, knock: Knock) -> Mapping[str, str]:
        """What a page of another origin is told before it asks; raises Refused if it may not."""
        self._check_host(knock)
        origin = _one(knock.header("origin"))
        if not origin or not self._reads(origin):
            raise Refused(403, "pages of this origin may not ask here: [access] origins", _NO_STORE)
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-Id, "
            "X-Dashboard-Id, X-Grafana-Org-Id, X-Panel-Id, X-Panel-Plugin-Id",
            "Access-Control-Max-Age": str(_ALLOWED_S),
            "Vary": "Origin",
        }

    def _reads(self, origin: str) -> bool:
        return "*" in self._access.origins or origin.lower() in self._access.origins

    def _check_host(self, knock: Knock) -> None:
        given = knock.header("host")
        if not given and knock.version == "HTTP/1.0":
            return  # no browser speaks that
        if len(given) != 1:
            raise Refused(400, f"a request has one Host header, this has {len(given)}", _NO_STORE)
        if not self._is_ours(name_of(given[0])):
            raise Refused(421, f"this server is not asked as {given[0][:200]!r}: [access] hosts", _NO_STORE)

    def _is_ours(self, name: str) -> bool:
        """A page of the internet cannot be at an address or at a name without a dot."""
        if name in self._names or ("." not in name and ":" not in name and name != ""):
            return True
        return (
            _address(name) is not None or name.endswith(f".{_LOCALHOST}") or _among(name, self._access.hosts)
        )

    def _is_from_us(self, knock: Knock) -> bool:
        """No page at all, one of ours, or one that is listed by its name: `*` is for reading."""
        origins = knock.header("origin")
        if not origins:
            return _one(knock.header("sec-fetch-site")) in ("", "same-origin", "none")
        origin = _one(origins).lower()
        return origin in self._access.origins or _is_same(origin, _one(knock.header("host")))

    def _is_foreign_script(self, knock: Knock) -> bool:
        """`<script src=…jsonp=…>` in a page of another origin would read what it must not."""
        if _one(knock.header("sec-fetch-dest")) != "script":
            return False
        if _one(knock.header("sec-fetch-site")) in ("", "same-origin", "none"):
            return False
        page = _one(knock.header("referer")).split("/")
        return not self._reads("/".join(page[:3]))


def warning(host: str, address: str, door: Door) -> str:
    """What the operator is told at every start about who is let in unasked; "" if there is nothing to say."""
    if is_loopback(host) or door.anonymous() == Scope.NONE:
        return ""
    return (
        f"http listens on {address}, and whoever reaches it may {door.anonymous()}: make a token with "
        "`plumbago token add`, or listen on 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this host only."""
    try:
        return host == _LOCALHOST or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == ""  # a Unix socket


def policy(content_type: str) -> str:
    """The Content-Security-Policy of an answer."""
    kind = content_type.partition(";")[0]
    return {"image/svg+xml": _SVG_POLICY, "text/html": _PAGE_POLICY}.get(kind, _API_POLICY)


def name_of(host: str) -> str:
    """The name or the address of a Host header, without its port and in small letters."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def is_change(method: str, methods: Sequence[str]) -> bool:
    """Whether a method changes something: POST is a long GET only where one can GET as well."""
    return method not in _SAFE and not (method == "POST" and "GET" in methods)


def _own_names() -> Collection[str]:
    name = socket.gethostname().lower()
    return (name, f"{name}.local")


@lru_cache(1024)  # reading one takes as long as reading a header
def _short_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text is, None = it is none."""
    return _short_address(text) if len(text) <= _ADDRESS_CHARS_MAX else None


def _among(name: str, allowed: Sequence[str]) -> bool:
    below = (each for each in allowed if each.startswith("."))
    return "*" in allowed or name in allowed or any(name.endswith(each) for each in below)


def _is_same(origin: str, host: str) -> bool:
    """Whether an origin is the host itself; a proxy may have taken TLS off, so that the scheme says nothing."""
    scheme, _, at = origin.partition("://")
    port = {"http": ":80", "https": ":443"}.get(scheme, "")
    return bool(at) and port != "" and at.removesuffix(port) == host.lower().removesuffix(port)


def _is_in(peer: str, networks: Sequence[Network]) -> bool:
    if not networks or (address := _address(peer)) is None:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any(address in network or (mapped is not None and mapped in network) for network in networks)


def _secret(authorization: str) -> str:
    """The token of `Bearer TOKEN`, or of `Basic` as its password; "" if there is none."""
    scheme, _, given = authorization[:_CREDENTIALS_CHARS_MAX].partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(given.strip(), validate=True).decode(errors="replace").partition(":")[2]
    except ValueError:
        return ""


def _unknown(reason: str) -> Refused:
    return Refused(
        401, reason, {"WWW-Authenticate": 'Bearer realm="plumbago", Basic realm="plumbago"', **_NO_STORE}
    )


def _one(values: Sequence[str]) -> str:
    """The value of a header that is there once; one that is there twice is as good as a foreign one."""
    return values[0] if len(values) == 1 else "?" if values else ""
