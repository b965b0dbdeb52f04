"""What clients and the service say to each other, over gRPC and over HTTP, and the most that a request may hold.

A request has the field `texts`, a JSON list of inputs in the forms that deploy/python takes, and may have `top_k`,
`threshold` and `long_texts`, which say what of the answers is wanted. Over gRPC each stands, as JSON, in the key and
value strings of Serving's pipeline protocol; over HTTP it is a key of a JSON body. The answer has `err_no`, `err_msg`
and `results`, one for each text.

Nothing that a client sent is evaluated or unpickled here: it is read by json.loads or not at all.
"""

import json
import math
import time
from dataclasses import dataclass, fields
from enum import IntEnum
from itertools import islice
from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple, Union

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.errors import InputError
from ernie_inference.tasks.base import Task, Window
from ernie_inference.text_output import to_json

TEXTS, RESULTS = "texts", "results"
MODEL, VERSION = "model", "version"  # of an answer: which model computed it
OPTIONS = tuple(field.name for field in fields(AnswerOptions))  # fields of a request beside its texts
MOST_DIGITS = 32  # of a number; Python takes quadratic time to read a long one
MOST_NUMBERS = 64  # of a request; each is read by a call of Python's, and top_k and threshold are the only ones wanted
LISTS_OF_TEXT = 3  # lists and objects of one text at the most: {"context": [...], "choices": [...]}
MOST_KEYS = 16  # of a pipeline Request, each of which is read as JSON of its own
RPC_METHOD = "/baidu.paddle_serving.pipeline_serving.PipelineService/inference"


class Code(IntEnum):
    """err_no of an answer, in the ranges of Serving's CustomExceptionCode (3000 service, 5000 input, 6000 time)."""

    OK = 0
    STOPPING = 3001
    NO_SERVICE = 3002
    BUSY = 3004
    INVALID = 5000
    TOO_LARGE = 5001
    TIMEOUT = 6000
    FAILED = 10000


HTTP_STATUS = {
    Code.OK: 200,
    Code.STOPPING: 503,
    Code.NO_SERVICE: 404,
    Code.BUSY: 503,
    Code.INVALID: 400,
    Code.TOO_LARGE: 413,
    Code.TIMEOUT: 504,
    Code.FAILED: 500,
}


class Refusal(Exception):
    """A request that gets no results: the code and the one line that its client is sent."""

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Limits:
    """The most that one request may hold (but for its bytes, which http_front.py and service.py count).

    Another limit is a field here, a check in read_request, an option in service_config.py and options.yml, and its
    place in loaded_model.py.

    Attributes:
        texts: inputs.
        chars: characters of one input, all its parts together.
        request_chars: characters of all inputs, which is what reading a request costs.
        windows: model inputs (a long text is cut into several), which is what computing it costs.
    """

    texts: int
    chars: int
    request_chars: int
    windows: int


@dataclass(frozen=True)
class Accepted:
    """A request that has been read: its inputs, ready for the model, when its client gives up (time.monotonic), and
    what of the answers it wants."""

    examples: List[Dict]
    windows: List[List[Window]]
    deadline: float
    options: AnswerOptions = PLAIN


def fields_of_rpc(request, most_texts: int) -> Dict[str, Any]:
    """The fields of a pipeline Request.

    Tensors are refused unread: paddle-serving-server 0.9.0 unpickles those of type BYTES.

    Args:
        most_texts: of a request; what holds many more values is not read.

    Raises:
        Refusal: it is no request of this protocol.
    """
    if request.tensors:
        refuse("tensors are not taken: send JSON in key and value")
    if len(request.key) != len(request.value):
        refuse(f"{len(request.key)} keys but {len(request.value)} values: give each key one value")
    if len(request.key) > MOST_KEYS:
        refuse(f"{len(request.key)} keys, and there are {1 + len(OPTIONS)}: {', '.join((TEXTS, *OPTIONS))}")
    if len(set(request.key)) != len(request.key):
        refuse("a key is there twice")
    return {
        key: parse_json(value, f"the value of {shown(key)}", most_texts)
        for key, value in zip(request.key, request.value)
    }


def fields_of_http(body: bytes, most_texts: int) -> Dict[str, Any]:
    """The fields of an HTTP body: {"texts": [...]}, or {"key": [...], "value": [...]} as for Serving's own gateway.

    Args:
        most_texts: as of fields_of_rpc.

    Raises:
        Refusal: it is neither.
    """
    content = parse_json(body, "the body", most_texts)
    if not isinstance(content, dict):
        refuse(f'the body is not an object: send {{"{TEXTS}": [...]}}')
    if not set(content) & {"key", "value", "tensors"}:
        return content
    return fields_of_rpc(_GatewayRequest(content), most_texts)


class _GatewayRequest:
    """A body in the form of Serving's HTTP gateway, seen as a pipeline Request."""

    def __init__(self, content: Dict):
        self.tensors = content.get("tensors")
        self.key, self.value = content.get("key", []), content.get("value", [])
        for strings in (self.key, self.value):
            if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
                refuse("key and value are not lists of strings")


