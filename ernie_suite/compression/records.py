"""What each compressed model was made from, in a record beside it that stays.

By its record a later call knows whether a model is the one that it would make, and keeps it; and the report names the
models of earlier calls which are still there as they were written, and no others.
"""

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ernie_suite.compression.subnetworks import KeptLayer
from ernie_suite.export import write_vocab
from ernie_suite.runs import DIGEST, json_digest, weights_digest, what_changed

import numpy as np

from ernie_inference.engines.onnx_files import export_onnx
from ernie_inference.engines.static_program import loaded_program
from ernie_inference.errors import InputError
from ernie_inference.files import TEMPORARY, digest_of, write_json
from ernie_inference.inference_config import INFERENCE_FILE, VOCAB_FILE
from ernie_inference.model_files import PARAMETERS, PROGRAM

RECORD_ENDING = ".record.json"
NO_RECORD = "no record says what it was made from"
OTHER_FILES = "its files are not those that were written"
# Of a model's config: where it was loaded from, and what is settled elsewhere.
NAMES_IN_CONFIG = ("architectures", "_name_or_path", "paddlenlp_version", "id2label", "label2id")


class Exported(NamedTuple):
    """A model that has been written.

    Attributes:
        model: its prefix, relative to the folder of the compressed models.
        width, depth: of the pruned model that it is or was made from; None where nothing was pruned by one share of
            every layer, or of the layers, or nothing says so.
        layers: what that one keeps, a subnetworks.KeptLayer of each; None likewise.
        student: the name of the model that it is or was made from, where that learnt from the fine-tuned one.
        vocab_size: rows of its word embeddings, where keep_vocab has made them fewer; None elsewhere.
        source: of an INT8 model, the FP32 model that was quantized: relative as above, or with its whole path where it
            lies outside of the folder.
        The others are those of config.PTQConfig.
    """

    model: str
    precision: str
    width: Optional[str] = None
    depth: Optional[str] = None
    layers: Optional[Tuple[KeptLayer, ...]] = None
    student: Optional[str] = None
    vocab_size: Optional[int] = None
    algorithm: Optional[str] = None
    calibration_texts: Optional[int] = None
    int8_embeddings: bool = False
    mixed_precision: int = 0
    weight_quantize_type: Optional[str] = None
    quantize_activation_matmuls: bool = False
    source: Optional[str] = None


def exported_from(row: Dict) -> Exported:
    """The Exported of a record's row, which is JSON.

    Raises:
        TypeError: the row is none.
    """
    layers = row.get("layers")
    return Exported(**{**row, "layers": layers and tuple(KeptLayer(*layer) for layer in layers)})


