"""The server's side of TLS, for gRPC and for HTTP alike. access.py is the client's."""

import ssl
from pathlib import Path
from typing import List, NamedTuple, Optional

import grpc

from ernie_inference.errors import InputError
from ernie_serving.access import load_authorities, load_own, read_pem
from ernie_serving.watched_files import WatchedFiles


class Loaded(NamedTuple):
    """The same certificate for both: gRPC has a TLS library of its own."""

    rpc: grpc.ServerCertificateConfiguration
    context: ssl.SSLContext


class Certificates:
    """A server's certificate with its key, and the authorities whose clients may ask, from PEM files.

    All of them may be renewed while the service runs: the next connection has what the files say then. Files that do
    not fit together (one is written before the other) are left alone until they do. TLS 1.2 and 1.3 are spoken; gRPC
    (BoringSSL) has no older ones unless asked to.

    Args:
        certificate: with the certificates between it and an authority.
        key: of the certificate, not encrypted.
        client_ca: authorities. With it, a client needs a certificate of one of them (mutual TLS).

    Raises:
        InputError: a file cannot be read or is not what it should be, or the key is another certificate's.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Optional[Path] = None):
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        files: List[Path] = [file for file in (certificate, key, client_ca) if file is not None]
        self._watched = WatchedFiles(files, self._load)

    def rpc_credentials(self) -> grpc.ServerCredentials:
        """For gRPC's add_secure_port."""
        current = self._watched.content.rpc

        def renewed() -> Optional[grpc.ServerCertificateConfiguration]:
            """gRPC asks this for every connection; None: as before."""
            nonlocal current
            before, current = current, self._watched.content.rpc
            return None if current is before else current

        return grpc.dynamic_ssl_server_credentials(current, renewed, self._client_ca is not None)

    def ssl_context(self) -> ssl.SSLContext:
        """For HTTP/1.1 servers on Python's ssl."""
        return self._watched.content.context

    def _renew(self, connection: ssl.SSLObject, server_name: Optional[str], context: ssl.SSLContext) -> None:
        connection.context = self._watched.content.context

    def _load(self) -> Loaded:
        certificate, key = read_pem(self._certificate), read_pem(self._key)
        client_ca = read_pem(self._client_ca)
        context = self._new_context()
        rpc = grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)
        return Loaded(rpc, context)

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        # OpenSSL calls it for every connection, also where the client names no server.
        context.sni_callback = self._renew
        load_own(context, self._certificate, self._key)
        if self._client_ca is not None:
            load_authorities(context, self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def certificates_of(tls_cert: str, tls_key: str, tls_client_ca: str) -> Optional[Certificates]:
    """What the options of these names say; None where there is no TLS.

    Raises:
        InputError: one stands there without another that it needs, or see Certificates.
    """
    if bool(tls_cert) != bool(tls_key):
        raise InputError("tls_cert and tls_key belong together: give both or neither")
    if not tls_cert:
        if tls_client_ca:
            raise InputError("tls_client_ca needs TLS: give tls_cert and tls_key too")
        return None
    return Certificates(Path(tls_cert), Path(tls_key), Path(tls_client_ca) if tls_client_ca else None)
