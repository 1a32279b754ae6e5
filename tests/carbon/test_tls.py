"""TLS of listeners: who is served, who is refused, and certificates that are renewed without a restart."""

from __future__ import annotations

import logging
import os
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory

from carbon.config import Listener
from carbon.tls import ServerTLS, server_options
from storage.errors import InvalidConfig
from tests.authority import Authority, Pair, client_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def served(authority: Authority) -> Pair:
    return authority.issue("server")


class Heard(Protocol):
    """Keeps what it is told."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.factory.heard += data


class Server(Factory):
    protocol = Heard
    noisy = False

    def __init__(self, options: ServerTLS) -> None:
        self.heard = bytearray()
        self.tls = TLSMemoryBIOFactory(options, False, self)  # type: ignore[arg-type]  # it is one, for zope

    def hear(self, context: ssl.SSLContext, data: bytes) -> ssl.SSLObject:
        """Have a client say something, in memory; raises SSLError if either side refuses the other."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        transport = StringTransport()  # type: ignore[no-untyped-call]  # Twisted's
        server: Any = self.tls.buildProtocol(None)
        server.makeConnection(transport)

        def exchange() -> None:
            if sent := outgoing.read():
                server.dataReceived(sent)
            incoming.write(transport.value())  # type: ignore[no-untyped-call]  # Twisted's
            transport.clear()  # type: ignore[no-untyped-call]  # Twisted's

        for _ in range(4):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                exchange()
                continue
            break
        client.write(data)
        exchange()
        with suppress(ssl.SSLWantReadError):
            client.read()  # an alert, if it was refused
        return client


def tls(pair: Pair, client_ca: Path | None = None) -> ServerTLS:
    return ServerTLS(pair.certificate, pair.key, client_ca)


def serial(client: ssl.SSLObject) -> str:
    certificate = client.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_what_a_client_says_by_tls_is_heard(authority: Authority, served: Pair) -> None:
    server = Server(tls(served))
    client = server.hear(client_context(authority.certificate), b"a.b 1 10\n")
    assert bytes(server.heard) == b"a.b 1 10\n"
    assert client.version() in ("TLSv1.2", "TLSv1.3")


def test_a_certificate_with_its_chain_is_served_whole(authority: Authority) -> None:
    between = authority.between("between")
    pair = between.issue("chained")
    pair.certificate.write_bytes(pair.certificate.read_bytes() + between.certificate.read_bytes())
    server = Server(tls(pair))
    server.hear(client_context(authority.certificate), b"hello")
    assert bytes(server.heard) == b"hello"


def test_tls_1_1_is_refused(authority: Authority, served: Pair) -> None:
    context = client_context(authority.certificate)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    server = Server(tls(served))
    with pytest.raises(ssl.SSLError):
        server.hear(context, b"hello")
    assert not server.heard


def test_with_a_client_ca_only_its_clients_are_heard(
    authority: Authority, served: Pair, tmp_path: Path
) -> None:
    strangers = Authority(tmp_path, "strangers")
    ours, theirs = authority.issue("client"), strangers.issue("stranger")
    server = Server(tls(served, authority.certificate))
    for pair in (None, theirs):
        with pytest.raises(ssl.SSLError):
            server.hear(client_context(authority.certificate, pair), b"bad")
    assert not server.heard
    server.hear(client_context(authority.certificate, ours), b"good")
    assert bytes(server.heard) == b"good"


def test_of_several_client_cas_each_is_good(authority: Authority, served: Pair, tmp_path: Path) -> None:
    second = Authority(tmp_path, "second")
    both = tmp_path / "both.pem"
    both.write_bytes(authority.certificate.read_bytes() + second.certificate.read_bytes())
    server = Server(tls(served, both))
    for pair in (authority.issue("one"), second.issue("two")):
        server.hear(client_context(authority.certificate, pair), b"x")
    assert bytes(server.heard) == b"xx"


def replaced(pair: Pair, by: Pair, *, key: bool = True) -> None:
    """As certbot and cert-manager do: new files in the place of the old ones."""
    for old, new in zip(pair[: 1 + key], by, strict=False):
        copy = old.with_suffix(".new")
        copy.write_bytes(new.read_bytes())
        os.replace(copy, old)


def test_renewed_files_are_served_without_a_restart(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair, context = authority.issue("first"), client_context(authority.certificate)
    server = Server(tls(pair))
    first = serial(server.hear(context, b"1"))
    assert serial(server.hear(context, b"2")) == first
    with caplog.at_level(logging.INFO):
        replaced(pair, authority.issue("second"))
        assert serial(server.hear(context, b"3")) != first
        server.hear(context, b"4")
    assert [record.levelname for record in caplog.records if record.name == "carbon.tls"] == ["INFO"]
    assert bytes(server.heard) == b"1234"


def test_while_files_do_not_fit_together_or_are_gone_the_old_ones_serve(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair, other = authority.issue("before"), authority.issue("after")
    context = client_context(authority.certificate)
    server = Server(tls(pair))
    first = serial(server.hear(context, b"1"))
    replaced(pair, other, key=False)
    found = [serial(server.hear(context, b"2")) for _ in range(3)]
    assert found == [first] * 3
    pair.key.unlink()
    assert serial(server.hear(context, b"3")) == first
    assert serial(server.hear(context, b"3")) == first
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2  # once for what does not fit, once for what is gone
    pair.key.write_bytes(other.key.read_bytes())
    assert serial(server.hear(context, b"4")) != first


def listener(
    certificate: Path | None = None, key: Path | None = None, client_ca: Path | None = None
) -> Listener:
    return Listener("x", tls_certificate=certificate, tls_key=key, tls_client_ca=client_ca)


def test_a_listener_without_tls_has_no_options(served: Pair) -> None:
    assert server_options(listener()) is None
    assert server_options(listener(*served)) is not None


def test_files_that_cannot_be_used_are_an_invalid_config_that_names_the_listener(
    authority: Authority, served: Pair, tmp_path: Path
) -> None:
    empty, locked = tmp_path / "empty", authority.issue("locked", secret=b"secret")
    empty.write_text("no certificate")
    cut = tmp_path / "cut"
    cut.write_bytes(served.certificate.read_bytes()[:200] + b"\n-----END CERTIFICATE-----\n")
    wrong = [
        listener(tmp_path / "none", served.key),
        listener(empty, served.key),
        listener(cut, served.key),
        listener(served.certificate, empty),
        listener(served.certificate, authority.issue("another").key),
        listener(*locked),
        listener(*served, empty),
        listener(*served, tmp_path),
    ]
    for each in wrong:
        with pytest.raises(InvalidConfig, match=r"\[listener.x\]"):
            server_options(each)