def read_request(task: Task, fields: Dict[str, Any], limits: Limits, deadline: float) -> Accepted:
    """Check the fields of a request and turn its texts into model inputs.

    Raises:
        Refusal: a field is missing, unknown or out of its range, a text is not what the task takes, a limit is
            exceeded, or the client has given up meanwhile.
    """
    unknown = [key for key in fields if key not in (TEXTS, *OPTIONS)]
    if unknown or TEXTS not in fields:
        refuse(f"unknown field {shown(unknown[0])}" if unknown else f"the field {TEXTS} is missing")
    texts = fields[TEXTS]
    if not isinstance(texts, list) or not texts:
        refuse(f"{TEXTS} is not a list with at least one input")
    if len(texts) > limits.texts:
        too_large(f"{len(texts)} texts", f"{limits.texts} in one request")
    options = _or_refuse(lambda: task.answer_options(**{name: fields.get(name) for name in OPTIONS}))
    examples: List[Dict] = []
    chars = 0
    for number, given in enumerate(texts, start=1):
        example = _read_example(task, given, f"text {number}")
        size = size_of(example)
        chars += size
        if size > limits.chars:
            too_large(f"text {number} has {size} characters", f"{limits.chars}")
        if chars > limits.request_chars:
            too_large(f"text {number} brings the request to {chars} characters", f"{limits.request_chars}")
        examples.append(example)
    windows: List[List[Window]] = []
    count = 0
    for number, example in enumerate(examples, start=1):
        if time.monotonic() >= deadline:
            raise Refusal(Code.TIMEOUT, f"no time is left at text {number} of {len(examples)}: send fewer at a time")
        # One more than is allowed: a few bytes of blanks and choices can be thousands of windows, which are not made.
        windows.append(list(islice(task.windows_iter(example, options), limits.windows - count + 1)))
        count += len(windows[-1])
        if count > limits.windows:
            too_large(f"text {number} brings the request to at least {count} windows", f"{limits.windows}")
    return Accepted(examples, windows, deadline, options)


def _or_refuse(read: Callable[[], Any]) -> Any:
    """What is read, or a Refusal that says why it cannot be."""
    try:
        return read()
    except InputError as error:
        refuse(str(error))


def _read_example(task: Task, given: Any, where: str) -> Dict:
    example = _or_refuse(lambda: task.as_example(given, where))
    unknown = sorted(set(example) - set(task.input_of(example)))
    if unknown:
        refuse(f"{where} has the unknown field {shown(unknown[0])}")
    return example


def size_of(example: Dict) -> int:
    """Characters of an input; a token of a list counts as one at least, so that empty ones are not free."""
    values = [value for value in example.values() if value is not None]
    return sum(len(value) if isinstance(value, str) else sum(max(len(token), 1) for token in value) for value in values)


def parse_json(given: Union[str, bytes], where: str, most_texts: Optional[int] = None) -> Any:
    """Any JSON whose numbers are finite and of no more than MOST_DIGITS characters.

    Args:
        most_texts: of the request that it is a part of: it has no more values than they take, as to read a body of
            nothing but small ones takes long. None: it may have any number.

    Raises:
        Refusal: it is not JSON, has another number or too many values, or is nested too deeply.
    """
    most_numbers = math.inf if most_texts is None else MOST_NUMBERS
    read = 0

    def number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
        def parse(digits: str) -> Any:
            nonlocal read
            read += 1
            if read > most_numbers:  # at once: to read all of a large body would take the processor from all others
                raise ValueError(f"more than {most_numbers} numbers")
            if len(digits) > MOST_DIGITS:
                raise ValueError(f"a number of {len(digits)} characters, the limit is {MOST_DIGITS}")
            value = kind(digits)
            return value if math.isfinite(value) else _no_number(digits)

        return parse

    try:
        text = given if isinstance(given, str) else given.decode(json.detect_encoding(given), "surrogatepass")
        if most_texts is not None:
            check_lists(text, where, LISTS_OF_TEXT * most_texts + MOST_NUMBERS)
        return json.loads(text, parse_int=number(int), parse_float=number(float), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        refuse(f"{where} is not JSON ({shown(str(error), 80)})")


def check_lists(text: str, where: str, most: int) -> None:
    """Raises Refusal where JSON has more lists and objects than that. Brackets in its strings are none."""
    if text.count("[") + text.count("{") <= most:
        return
    outside = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    found = outside.count("[") + outside.count("{")
    if found > most:
        too_large(f"{where} has {found} lists and objects", str(most))  # so that a client sends less at a time


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON's")


def is_word(text: str) -> bool:
    """Whether a text can be one value of a header, of metadata or of a line: printable ASCII without spaces."""
    return text.isascii() and text.isprintable() and " " not in text


def shown(text: str, most: int = 40) -> str:
    """What a client sent, as a part of an error message: in ASCII, on one line and not too long."""
    short = text[:most] + ("..." if len(text) > most else "")
    return short.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")


def refuse(message: str) -> NoReturn:
    raise Refusal(Code.INVALID, message)


def too_large(found: str, limit: str) -> NoReturn:
    raise Refusal(Code.TOO_LARGE, f"{found}, the limit is {limit}")


def results_json(task: Task, accepted: Accepted, outputs: List[Tuple]) -> str:
    """The answers to all texts of a request as JSON, from the model's outputs for its windows, in order.

    Raises:
        InputError: the model computed NaN or infinity for one of them.
    """
    return to_json(list(task.answers(accepted.examples, accepted.windows, outputs, accepted.options))).decode("utf-8")


def http_body(code: int, message: str, results: Optional[str] = None, **others: str) -> bytes:
    """The JSON body of an HTTP answer; results are JSON already."""
    answer = to_json({"err_no": int(code), "err_msg": message, **others})
    return answer if results is None else answer[:-1] + f', "{RESULTS}": {results}}}'.encode()
