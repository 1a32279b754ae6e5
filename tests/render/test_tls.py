"""TLS in memory: the standard library's client against the server's context."""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from OpenSSL import SSL

from render.config import DEFAULT_HTTP
from render.tls import ServerTLS, server_tls
from storage.errors import InvalidConfig
from tests.authority import Authority, Pair, client_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def serving(pair: Pair, client_ca: Path | None = None) -> ServerTLS:
    http = replace(DEFAULT_HTTP, tls_certificate=pair.certificate, tls_key=pair.key, tls_client_ca=client_ca)
    made = server_tls(http)
    assert made is not None
    return made


def handshake(tls: ServerTLS, context: ssl.SSLContext) -> ssl.SSLObject:
    """A client that is connected, and has had a word of the server; raises what either side does."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    server = SSL.Connection(tls.getContext(), None)
    server.set_accept_state()
    done = [False, False]
    for _ in range(10):
        for side, step in enumerate((client.do_handshake, server.do_handshake)):
            with suppress(ssl.SSLWantReadError, SSL.WantReadError):
                step()
                done[side] = True
            if sent := outgoing.read():
                server.bio_write(sent)
            with suppress(SSL.WantReadError):
                incoming.write(server.bio_read(1 << 16))
    assert done == [True, True]
    server.send(b"word")
    incoming.write(server.bio_read(1 << 16))
    assert client.read() == b"word"
    return client


def test_a_client_that_trusts_the_authority_is_served_by_tls_1_3(authority: Authority) -> None:
    client = handshake(serving(authority.issue("plain")), client_context(authority.certificate))
    assert client.version() == "TLSv1.3"


def test_tls_1_2_has_forward_secrecy_and_1_1_is_refused(authority: Authority) -> None:
    tls, context = serving(authority.issue("old")), client_context(authority.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    cipher = handshake(tls, context).cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE-")
    context.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA@SECLEVEL=0")
    with pytest.raises(SSL.Error):
        handshake(tls, context)


def test_a_chain_is_sent_whole(authority: Authority) -> None:
    between = authority.between("between")
    pair = between.issue("leaf")
    pair.certificate.write_bytes(pair.certificate.read_bytes() + between.certificate.read_bytes())
    handshake(serving(pair), client_context(authority.certificate))


def test_with_a_client_ca_only_its_clients_are_served(authority: Authority) -> None:
    tls = serving(authority.issue("mutual"), authority.certificate)
    context = client_context(authority.certificate, authority.issue("client"))
    handshake(tls, context)
    stranger = Authority(authority.certificate.parent / "stranger").issue("client")
    for pair in (None, stranger):
        with pytest.raises((SSL.Error, ssl.SSLError)):
            handshake(tls, client_context(authority.certificate, pair))


def test_renewed_files_are_taken_and_bad_ones_told_once(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair, other = authority.issue("renewed"), authority.issue("other")
    tls = serving(pair)
    before = handshake(tls, client_context(authority.certificate)).getpeercert()
    pair.certificate.write_bytes(b"rubbish")
    with caplog.at_level(logging.ERROR):
        handshake(tls, client_context(authority.certificate))
        handshake(tls, client_context(authority.certificate))
    assert len(caplog.records) == 1
    pair.certificate.write_bytes(other.certificate.read_bytes())
    pair.key.write_bytes(other.key.read_bytes())
    assert handshake(tls, client_context(authority.certificate)).getpeercert() != before


def test_files_that_cannot_be_used_are_said_at_the_start(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("sound")
    secret = authority.issue("secret", secret=b"word")
    wrong = [
        Pair(tmp_path / "none", pair.key),
        Pair(pair.certificate, tmp_path / "none"),
        Pair(pair.key, pair.key),
        Pair(pair.certificate, secret.key),
    ]
    for each in wrong:
        with pytest.raises(InvalidConfig, match=r"\[http\]: TLS cannot be had"):
            serving(each)
    assert server_tls(DEFAULT_HTTP) is None
