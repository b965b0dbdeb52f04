"""Encryption: the server's certificates over gRPC and HTTP, with the clients of this package and with others."""

import asyncio
import http.client
import shutil
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest

from benchmarks.serving_process import wait_until
from ernie_inference.errors import InputError
from ernie_serving.access import Tls
from ernie_serving.client import Client, RequestError
from ernie_serving.entrance import check_entrance, monitor_tls
from ernie_serving.http_connection import LingeringTransport
from ernie_serving.tls import Certificates, certificates_of
from tests.support.fronts import running_front
from tests.support.rpc import Authority, ToyServer, health, openssl
from tests.support.services import toy_config, toy_predictor

TEXTS = ["好", "坏坏"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder):
    return Authority(folder)


@pytest.fixture(scope="module")
def other(folder):
    return Authority(folder, "other")


@pytest.fixture(scope="module")
def pair(authority):
    return authority.sign("server")


def options_of(pair, client_ca=""):
    return {"tls_cert": str(pair[0]), "tls_key": str(pair[1]), "tls_client_ca": str(client_ca)}


def answers(server: ToyServer, tls: Tls, **options) -> bool:
    client = server.client(tls=tls, timeout=10, **options)
    try:
        return client.predict(TEXTS) == toy_predictor(0).predict(TEXTS)
    finally:
        client.close()


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


class TlsServer(HTTPServer):
    """One connection at a time, each encrypted by the context."""

    def __init__(self, context: ssl.SSLContext):
        super().__init__(("127.0.0.1", 0), Pages)
        self.context = context

    def get_request(self):
        connection, address = super().get_request()
        connection.settimeout(10)
        try:
            return self.context.wrap_socket(connection, server_side=True), address
        except OSError:
            connection.close()
            raise


