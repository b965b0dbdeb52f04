"""The options of a service and of its models: from a config file, seq_cls_config.yml and its like, and from flags,
which beat it.

An option is a field of ModelConfig or of ServiceConfig, and has its place in options.yml; flags, config files, checks
and what a worker is told all follow from that.
"""

import argparse
import difflib
import math
import re
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
MODELS = "models"  # of a config file: the models by name, with their options
MODEL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
PORTS = ("rpc_port", "http_port", "monitor_port")
MOST_ALIASES = 16  # of YAML in a config file
DAY = 24 * 60 * 60 * 1000  # milliseconds
MANY = 1 << 30  # of bytes, characters and the like
GRACE_SECONDS = 10.0  # beside the time limit of a request


def config_file(task_name: str) -> Path:
    """The config file of a task, beside the commands."""
    return FOLDER / f"{task_name}_config.yml"


def option(meaning: str, default: Any = MISSING, least: Optional[float] = None, most: Optional[float] = None) -> Any:
    return field(default=default, metadata={"help": meaning, "least": least, "most": most})


@dataclass
class ModelConfig:
    """How one model is served, and the defaults. options.yml explains each option at length.

    Raises:
        InputError: a value is out of its range, or two do not go together.
    """

    model_dir: str = option("folder that model_to_serving.py wrote")
    engine: str = option(f"{', '.join(ENGINES)}, or {AUTO}: the fastest one that is installed", PADDLE)
    device: str = option("cpu or gpu", "cpu")
    device_id: int = option("number of the GPU", 0, least=0, most=1023)
    use_trt: bool = option("TensorRT, on a GPU", False)
    precision: str = option("fp32, int8, bf16 (cpu) or fp16 (gpu)", "fp32")
    thread_num: Optional[int] = option("processor threads of one model run; default: all", None, least=1, most=1024)
    max_seq_length: Optional[int] = option("tokens of one window; default: as trained", None, least=1, most=65536)
    concurrency: int = option("model runs at the same time in one worker", 1, least=1, most=256)
    batch_size: int = option("windows computed at once", 32, least=1, most=4096)
    few_shapes: bool = option("run inputs in few shapes, so that memory is bounded", True)
    auto_batching: bool = option("compute windows of several requests together", True)
    auto_batching_timeout: float = option("milliseconds to wait for a batch to fill", 0.0, least=0, most=DAY)
    queue_size: int = option("requests in one worker, waiting or computed; more are refused", 256, least=1, most=10_000)
    timeout: int = option("milliseconds from a request to its answer, at the most", 10_000, least=1, most=DAY)
    max_texts: int = option("texts of a request", 64, least=1, most=MANY)
    max_chars: int = option("characters of a text", 10_000, least=1, most=MANY)
    max_request_chars: int = option("characters of a request, all its texts together", 200_000, least=1, most=MANY)
    max_windows: int = option("windows of a request", 256, least=1, most=MANY)

    def __post_init__(self):
        check_ranges(self)
        if self.engine not in ENGINE_NAMES:
            raise InputError(f"engine is {self.engine!r}: give one of {', '.join(ENGINE_NAMES)}")
        if self.auto_batching_timeout > self.timeout:
            raise InputError(
                f"auto_batching_timeout is {self.auto_batching_timeout:g} and timeout {self.timeout}: "
                "batches would wait for longer than requests do"
            )


