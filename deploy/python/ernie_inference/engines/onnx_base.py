"""What the engines that run .onnx files have in common."""

from pathlib import Path
from typing import List, Union

from ernie_inference.engines.base import Engine
from ernie_inference.engines.onnx_graph import DYNAMIC_QUANTIZE, OnnxGraph, read_graph
from ernie_inference.errors import InputError
from ernie_inference.model_files import INPUTS, ModelInfo, find_model, table_sizes


class OnnxFileEngine(Engine):
    """An engine of a .onnx file, before its library has opened it: the file is found and read here."""

    config_advice = "copy it from the exported model, or name its folder with --config_dir"
    graph: OnnxGraph

    @property
    def file(self) -> Path:
        return Path(f"{self.prefix}.onnx")

    @property
    def files(self) -> List[Path]:
        return [self.file]

    def describe(self) -> str:
        return self.config.describe("dynamic" if DYNAMIC_QUANTIZE in self.graph.operators else "QDQ")

    def _open(self, model_path: Union[str, Path]) -> None:
        """Set prefix and graph.

        Raises:
            InputError: there is no such file, or it is no ONNX model.
        """
        self.prefix = find_model(model_path, ".onnx")
        if self.file.stat().st_size == 0:
            raise InputError(f"{self.file} is empty: export it again with paddle2onnx")
        try:
            self.graph = read_graph(self.file)
        except ValueError as error:
            raise InputError(f"{self.file} cannot be loaded: {error}") from None

    def _check_inputs(self, names: List[str]) -> None:
        if sorted(names) != list(INPUTS):
            raise InputError(f"{self.file} has the inputs {', '.join(sorted(names))}, not input_ids and token_type_ids")

    def _info(self, num_labels: object) -> ModelInfo:
        """What the file says about itself; num_labels may be anything where it is not known."""
        vocab_size, max_positions = table_sizes(self.graph.tables)
        return ModelInfo(
            quantized=self.graph.precision == "int8",
            scale_per_column=False,
            vocab_size=vocab_size,
            max_positions=max_positions,
            num_labels=num_labels if isinstance(num_labels, int) else None,
        )
