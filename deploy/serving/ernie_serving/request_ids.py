"""The id of a request, by which clients, proxies and logs speak of the same one: x-request-id, in and out."""

import uuid
from typing import Optional

from ernie_serving.protocol import is_word

REQUEST_ID = "x-request-id"  # the HTTP header, or the key of gRPC's metadata
LONGEST_ID = 128


def request_id(given: Optional[str]) -> str:
    """The id that a client gave, where it is one: up to 128 printable characters of ASCII without spaces. Else a new
    one: what else a client sends is neither sent back nor written anywhere."""
    if given and len(given) <= LONGEST_ID and is_word(given):
        return given
    return uuid.uuid4().hex
