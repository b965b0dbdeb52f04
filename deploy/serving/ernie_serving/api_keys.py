"""The API keys that a service asks for: `Authorization: Bearer KEY`, as HTTP header and as metadata of gRPC."""

import hmac
import os
from hashlib import sha256
from pathlib import Path
from typing import List, Optional

from ernie_inference.errors import InputError
from ernie_inference.text_files import read_text
from ernie_serving.access import KEY_VARIABLE, LONGEST_KEY, is_key
from ernie_serving.watched_files import WatchedFiles

AUTHORIZATION = "authorization"  # the header, or the key of the metadata
SCHEME = "bearer"


class ApiKeys:
    """The keys of a file, or the one of the environment (ERNIE_API_KEY). Any of them opens.

    A file is read again when it changes: a new key is added, clients are told, the old one is taken out.

    Args:
        file: one key a line; empty: the environment.

    Raises:
        InputError: the file cannot be read or has no key, or what is there cannot be a key.
    """

    def __init__(self, file: str = ""):
        self._watched: Optional[WatchedFiles[List[bytes]]] = None
        if file:
            self._watched = WatchedFiles([Path(file)], lambda: read_keys(Path(file)))
        self._of_environment = [] if file else digests(os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE)

    @property
    def required(self) -> bool:
        """Whether requests need a key at all."""
        return self._watched is not None or bool(self._of_environment)

    def check(self, authorization: Optional[str]) -> bool:
        """Whether a request may be answered.

        Args:
            authorization: the value of the header or of the metadata, as the client sent it; None where it sent none.
        """
        if not self.required:
            return True
        scheme, _, key = (authorization or "").strip().partition(" ")
        key = key.strip()
        if scheme.lower() != SCHEME or not is_key(key):
            return False
        # The time says nothing of the keys: digests are compared, all of them, each to its end.
        given = digest(key)
        valid = self._watched.content if self._watched is not None else self._of_environment
        return sum(hmac.compare_digest(given, each) for each in valid) > 0


def digest(key: str) -> bytes:
    return sha256(key.encode("ascii")).digest()


def digests(text: str, where: str) -> List[bytes]:
    """The digests of keys, one a line; empty lines are none.

    Raises:
        InputError: a line is no key. The message does not have it.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        key = line.strip()
        if key and not is_key(key):
            raise InputError(
                f"{where}, line {number}, is no API key: one is a single line of ASCII without spaces, of "
                f"{LONGEST_KEY} characters at the most"
            )
        if key:
            found.append(digest(key))
    return found


def read_keys(file: Path) -> List[bytes]:
    """The digests of the keys of a file.

    Raises:
        InputError: it cannot be read, has no key, or something else.
    """
    try:
        text = read_text(file)
    except OSError as error:
        raise InputError(f"api_key_file {file} cannot be read ({error.strerror}): check path and permissions") from None
    found = digests(text, f"api_key_file {file}")
    if not found:
        raise InputError(f"api_key_file {file} has no key: write one a line")
    return found
