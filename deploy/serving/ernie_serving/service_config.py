"""The options of a service: from a config file, seq_cls_config.yml and its like, and from flags, which beat it."""

import argparse
import difflib
import math
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, List, Optional, get_args, get_type_hints

from ernie_inference.console import Parser
from ernie_inference.engine_choice import AUTO, ENGINES
from ernie_inference.engines.backends import PADDLE
from ernie_inference.errors import InputError
from ernie_inference.text_files import read_text

FOLDER = Path(__file__).resolve().parents[1]
ENGINE_NAMES = (*ENGINES, AUTO)


def config_file(task_name: str) -> Path:
    """The config file of a task, beside the commands."""
    return FOLDER / f"{task_name}_config.yml"


def option(meaning: str, default: Any = MISSING, least: Optional[float] = None) -> Any:
    return field(default=default, metadata={"help": meaning, "least": least})


@dataclass
class ServiceConfig:
    """All that can be set, and the defaults. options.yml explains each option at length."""

    model_dir: str = option("folder that model_to_serving.py wrote")
    host: str = option("address to listen at; 0.0.0.0 is every interface", "127.0.0.1")
    rpc_port: int = option("gRPC port; 0: a free one", 0, least=0)
    http_port: int = option("HTTP port; 0: a free one, -1: no HTTP", 0, least=-1)
    monitor_port: int = option("HTTP port of health and metrics; 0: a free one, -1: none", 0, least=-1)
    engine: str = option(f"{', '.join(ENGINES)}, or {AUTO}: the fastest one that is installed", PADDLE)
    device: str = option("cpu or gpu", "cpu")
    device_id: int = option("number of the GPU", 0, least=0)
    use_trt: bool = option("TensorRT, on a GPU", False)
    precision: str = option("fp32, int8, bf16 (cpu) or fp16 (gpu)", "fp32")
    thread_num: Optional[int] = option("processor threads of one model run; default: all", None, least=1)
    max_seq_length: Optional[int] = option("tokens of one window; default: as trained", None, least=1)
    concurrency: int = option("model runs at the same time in one worker", 1, least=1)
    replicas: int = option("worker processes, each with its own model", 1, least=1)
    batch_size: int = option("windows computed at once", 32, least=1)
    few_shapes: bool = option("run inputs in few shapes, so that memory is bounded", True)
    auto_batching: bool = option("compute windows of several requests together", True)
    auto_batching_timeout: float = option("milliseconds to wait for a batch to fill", 0.0, least=0)
    queue_size: int = option("requests in one worker, waiting or computed; more are refused", 256, least=1)
    timeout: int = option("milliseconds from a request to its answer, at the most", 10_000, least=1)
    max_request_bytes: int = option("bytes of a request", 1 << 20, least=1)
    max_texts: int = option("texts of a request", 64, least=1)
    max_chars: int = option("characters of a text", 10_000, least=1)
    max_request_chars: int = option("characters of a request, all its texts together", 200_000, least=1)
    max_windows: int = option("windows of a request", 256, least=1)
    max_connections: int = option("connections of one worker, over HTTP and over gRPC each", 512, least=1)
    receive_timeout: int = option("milliseconds in which a whole request has to come", 30_000, least=1)
    tls_cert: str = option("PEM file of the server's certificate, for TLS; empty: none", "")
    tls_key: str = option("PEM file of its key", "")
    tls_client_ca: str = option("PEM file of authorities; clients need a certificate of one of them", "")
    api_key_file: str = option("file of API keys, one a line; default: the variable ERNIE_API_KEY, if it is set", "")
    request_log: str = option("file for a JSON line of each request; -: stderr, empty: none", "")
    request_log_texts: bool = option("write what clients sent to it too", False)

    def __post_init__(self):
        for each in fields(self):
            value, least = getattr(self, each.name), each.metadata["least"]
            if least is not None and value is not None and not (math.isfinite(value) and value >= least):
                raise InputError(f"{each.name} is {value}: give a number from {least} on")
        if self.engine not in ENGINE_NAMES:
            raise InputError(f"engine is {self.engine!r}: give one of {', '.join(ENGINE_NAMES)}")
        for name in ("rpc_port", "http_port", "monitor_port"):
            if getattr(self, name) > 65535:
                raise InputError(f"{name} is {getattr(self, name)}: give a number up to 65535")
        ports = [port for port in (self.rpc_port, self.http_port, self.monitor_port) if port > 0]
        if len(set(ports)) != len(ports):
            raise InputError("rpc_port, http_port and monitor_port are not three different ports")

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self)


TYPES = get_type_hints(ServiceConfig)


def kind_of(name: str) -> type:
    """The type of an option's value: int for Optional[int]."""
    return next((kind for kind in get_args(TYPES[name]) if kind is not type(None)), TYPES[name])


def parse_config(default_file: Path, description: Optional[str], argv: Optional[List[str]] = None) -> ServiceConfig:
    """The options from the command line, the config file and the defaults, in that order.

    Raises:
        InputError: a flag, or the file, or a value is wrong.
    """
    parser = Parser(description=description)
    parser.add_argument("--config", default=str(default_file), help="default: %(default)s")
    for each in fields(ServiceConfig):
        kind = kind_of(each.name)
        parser.add_argument(
            f"--{each.name}",
            type=parse_bool if kind is bool else kind,
            metavar=kind.__name__.upper(),
            default=argparse.SUPPRESS,
            help=each.metadata["help"],
        )
    flags = vars(parser.parse_args(argv))
    settings = {**read_config(Path(flags.pop("config"))), **flags}
    if "model_dir" not in settings:
        raise InputError("model_dir is missing: give it in the config file or with --model_dir")
    return ServiceConfig(**settings)


def read_config(path: Path) -> Dict[str, Any]:
    """The options of a config file. One without a value, or with null, has its default.

    Raises:
        InputError: the file cannot be read, or holds something that is no option or not of its kind.
    """
    import yaml

    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give another --config") from None
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no options: write them as name: value")
    for name, value in content.items():
        if name not in TYPES:
            near = difflib.get_close_matches(str(name), TYPES, n=1)
            raise InputError(f"{path}: no option {name!r}{f', did you mean {near[0]}' if near else ''}")
        kind = kind_of(name)
        if kind is float and type(value) is int:
            content[name] = value = float(value)
        if value is not None and type(value) is not kind:
            raise InputError(f"{path}: {name} is {value!r}, which is no {kind.__name__}")
    return {name: value for name, value in content.items() if value is not None}


def parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
