"""Reads the answers of a service, which a client trusts no more than a service trusts its clients."""

import re
from typing import Any, Dict, List, Optional

import grpc

from ernie_inference.text_output import one_line
from ernie_serving.messages import load_messages
from ernie_serving.protocol import RESULTS, Code, Refusal, parse_json

MOST_BYTES = 64 << 20  # of an answer
MOST_SAID = 400  # characters of an error that are shown
PUSHBACK = "grpc-retry-pushback-ms"  # metadata of an answer: how long to wait, or below 0: do not ask again
RETRY_AFTER = "retry-after"  # likewise, in seconds, as an HTTP proxy says it
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,400}")


class BadAnswer(Exception):
    """What came is no answer of this protocol; the message says why, in a part of a line."""


def read_response(content: bytes) -> Any:
    """The pipeline Response that a message is.

    Raises:
        BadAnswer: it is none.
    """
    try:
        return load_messages().Response.FromString(content)
    except Exception:  # protobuf 3.20 has DecodeError, and others for invalid UTF-8
        raise BadAnswer("is no response of the pipeline protocol") from None


def read_results(response: Any, count: int) -> List[Dict]:
    """The results of a pipeline Response.

    Args:
        count: of the texts that were sent, each of which has one.

    Raises:
        BadAnswer: there are none, or others than those.
    """
    said = dict(zip(response.key, response.value))
    if RESULTS not in said:
        raise BadAnswer(f"has no {RESULTS}")
    try:
        results = parse_json(said[RESULTS], RESULTS)
    except Refusal as refusal:
        raise BadAnswer(f"cannot be read: {refusal.message}") from None
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise BadAnswer(f"has {RESULTS} that are no list of objects")
    if len(results) != count:
        raise BadAnswer(f"has {len(results)} {RESULTS} to {count} texts")
    return results


def wait_of(call: Any) -> Optional[float]:
    """The seconds for which an answer asks to be left alone; None where it does not say, below 0: for good."""
    said = {key: value for key, value in [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]}
    for key, seconds in ((PUSHBACK, 0.001), (RETRY_AFTER, 1.0)):
        value = said.get(key)
        if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):  # Retry-After may be a date, which nothing sends
            return float(value) * seconds
    return None


def code_of(error: grpc.RpcError) -> Code:
    """Our code for what gRPC itself says."""
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Code.TOO_LARGE if "larger than max" in (error.details() or "") else Code.BUSY
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):  # nobody here cancels: the server did
        return Code.STOPPING
    return Code.TIMEOUT if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED else Code.FAILED


def reason_of(error: grpc.RpcError) -> str:
    """What gRPC says of a call that failed, or what the server said in its place."""
    return one_line(error.details() or "", MOST_SAID) or error.code().name