@contextmanager
def pages(certificates: Certificates):
    """HTTP on Python's ssl; gives the port."""
    server = TlsServer(certificates.ssl_context())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def get(port: int, ca, own=None) -> bytes:
    context = ssl.create_default_context(cafile=str(ca))
    if own:
        context.load_cert_chain(*own)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def certificate_at(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(sock) as encrypted:
            return encrypted.getpeercert(binary_form=True)


def test_clients_over_tls(start, authority, other, pair, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("key\n")
    server = start(**options_of(pair), api_key_file=str(keys))
    assert answers(server, Tls(root=authority.certificate), api_key="key")
    with pytest.raises(RequestError):
        answers(server, Tls(root=authority.certificate), api_key="wrong")
    with pytest.raises(RequestError):
        answers(server, Tls(root=other.certificate), api_key="key")
    with pytest.raises(RequestError):  # not encrypted
        server.client(timeout=3, api_key="key").predict(TEXTS)
    assert server.requests == 1


def test_a_client_of_several_endpoints_over_tls(start, authority, other, pair, tmp_path):
    """They take turns; one that shows no certificate of the authority is never sent anything, nor is one that ends."""
    keys = tmp_path / "keys"
    keys.write_text("key\n")
    servers = [start(**options_of(own), api_key_file=str(keys)) for own in (pair, pair, other.sign("stranger"))]
    endpoints = [server.address for server in servers]
    client = Client(endpoints, timeout=30, api_key="key", tls=Tls(root=authority.certificate))
    expected = toy_predictor(0).predict(TEXTS)
    wait_until(lambda: client.predict(TEXTS) == expected and min(server.requests for server in servers[:2]) > 3, 60)
    servers[0].stop()
    before = servers[1].requests
    assert [client.predict(TEXTS) for _ in range(5)] == [expected] * 5
    assert servers[1].requests == before + 5 and servers[2].requests == 0
    client.close()


def test_clients_with_certificates(start, authority, other, pair):
    server = start(**options_of(pair, authority.certificate))
    certificate, key = authority.sign("client")
    assert answers(server, Tls(authority.certificate, certificate, key))
    for own in ((None, None), other.sign("stranger")):
        with pytest.raises(RequestError):
            answers(server, Tls(authority.certificate, *own))
    assert server.requests == 1


def test_http_over_tls(authority, other, pair):
    with pages(Certificates(*pair)) as port:
        assert get(port, authority.certificate) == b"ok"
        with pytest.raises(ssl.SSLError):
            get(port, other.certificate)
    with pages(Certificates(*pair, authority.certificate)) as port:
        assert get(port, authority.certificate, authority.sign("client")) == b"ok"
        for own in (None, other.sign("stranger")):
            with pytest.raises(OSError):
                get(port, authority.certificate, own)


def test_tls_is_1_2_or_later(start, pair):
    server = start(**options_of(pair))
    with pages(Certificates(*pair)) as http_port:
        for port in (http_port, int(server.address.rpartition(":")[2])):
            for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.set_ciphers("ALL:@SECLEVEL=0")  # or this side would not try
                context.set_alpn_protocols(["h2", "http/1.1"])
                context.minimum_version = context.maximum_version = version
                with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                    if version == ssl.TLSVersion.TLSv1_2:
                        context.wrap_socket(sock).close()
                    else:
                        with pytest.raises(OSError):
                            context.wrap_socket(sock)


def test_renewed_certificates_are_used(start, folder, authority, other, pair, tmp_path):
    """Also those of another authority, and that of clients."""
    served = [tmp_path / name for name in ("server.pem", "server.key", "clients.pem")]
    for source, target in zip((*pair, authority.certificate), served):
        shutil.copy(source, target)
    server = start(**options_of(served[:2], served[2]))
    client, stranger = authority.sign("client"), other.sign("stranger")
    with pages(Certificates(*served)) as port:
        assert answers(server, Tls(authority.certificate, *client))
        assert get(port, authority.certificate, client) == b"ok"
        first = certificate_at_rpc(server)
        renewed = other.sign("renewed")
        shutil.copy(renewed[0], served[0])  # a certificate without its key: what was there before is used
        assert certificate_at_rpc(server) == first
        assert get(port, authority.certificate, client) == b"ok"
        shutil.copy(renewed[1], served[1])
        shutil.copy(other.certificate, served[2])
        assert certificate_at_rpc(server) != first
        assert answers(server, Tls(other.certificate, *stranger))
        assert get(port, other.certificate, stranger) == b"ok"
        with pytest.raises(OSError):
            get(port, other.certificate, client)
        with pytest.raises(RequestError):
            answers(server, Tls(other.certificate, *client))


def certificate_at_rpc(server: ToyServer) -> str:
    return ssl.get_server_certificate(("127.0.0.1", int(server.address.rpartition(":")[2])))


def test_health_over_tls(start, authority, pair):
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    assert health(start(**options_of(pair)).address, credentials=credentials) == 1


def test_files_that_cannot_be_used(authority, other, pair, tmp_path):
    certificate, key = map(str, pair)
    not_pem, encrypted, missing = tmp_path / "not.pem", tmp_path / "encrypted.key", str(tmp_path / "missing")
    broken = tmp_path / "broken.pem"
    not_pem.write_text("hello")
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", encrypted, cwd=tmp_path)
    for options, message in (
        ((certificate, "", ""), "tls_cert and tls_key belong together"),
        (("", key, ""), "tls_cert and tls_key belong together"),
        (("", "", certificate), "tls_client_ca needs TLS"),
        ((missing, key, ""), "missing cannot be read"),
        ((certificate, missing, ""), "missing cannot be read"),
        ((certificate, key, missing), "missing cannot be read"),
        ((certificate, key, str(tmp_path)), "cannot be read"),
        ((str(not_pem), key, ""), "not.pem is not PEM"),
        ((str(broken), key, ""), "are no certificate and key"),
        ((key, certificate, ""), "are no certificate and key"),
        ((certificate, str(other.sign("another")[1]), ""), "another.key is not the key of the certificate"),
        ((certificate, str(encrypted), ""), "encrypted.key is encrypted"),
        ((certificate, key, str(broken)), "broken.pem has no certificate"),
        ((certificate, key, key), "has no certificate"),
    ):
        with pytest.raises(InputError, match=message) as error:
            certificates_of(*options)
        assert "\n" not in str(error.value)
        with pytest.raises(InputError, match=message):
            check_entrance(toy_config(tls_cert=options[0], tls_key=options[1], tls_client_ca=options[2]))
        tls = Tls(*(Path(file) if file else None for file in (options[2], options[0], options[1])))
        if "tls_" not in message:  # a client's own files are looked at likewise
            with pytest.raises(InputError, match=message):
                tls.credentials()
    assert certificates_of("", "", "") is None
    assert monitor_tls(toy_config(tls_cert=certificate, tls_key=key)) is None
    with pytest.raises(InputError, match="monitor_tls needs a certificate: give tls_cert and tls_key too"):
        monitor_tls(toy_config(monitor_tls=True))


def test_clients_that_never_agree_on_encryption_keep_nobody_out(authority, pair):
    with running_front(max_connections=4, **options_of(pair)) as front:
        silent = [front.connect() for _ in range(8)]
        context = ssl.create_default_context(cafile=str(authority.certificate))
        for _ in range(3):
            connection = http.client.HTTPSConnection(*front.address, context=context, timeout=30)
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200
            connection.close()
        for each in silent:
            each.close()


def test_an_encrypted_connection_in_the_moment_of_its_loss(authority, pair):
    seen = []

    class Lost(asyncio.Protocol):
        def connection_made(self, transport):
            self.lingering = LingeringTransport(transport, lambda: True)
            transport.abort()
            asyncio.get_running_loop().call_soon(self.look)  # after the loss, before connection_lost() says so

        def look(self):
            self.lingering.pause_reading()
            self.lingering.resume_reading()
            self.lingering.close()
            seen.append(self.lingering.get_write_buffer_size())

        def connection_lost(self, exc):
            seen.append("lost")

    async def lose_one() -> None:
        context = certificates_of(*map(str, pair), "").ssl_context()
        server = await asyncio.get_running_loop().create_server(Lost, "127.0.0.1", 0, ssl=context)
        context = ssl.create_default_context(cafile=str(authority.certificate))
        with suppress(OSError):
            await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=context, server_hostname="localhost")
        while len(seen) < 2:
            await asyncio.sleep(0.01)
        server.close()

    asyncio.run(asyncio.wait_for(lose_one(), 30))
    assert seen == [0, "lost"]
