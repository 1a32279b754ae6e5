"""Which listeners there are, and their sockets: bound, on one number for TCP and UDP, named when they cannot be had."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest

from carbon.config import Kind, Listener, Settings
from carbon.sockets import Bound, address, bind, listeners, open_all, warnings
from storage.errors import InvalidConfig


@contextmanager
def opened(*wanted: Listener) -> Iterator[dict[str, Bound]]:
    bound = open_all(wanted)
    try:
        yield {each.name: each for each in bound}
    finally:
        for each in bound:
            each.socket.close()


def at_once(*tables: Listener) -> Settings:
    return Settings(listener={each.name: each for each in tables})


def here(name: str, port: int | None = 0, **given: object) -> Listener:
    kind = Kind(name) if name in list(Kind) else Kind.LINE
    return Listener(name, **{"kind": kind, "host": "127.0.0.1", "port": port, **given})  # type: ignore[arg-type]  # any field


def names_of(wanted: Sequence[Listener]) -> list[str]:
    return [each.name for each in wanted]


# --- which there are ---


def test_four_listeners_are_there_without_a_table() -> None:
    wanted = listeners(Settings(), "10.1.1.1", 2003, 2004, 2007)
    assert [(each.name, each.kind, each.host, each.port) for each in wanted] == [
        ("line", "line", "10.1.1.1", 2003),
        ("udp", "udp", "10.1.1.1", 2003),
        ("pickle", "pickle", "10.1.1.1", 2004),
        ("admin", "admin", "10.1.1.1", 2007),
    ]


def test_a_port_that_is_off_has_no_listener() -> None:
    assert names_of(listeners(Settings(), "::1", 0, None, None)) == ["line", "udp"]


def test_a_table_adds_a_listener_on_loopback_unless_it_says_a_host() -> None:
    settings = at_once(
        Listener("msgpack", kind=Kind.MSGPACK, port=0),
        Listener("other", host="10.2.2.2", port=7),
        Listener("u", path=Path("p")),
    )
    _, _, msgpack, other, unix = listeners(settings, "10.1.1.1", 0, None, None)
    assert (msgpack.host, msgpack.kind) == ("127.0.0.1", Kind.MSGPACK)
    assert other.host == "10.2.2.2"
    assert unix.path == Path("p")


def test_what_a_table_says_of_one_that_is_always_there_is_kept_its_host_too() -> None:
    settings = at_once(Listener("line", connections_max=7, host="10.9.9.9"))
    line, udp = listeners(settings, "10.1.1.1", 5, None, None)
    assert (line.connections_max, line.host, line.port) == (7, "10.9.9.9", 5)
    assert (udp.host, udp.port) == ("10.1.1.1", 5)


@pytest.mark.parametrize("name", ["line", "udp", "pickle", "admin"])
def test_a_port_that_has_an_option_is_refused_in_a_table(name: str) -> None:
    with pytest.raises(InvalidConfig, match=f"listener.{name}.*-port at the top"):
        listeners(at_once(Listener(name, kind=Kind(name), port=1)), "::1", 0, 0, 0)


def test_a_table_without_a_port_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="neither port nor path"):
        listeners(at_once(Listener("msgpack", kind=Kind.MSGPACK)), "::1", 0, 0, 0)


# --- their sockets ---


def test_lines_have_one_number_for_tcp_and_udp() -> None:
    with opened(*listeners(Settings(), "127.0.0.1", 0, 0, 0)) as bound:
        numbers = {name: each.socket.getsockname()[1] for name, each in bound.items()}
        assert numbers["line"] == numbers["udp"]
        assert len(set(numbers.values())) == 3
        assert bound["udp"].socket.type == socket.SOCK_DGRAM
        assert not any(each.socket.getblocking() for each in bound.values())
        with socket.create_connection(("127.0.0.1", numbers["line"]), timeout=5):
            pass


def test_a_number_that_udp_cannot_have_is_refused_and_given_back_for_tcp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with (
            pytest.raises(OSError, match=rf"127.0.0.1:{port} .*--line-port"),
            opened(here("line", port), here("udp", port)),
        ):
            pass
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    ("name", "option"),
    [("line", "--line-port"), ("pickle", "--pickle-port"), ("admin", "--admin-port"), ("x", r"port in \[listener.x\]")],
)  # fmt: skip
def test_a_port_that_is_taken_says_which_setting_to_change(name: str, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1:{port} \(.+\): .*{option}"),
            opened(here("carbonlink"), here(name, port)),
        ):
            pass


@pytest.mark.parametrize("host", ["a..b", "ü..b", "x" * 70, "no.such.host.invalid", "[::1]", "1.2.3.4.5"])
def test_a_host_that_is_none_is_an_os_error_that_says_which(host: str) -> None:
    with pytest.raises(OSError) as caught:
        bind(host, 0, "--line-port")
    assert host in str(caught.value)


def test_an_address_is_told_as_it_is_written() -> None:
    with bind("127.0.0.1", 0, "x") as v4:
        assert address(v4) == f"127.0.0.1:{v4.getsockname()[1]}"
    with suppress(OSError), bind("::1", 0, "x") as v6:  # where there is no IPv6
        assert address(v6) == f"[::1]:{v6.getsockname()[1]}"


# --- Unix sockets ---


def test_a_unix_socket_lies_at_its_path(tmp_path: Path) -> None:
    with opened(here("u", None, path=tmp_path / "s")) as bound:
        assert address(bound["u"].socket) == str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))


def test_a_unix_socket_that_nobody_has_any_more_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with opened(here("u", None, path=path)):
        pass
    assert path.is_socket()
    with opened(here("u", None, path=path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_that_is_alive_is_left_alone_a_busy_one_too(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:  # until its queue is full
            client.setblocking(False)
            client.connect_ex(str(path))
        with (
            pytest.raises(OSError, match=r"choose another path in \[listener.u\]"),
            opened(here("u", None, path=path)),
        ):
            pass
        assert path.is_socket()
        for client in clients:
            client.close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(OSError, match="cannot listen on"), opened(here("u", None, path=path)):
        pass
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"), opened(here("u", None, path=tmp_path / ("x" * 120))):
        pass


# --- who is told at every start ---


@pytest.mark.parametrize(
    ("listener", "warned"),
    [
        (here("line"), False),
        (here("line", host="::1"), False),
        (here("line", host="localhost"), False),
        (here("line", host="0.0.0.0"), True),
        (here("udp", host="::"), True),
        (here("line", host="10.0.0.1", token=b"x" * 32), False),
        (here("line", host="10.0.0.1", allow=(ip_network("10.0.0.0/8"),)), False),
        (here("line", host="10.0.0.1", tls_client_ca=Path("x")), False),
        (here("line", host="10.0.0.1", tls_certificate=Path("x")), True),
        (here("u", None, host=None, path=Path("x")), False),
    ],
)
def test_a_listener_that_lets_in_everyone_from_outside_is_warned_of(listener: Listener, warned: bool) -> None:
    told = warnings([listener])
    assert len(told) == warned
    assert all(f"[listener.{listener.name}]" in line for line in told)
