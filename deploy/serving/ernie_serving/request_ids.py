"""The id of a request, by which clients, proxies and logs speak of the same one: x-request-id, in and out."""

import uuid
from itertools import count
from typing import Iterator, Optional

from ernie_inference.errors import InputError
from ernie_serving.protocol import is_word, shown

REQUEST_ID = "x-request-id"  # the HTTP header, or the key of gRPC's metadata
LONGEST_ID = 128
ROOM_FOR_NUMBERS = 12


def check_request_id(given: str, longest: int = LONGEST_ID) -> None:
    """Raises InputError where this cannot be the id of a request: a service would put another in its place."""
    if not 0 < len(given) <= longest or not is_word(given):
        raise InputError(
            f"request_id {shown(given)!r} is none: give up to {longest} printable ASCII characters without spaces"
        )


def numbered(given: str) -> Iterator[str]:
    """Ids of many requests, made of one: ID-1, ID-2 ...

    Raises:
        InputError: it cannot be one, or leaves no room for the numbers.
    """
    check_request_id(given, LONGEST_ID - ROOM_FOR_NUMBERS)
    return (f"{given}-{number}" for number in count(1))


def request_id(given: Optional[str]) -> str:
    """The id that a client gave, where it is one: up to 128 printable characters of ASCII without spaces. Else a new
    one: what else a client sends is neither sent back nor written anywhere."""
    if given and len(given) <= LONGEST_ID and is_word(given):
        return given
    return uuid.uuid4().hex