@dataclass
class ServiceConfig:
    """A service: its models, and what they have in common. options.yml explains each option at length.

    Attributes:
        models: one or more, by name: letters, digits, "-", "_" and ".", 64 at the most, no "." first.

    Raises:
        InputError: a value is out of its range, or two do not go together.
    """

    models: Dict[str, ModelConfig]
    host: str = option("address to listen at; 0.0.0.0 is every interface", "127.0.0.1")
    rpc_port: int = option("gRPC port; 0: a free one", 0, least=0, most=65535)
    http_port: int = option("HTTP port; 0: a free one, -1: no HTTP", 0, least=-1, most=65535)
    monitor_host: str = option("address of the monitor; default: that of host", "")
    monitor_port: int = option("HTTP port of health and metrics; 0: a free one, -1: none", 0, least=-1, most=65535)
    replicas: int = option("worker processes, each with its own models", 1, least=1, most=256)
    receive_timeout: int = option("milliseconds for a whole request to come", 30_000, least=1, most=DAY)
    keep_alive: int = option("milliseconds to keep an HTTP connection between requests", 75_000, least=1, most=DAY)
    max_request_bytes: int = option("bytes of a request", 1 << 20, least=1, most=MANY)
    max_connections: int = option("connections of one worker, over HTTP and gRPC each", 512, least=1, most=1 << 20)
    pre_stop_delay: int = option("milliseconds to be not ready, yet answer, before it stops", 0, least=0, most=DAY)
    drain_timeout: Optional[int] = option(
        "milliseconds for accepted requests when it stops; default: timeout and 10 s", None, least=0, most=DAY
    )
    tls_cert: str = option("PEM file of the server's certificate, for TLS; empty: none", "")
    tls_key: str = option("PEM file of its key", "")
    tls_client_ca: str = option("PEM file of authorities; clients need a certificate of one of them", "")
    monitor_tls: bool = option("TLS for the monitor too, with the same certificate", False)
    api_key_file: str = option("file of API keys, one a line; default: the variable ERNIE_API_KEY, if it is set", "")
    request_log: str = option("file for a JSON line of each request; -: stderr, empty: none", "")
    request_log_texts: bool = option("write what clients sent to it too", False)

    def __post_init__(self):
        check_ranges(self)
        if not self.models:
            raise InputError("there are no models: name one or more")
        for name in self.models:
            check_name(name)
        ports = [port for port in (getattr(self, name) for name in PORTS) if port > 0]
        if len(set(ports)) != len(ports):
            raise InputError(f"{', '.join(PORTS[:2])} and {PORTS[2]} are not three different ports")

    @property
    def queue_size(self) -> int:
        """Requests in one worker at the same time, those of all models."""
        return sum(model.queue_size for model in self.models.values())

    @property
    def drain_seconds(self) -> float:
        """How long accepted requests have when the service stops."""
        if self.drain_timeout is not None:
            return self.drain_timeout / 1000
        return max(model.timeout for model in self.models.values()) / 1000 + GRACE_SECONDS

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Dict[str, Any]) -> "ServiceConfig":
        """The config that as_dict gave."""
        models = {name: ModelConfig(**options) for name, options in content[MODELS].items()}
        return cls(**{**content, MODELS: models})


def check_ranges(config: Any) -> None:
    """Raises InputError where a number is not between the bounds of its option."""
    for each in options_of(type(config)):
        value, least, most = getattr(config, each.name), each.metadata["least"], each.metadata["most"]
        if least is None or value is None:
            continue
        if not (value >= least and (type(value) is int or math.isfinite(value))):  # NaN is not, either
            raise InputError(f"{each.name} is {shown(value)}: give a number from {least} on")
        if value > most:
            raise InputError(f"{each.name} is {shown(value)}: give a number up to {most}")


def check_name(name: Any) -> None:
    """Raises InputError where this cannot be the name of a model."""
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
        raise InputError(
            f"model name {shown(name)}: take letters, digits, - _ and ., 64 at the most, "
            "with no . first (and quotes around a number)"
        )


