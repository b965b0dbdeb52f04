"""The id of a request, by which clients, proxies and logs speak of the same one: x-request-id, in and out."""

import uuid
from typing import Optional

from ernie_inference.errors import InputError
from ernie_serving.protocol import is_word, shown

REQUEST_ID = "x-request-id"  # the HTTP header, or the key of gRPC's metadata
LONGEST_ID = 128


def check_request_id(given: str) -> None:
    """Raises InputError where this cannot be the id of a request: a service would put another in its place."""
    if not 0 < len(given) <= LONGEST_ID or not is_word(given):
        raise InputError(
            f"request_id {shown(given)} ({len(given)} characters) is none: give up to {LONGEST_ID} printable ASCII "
            "characters without spaces, the number that is put after it included"
        )


def request_id(given: Optional[str]) -> str:
    """The id that a client gave, where it is one: up to 128 printable characters of ASCII without spaces. Else a new
    one: what else a client sends is neither sent back nor written anywhere."""
    if given and len(given) <= LONGEST_ID and is_word(given):
        return given
    return uuid.uuid4().hex