class Records:
    """The models in a folder with their records.

    Args:
        folder: of the compressed models.
        fine_tuned: digest of the fine-tuned model whose compressed forms belong here.
        anew: whether to make again what is there.
    """

    def __init__(self, folder: Path, fine_tuned: str, anew: bool = False):
        self.folder, self.fine_tuned, self.anew = folder, fine_tuned, anew
        self._read: Dict[str, Dict] = {}

    def read(self, model: str) -> Optional[Dict]:
        """The record of a model whose files are those that were written; None where it has none, or others.

        {"row": the Exported, "fine_tuned": the digest above, or None where it was made from something else,
        "made_from": all that decided it, "files": their digests, "weights": exported_digest of an FP32 model,
        "measured": {"conditions", "figures"}, "engines": the same, of its speed with each engine,
        "onnx": {"file", "digest"} of its .onnx file}
        """
        if model not in self._read:
            record = self._record_file(model)
            if not record or any(file_digest(self.folder / name) != digest for name, digest in record["files"].items()):
                return None
            self._read[model] = record
        return self._read[model]

    def __getitem__(self, model: str) -> Dict:
        """The record of a model that has one."""
        record = self.read(model)
        if record is None:
            raise KeyError(model)
        return record

    def exported(self, model: str) -> Exported:
        """A model that has a record, by its prefix."""
        return exported_from(self[model]["row"])

    def why_anew(self, model: Exported, made_from: Dict) -> Optional[str]:
        """None for a model that is there as it would be made; else why it has to be made, "" where there is none."""
        record = self.read(model.model)
        if record and self.anew:
            return "as --overwrite_output_dir asks"
        if record:
            return what_changed(record["made_from"], as_json(made_from)) or None
        if not Path(f"{self.folder / model.model}{PROGRAM}").exists():
            return ""
        return OTHER_FILES if self._record_file(model.model) else NO_RECORD

    def write(self, model: Exported, made_from: Dict, export: Callable[[Path], Any], fine_tuned: bool = True) -> None:
        """Export a model to its prefix, then its record. `fine_tuned` says whether it was made from that model."""
        target = self.folder / model.model
        self._read.pop(model.model, None)
        export(target)
        names = [f"{target.name}{PROGRAM}", f"{target.name}{PARAMETERS}", INFERENCE_FILE, VOCAB_FILE]
        paths = [target.parent / name for name in names]
        record = {
            "row": model._asdict(),
            "fine_tuned": self.fine_tuned if fine_tuned else None,
            "made_from": as_json(made_from),
            "files": {path.relative_to(self.folder).as_posix(): file_digest(path) for path in paths},
        }
        if model.precision == "fp32":
            record["weights"] = exported_digest(target)
        self._save(model.model, record)

    def measured(self, model: Exported, conditions: Dict, measure: Callable[[], Dict], what: str = "measured") -> Dict:
        """What measure() says of a model, or said before under the same conditions."""
        figures = self.measured_before(model, conditions, what)
        if figures is None:
            figures = measure()
            self._save(
                model.model, {**self[model.model], what: {"conditions": as_json(conditions), "figures": figures}}
            )
        return figures

    def measured_before(self, model: Exported, conditions: Dict, what: str) -> Optional[Dict]:
        """The figures of an earlier call under the same conditions; None without."""
        found = self[model.model].get(what, {})
        return found["figures"] if found.get("conditions") == as_json(conditions) else None

    def export_onnx(self, model: Exported) -> None:
        """Write PREFIX.onnx beside a model, unless the one that is there was made from it as it is."""
        if self.onnx_of(model):
            return
        file = export_onnx(self.folder / model.model)
        entry = {"file": file.relative_to(self.folder).as_posix(), "digest": file_digest(file)}
        self._save(model.model, {**self[model.model], "onnx": entry})

    def onnx_of(self, model: Exported) -> Optional[str]:
        """The .onnx file of a model, relative to the folder; None where there is none, or another."""
        entry = self[model.model].get("onnx", {})
        return entry["file"] if entry and file_digest(self.folder / entry["file"]) == entry["digest"] else None

    def earlier(self, now: List[Exported]) -> Tuple[List[Exported], Dict[str, List[str]]]:
        """(models of earlier calls that are not among `now`, {reason: models that the report leaves out})."""
        models: List[Exported] = []
        left_out: Dict[str, List[str]] = {}
        for name in sorted(set(self._models()) - {model.model for model in now}):
            reason = self._why_not_one_of_these(name)
            if reason:
                left_out.setdefault(reason, []).append(name)
            else:
                models.append(self.exported(name))
        return models, left_out

    def _why_not_one_of_these(self, name: str) -> str:
        record = self.read(name)
        if record is None:
            return OTHER_FILES if self._record_file(name) else NO_RECORD
        if record["fine_tuned"] not in (None, self.fine_tuned):
            return "made from another fine-tuned model"
        source = record["row"]["source"]
        if source and not Path(source).is_absolute():
            found = self.read(source)
            if found and found["weights"] != record["made_from"]["source"]:
                return f"made from another {source} than is there now"
        return ""

    def _models(self) -> Iterator[str]:
        """The prefixes of all models in the folder."""
        for path in self.folder.rglob(f"*{PROGRAM}"):
            if not any(part.startswith(TEMPORARY) for part in path.parts):
                yield path.relative_to(self.folder).as_posix()[: -len(PROGRAM)]

    def _record_file(self, model: str) -> Optional[Dict]:
        try:
            record = json.loads(Path(f"{self.folder / model}{RECORD_ENDING}").read_text(encoding="utf-8"))
            exported_from(record["row"])
            return record if {"fine_tuned", "made_from", "files"} <= set(record) else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _save(self, model: str, record: Dict) -> None:
        write_json(Path(f"{self.folder / model}{RECORD_ENDING}"), record)
        self._read[model] = record


def still_to_make(made_from: Dict[Exported, Dict], records: Records) -> List[Exported]:
    """Those of some models that are not there as they would be made; says which are kept and why others are not."""
    reasons = {model: records.why_anew(model, settings) for model, settings in made_from.items()}
    for model, reason in reasons.items():
        if reason is None:
            print(f"{records.folder / model.model}: kept, it was made of the same before")
        elif reason:
            print(f"{records.folder / model.model}: made anew ({reason})")
    return [model for model, reason in reasons.items() if reason is not None]


def as_json(value: Dict) -> Dict:
    """Settings as they are read back from a record."""
    return json.loads(json.dumps(value, default=str))


# ---------------------------------------------------------------- digests


def file_digest(path: Path) -> Optional[str]:
    """The digest of a file's content; None where there is no such file."""
    try:
        return DIGEST + digest_of([path])
    except InputError:
        return None


def model_digest(model) -> str:
    """The digest of a model of paddlenlp.transformers: its class, its config and its weights."""
    config = {key: value for key, value in model.config.to_dict().items() if key not in NAMES_IN_CONFIG}
    content = [type(model).__name__, config, weights_digest(model)]
    return json_digest(content)


def exported_digest(prefix: Path) -> str:
    """The digest of the parameters of an exported model, whatever their names and order, which Paddle counts up."""
    with loaded_program(prefix) as model:
        names = {variable.name for variable in model.program.list_vars() if variable.persistable} - {"feed", "fetch"}
        arrays = [np.array(model.scope.find_var(name).get_tensor()) for name in names]
    return json_digest(sorted([array.shape, hashlib.sha256(array.tobytes()).hexdigest()] for array in arrays))


def beside_every_model(trainer) -> Dict:
    """What inference.json and vocab.txt say, apart from the versions of the libraries."""
    inference = trainer.inference_config.content()
    inference.pop("versions")
    with TemporaryDirectory() as folder:
        write_vocab(trainer.task.tokenizer, Path(folder))
        return {**inference, "vocabulary": file_digest(Path(folder) / VOCAB_FILE)}