def shown(value: Any) -> str:
    """A value of a config file, in a message. What holds others is not written out: with YAML's aliases, a few lines
    can stand for more than fits into memory."""
    if isinstance(value, (dict, list, set, tuple)):
        return f"a {type(value).__name__}"
    if type(value) is int and value.bit_length() > 256:  # Python writes no longer one than of 4300 digits
        return "a number of very many digits"
    text = repr(value[:81] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 83 else text[:30] + "..."


def options_of(config: type) -> List:
    """The fields that are options."""
    return [each for each in fields(config) if each.metadata]


KINDS = {ModelConfig: get_type_hints(ModelConfig), ServiceConfig: get_type_hints(ServiceConfig)}
MODEL_OPTIONS = [each.name for each in options_of(ModelConfig)]
SERVICE_OPTIONS = [each.name for each in options_of(ServiceConfig)]


def kind_of(name: str) -> type:
    """The type of an option's value: int for Optional[int]."""
    hint = KINDS[ModelConfig if name in MODEL_OPTIONS else ServiceConfig][name]
    return next((kind for kind in get_args(hint) if kind is not type(None)), hint)


def parse_config(
    default_file: Optional[Path],
    description: Optional[str],
    argv: Optional[List[str]] = None,
    name: Optional[str] = None,
) -> ServiceConfig:
    """The options from the command line, the config file and the defaults, in that order.

    What a model has for itself in the file, beats a flag, which is for all that have not.

    Args:
        default_file: the config file where none is named; None: one has to be.
        name: of the only model, whose options stand at the top of the file. Without it, the file names the models.

    Raises:
        InputError: a flag, or the file, or a value is wrong.
    """
    parser = Parser(description=description)
    where = {"required": True} if default_file is None else {"default": str(default_file)}
    parser.add_argument("--config", help="config file" if default_file is None else "default: %(default)s", **where)
    for each in (*options_of(ModelConfig), *options_of(ServiceConfig)):
        kind = kind_of(each.name)
        parser.add_argument(
            f"--{each.name}",
            type=parse_bool if kind is bool else kind,
            metavar=kind.__name__.upper(),
            default=argparse.SUPPRESS,
            help=each.metadata["help"],
        )
    flags = vars(parser.parse_args(argv))
    path = Path(flags.pop("config"))
    content = read_config(path)
    models = content.pop(MODELS, None)
    given = {**content, **flags}
    for_all = {option: value for option, value in given.items() if option in MODEL_OPTIONS}
    of_service = {option: value for option, value in given.items() if option in SERVICE_OPTIONS}
    if name is not None:
        if models is not None:
            raise InputError(f"{path} names models: start it with deploy/serving/service.py")
        if "model_dir" not in for_all:
            raise InputError("model_dir is missing: give it in the config file or with --model_dir")
        return ServiceConfig({name: ModelConfig(**for_all)}, **of_service)
    if not models:
        raise InputError(f"{path} names no models: write them as models: and, indented, name: with their options")
    return ServiceConfig({each: model_of(each, {**for_all, **own}) for each, own in models.items()}, **of_service)


def model_of(name: str, options: Dict[str, Any]) -> ModelConfig:
    """One of several models.

    Raises:
        InputError: an option is missing or out of its range; the message names the model.
    """
    if "model_dir" not in options:
        raise InputError(f"model {name} has no model_dir: give it in the config file")
    try:
        return ModelConfig(**options)
    except InputError as error:
        raise InputError(f"model {name}: {error}") from None


def read_config(path: Path) -> Dict[str, Any]:
    """The options of a config file; under "models", where it is there, those of each model by its name. One without a
    value, or with null, has its default.

    Raises:
        InputError: the file cannot be read, or holds something that is no option or not of its kind.
    """
    import yaml

    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give another --config") from None
    try:
        aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader))
        if aliases > MOST_ALIASES:  # each can double what there is, and merge keys (<<) copy it
            raise InputError(f"{path} has {aliases} aliases (*name), the limit is {MOST_ALIASES}: write values out")
        content = yaml.safe_load(text)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no options: write them as name: value")
    models = content.pop(MODELS, None)
    options = read_options(content, [*MODEL_OPTIONS, *SERVICE_OPTIONS, MODELS], str(path))
    if models is None:
        return options
    if not isinstance(models, dict):
        raise InputError(f"{path}: {MODELS} is no list of names: write each model as name: with its options")
    options[MODELS] = {}
    for name, own in models.items():
        check_name(name)
        where = f"{path}, model {name}"
        if own is not None and not isinstance(own, dict):
            raise InputError(f"{where}: {shown(own)} are no options: write them as name: value")
        options[MODELS][name] = read_options(own or {}, MODEL_OPTIONS, where)
    return options


def read_options(content: Dict[Any, Any], names: List[str], where: str) -> Dict[str, Any]:
    """Options by their names, without those that have no value.

    Raises:
        InputError: one is none of `names`, or its value is not of its kind.
    """
    options = {}
    for name, value in content.items():
        if name not in names:
            if name in SERVICE_OPTIONS:
                raise InputError(f"{where}: {name} is for the whole service: write it at the top of the file")
            near = difflib.get_close_matches(name[:80], names, n=1) if isinstance(name, str) else []
            raise InputError(f"{where}: no option {shown(name)}{f', did you mean {near[0]}' if near else ''}")
        if value is None:
            continue
        kind = kind_of(name)
        if kind is float and type(value) is int and abs(value) <= MANY:
            value = float(value)
        if type(value) is not kind:
            raise InputError(f"{where}: {name} is {shown(value)}, which is no {kind.__name__}")
        options[name] = value
    return options


def parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
