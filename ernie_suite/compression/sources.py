"""Which FP32 models are quantized, and where what is made from each one goes."""

from pathlib import Path
from typing import NamedTuple

from ernie_suite.compression.records import Exported, Records, exported_digest
from ernie_suite.compression.subnetworks import shares_of_name

ORIGINAL = Exported("inference/infer", "fp32")


class Source(NamedTuple):
    """An FP32 model to quantize.

    Attributes:
        prefix: where it is.
        name: how the report calls it; see Exported.source.
        folder: where its INT8 models go, relative to the folder of the compressed models.
        origin: what it is, or where nothing says so an Exported without width and the like.
        weights: records.exported_digest.
        fine_tuned: whether it was made from the fine-tuned model of this compression.
    """

    prefix: Path
    name: str
    folder: str
    origin: Exported
    weights: str
    fine_tuned: bool


def with_fewer_tokens(rows: int, file_name: str) -> Exported:
    """The fine-tuned model with so many rows of word embeddings."""
    return Exported(f"vocab{rows}/{file_name}", "fp32", vocab_size=rows)


def folder_of(model: Exported) -> str:
    """The folder of what is made from a model, relative to that of all; the model as it came has its own at the top."""
    return "" if model.model == ORIGINAL.model else Path(model.model).parent.as_posix()


def within(*parts: str) -> str:
    """A path relative to the folder of all; empty parts are none."""
    return "/".join(filter(None, parts))


def source_of(model: Exported, records: Records) -> Source:
    """An FP32 model among the compressed ones, to quantize."""
    prefix, weights = records.folder / model.model, records[model.model]["weights"]
    return Source(prefix, model.model, folder_of(model), model, weights, True)


def find_source(prefix: Path, records: Records) -> Source:
    """The model of --input_dir, to quantize, and the place of what is made from it.

    By its content it is one of those that are in the folder with a record, wherever the copy lies. A model in a
    folder within is beside what is made from it. Of any other the place carries its digest.
    """
    weights = exported_digest(prefix)
    for model in records.earlier([])[0]:
        if records[model.model].get("weights") == weights:
            return source_of(model, records)
    path, folder = prefix.resolve(), records.folder.resolve()
    if folder in path.parents and path.parent != folder:
        name = path.relative_to(folder)
        place = name.parent.as_posix()
        width, depth = shares_of_name(place)
        return Source(prefix, name.as_posix(), place, Exported("", "fp32", width, depth), weights, False)
    place = f"from_{path.parent.name}_{weights.rpartition(':')[2][:8]}"
    return Source(prefix, str(path), place, Exported("", "fp32"), weights, False)
