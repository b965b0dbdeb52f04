"""How a client gets in: TLS, its own certificate, and the API key, which are read from files or the environment."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import grpc

from ernie_inference.errors import InputError
from ernie_inference.text_files import read_text
from ernie_serving.protocol import is_word

KEY_VARIABLE = "ERNIE_API_KEY"  # of the environment, where no file is named


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
            InputError: a file cannot be read or is not PEM, or a certificate stands there without its key.
        """
        if bool(self.certificate) != bool(self.key):
            raise InputError("a client's certificate and its key belong together: give both or neither")
        return grpc.ssl_channel_credentials(read_pem(self.root), read_pem(self.key), read_pem(self.certificate))


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


def read_api_key(file: Optional[Union[str, Path]] = None) -> Optional[str]:
    """The API key: the first line of a file, or what the environment has under KEY_VARIABLE; None where there is none.

    Raises:
        InputError: the file cannot be read, or what is there cannot be a key.
    """
    where = str(file) if file else KEY_VARIABLE
    try:
        text = read_text(file) if file else os.environ.get(KEY_VARIABLE, "")
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): check the path and its permissions") from None
    lines = text.strip().split("\n") if file else [text]
    key = lines[0].strip()
    if file and not key:
        raise InputError(f"{file} is empty: write the API key there")
    if not is_word(key):
        raise InputError(f"{where} holds no API key: one is a single line of ASCII without spaces")
    return key or None
