"""How a client gets in: TLS, its own certificate, and the API key, which are read from files or the environment."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import grpc

from ernie_inference.errors import InputError
from ernie_inference.text_files import read_text
from ernie_serving.protocol import is_word, shown

KEY_VARIABLE = "ERNIE_API_KEY"  # of the environment, where no file is named
LONGEST_KEY = 1024
LONGEST_HOST = 253  # of a name (RFC 1035)


@dataclass(frozen=True)
class Tls:
    """An encrypted connection.

    Attributes:
        root: PEM file of the authorities that are trusted; None: those of gRPC.
        certificate, key: PEM files of the client's own certificate and its key, where the server asks for one.
        server_name: the name in the server's certificate, where it is not the host of the first endpoint.
    """

    root: Optional[Path] = None
    certificate: Optional[Path] = None
    key: Optional[Path] = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC.

        Raises:
            InputError: a file cannot be read or is not PEM, a certificate stands there without its key, or the server
                can have no such name.
        """
        if not is_word(self.server_name) or len(self.server_name) > LONGEST_HOST:
            raise InputError(f"server name {shown(self.server_name)} is none: give the one in the server's certificate")
        if bool(self.certificate) != bool(self.key):
            raise InputError("a client's certificate and its key belong together: give both or neither")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which says what is wrong with a file; gRPC does not
        if self.root is not None:
            load_authorities(context, self.root)
        if self.certificate is not None and self.key is not None:
            load_own(context, self.certificate, self.key)
        return grpc.ssl_channel_credentials(read_pem(self.root), read_pem(self.key), read_pem(self.certificate))


def load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Give a context the certificate that it shows, and its key, from PEM files.

    Raises:
        InputError: a file cannot be read or is not what it should be, or the key is another certificate's.
    """
    for file in (certificate, key):
        read_pem(file)
    try:
        # Without the password, which is nobody's, OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, key, password=_no_password)
    except _Encrypted:
        raise InputError(f"the key {key} is encrypted: give one that is not (openssl pkey)") from None
    except (ssl.SSLError, OSError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise InputError(f"{key} is not the key of the certificate {certificate}") from None
        raise InputError(f"{certificate} and {key} are no certificate and key ({_reason_of(error)})") from None


def load_authorities(context: ssl.SSLContext, file: Path) -> None:
    """Give a context the authorities that it trusts, from a PEM file.

    Raises:
        InputError: it cannot be read, or has no certificate.
    """
    read_pem(file)
    try:
        context.load_verify_locations(file)
    except (ssl.SSLError, OSError) as error:
        raise InputError(f"{file} has no certificate ({_reason_of(error)})") from None


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    raise _Encrypted


def _reason_of(error: OSError) -> str:
    return getattr(error, "reason", "") or error.strerror or str(error)


def read_pem(path: Optional[Path]) -> Optional[bytes]:
    """What is in a PEM file; None for none.

    Raises:
        InputError: it cannot be read, or is none.
    """
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    if b"-----BEGIN " not in content:
        raise InputError(f"{path} is not PEM: it has no line -----BEGIN ...-----")
    return content


def is_key(text: str) -> bool:
    """Whether a text can be an API key."""
    return 0 < len(text) <= LONGEST_KEY and is_word(text)


def read_api_key(file: Optional[Union[str, Path]] = None) -> Optional[str]:
    """The API key: the first one of a file, or what the environment has under KEY_VARIABLE; None where there is none.

    Args:
        file: one key a line, as a service's own file has them.

    Raises:
        InputError: the file cannot be read or is empty, or what is there cannot be a key.
    """
    where = str(file) if file else KEY_VARIABLE
    try:
        text = read_text(Path(file)) if file else os.environ.get(KEY_VARIABLE, "")
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): check the path and its permissions") from None
    keys = text.split("\n") if file else [text]
    key = next((line.strip() for line in keys if line.strip()), "")
    if not key:
        if file:
            raise InputError(f"{file} is empty: write the API key there")
        return None
    if not is_key(key):
        raise InputError(
            f"{where} holds no API key: one is a single line of ASCII without spaces, of {LONGEST_KEY} characters at "
            "the most"
        )
    return key
