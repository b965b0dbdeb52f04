"""From text to answer with an exported model, whatever its task and its engine."""

import hashlib
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from ernie_inference.answer_options import PLAIN, AnswerOptions
from ernie_inference.batches import pad, plan
from ernie_inference.engines import ENGINES
from ernie_inference.engines.backends import ONNX, ONNX_TENSORRT
from ernie_inference.engines.base import Engine
from ernie_inference.engines.config import EngineConfig
from ernie_inference.engines.shapes import MOST_OVERHEADS, Shapes, all_lengths, few_lengths, row_counts
from ernie_inference.errors import InputError
from ernie_inference.files import digest_of
from ernie_inference.inference_config import INFERENCE_FILE, VOCAB_FILE, load_task
from ernie_inference.model_files import check_length
from ernie_inference.tasks.base import Computed, Task, Window

Prepared = Tuple[Dict, List[Window]]  # an example and its windows


class ErniePredictor:
    """Answers texts with an engine, as a task says.

    One predictor may be shared by threads: each thread that calls it gets its own clone of the
    engine, which shares the weights. What an input is, for
    seq_cls: a text, a pair (text, text_pair), or {"text", "text_pair"};
    token_cls: a text, a list of tokens, or {"text"} or {"tokens"};
    qa: a pair (question, context), or {"question", "context"};
    multiple_choice: a triple (context, question, choices), or {"context", "question", "choices"}, or, for the blanks
    of a text, {"context", "choices"}.
    """

    # Texts are read, and sorted by length, this many batches at a time: enough that hardly any
    # padding is left, and the memory needed does not depend on how many texts there are.
    batches_ahead = 16

    def __init__(self, engine: Engine, task: Task):
        self.task = task
        self._engine = engine
        self._engines = threading.local()
        self._engines.own = engine
        self._cloning = threading.Lock()
        self._check_match()
        lengths_of = few_lengths if engine.config.few_shapes else all_lengths
        self._lengths = lengths_of(task.max_seq_length, engine.padded_length)

    @property
    def engine(self) -> Engine:
        """This thread's engine."""
        if not hasattr(self._engines, "own"):
            with self._cloning:
                self._engines.own = self._engine.clone()
        return self._engines.own

    def predict(
        self,
        inputs: Union[Iterable[Any], str, Dict],
        batch_size: Optional[int] = None,
        top_k: Optional[int] = None,
        threshold: Optional[float] = None,
        long_texts: Optional[str] = None,
    ) -> List[Dict]:
        """The answers to all inputs, in their order. Task.decode says what an answer holds.

        Args:
            inputs: any number of inputs. A single str or dict is one input, and gets a list of one answer; a list or
                tuple is always several, so one pair or one list of tokens stands in a list: [(question, context)].
            batch_size: windows a run; by default what the engine was made for (EngineConfig.batch_size).
            top_k: give so many of the likeliest labels, entities or answers, from 1 on, with the confidence of each.
            threshold: from 0 to 1; what the model is less certain of than this is no answer.
            long_texts: for classification: cut, windows or windows_max; by default as the model was trained.

        Raises:
            InputError: an input is not what the task takes, an option is out of its range, or the model computed no
                numbers.
        """
        return list(self.predict_iter(inputs, batch_size, top_k, threshold, long_texts))

    def predict_iter(
        self,
        inputs: Union[Iterable[Any], str, Dict],
        batch_size: Optional[int] = None,
        top_k: Optional[int] = None,
        threshold: Optional[float] = None,
        long_texts: Optional[str] = None,
    ) -> Iterator[Dict]:
        """Like predict, for any number of inputs: reads them as it goes and holds only a few batches.

        The next inputs are read and tokenized in a second thread while the engine runs.
        """
        options = self.task.answer_options(top_k, threshold, long_texts)
        for example, windows, outputs in self.outputs_iter(inputs, batch_size, options):
            yield self.task.decode(example, windows, outputs, options)

    def outputs_iter(
        self,
        inputs: Union[Iterable[Any], str, Dict],
        batch_size: Optional[int] = None,
        options: AnswerOptions = PLAIN,
    ) -> Iterator[Computed]:
        """What Task.decode makes answers of: each input as an example, its windows, and the model's outputs for each of
        them (views of whole batches: what is kept of them is better copied). Otherwise as predict_iter."""
        batch_size = self._allowed(batch_size)
        groups = self._prepare(as_inputs(inputs), batch_size * self.batches_ahead, options)
        with ThreadPoolExecutor(max_workers=1) as tokenizing:
            group = next(groups, None)
            while group is not None:
                following = tokenizing.submit(next, groups, None)
                outputs = iter(self.run_windows([window for _, own in group for window in own], batch_size))
                for example, own in group:
                    yield example, own, [next(outputs) for _ in own]
                group = following.result()

    def run_windows(
        self, windows: Sequence[Window], batch_size: Optional[int] = None, sort: bool = True
    ) -> List[Tuple]:
        """The model's outputs for each window, in the order of `windows`.

        Outputs for each token go on after the window's own with those of the batch's padding.

        Args:
            windows: any number of them, of no more than the task's max_seq_length tokens.
            batch_size: windows a run; by default what the engine was made for.
            sort: batch windows of like length, the longest first, and only as many as are worth their padding.
                Without it, batches are filled in order.
        """
        outputs: List[Tuple] = [()] * len(windows)
        for numbers, batch in self.batches(windows, batch_size, sort):
            logits = self.engine.run(*batch)
            for row, i in enumerate(numbers):
                outputs[i] = tuple(output[row] for output in logits)
        return outputs

    def batches(
        self, windows: Sequence[Window], batch_size: Optional[int] = None, sort: bool = True
    ) -> Iterator[Tuple[List[int], Tuple[np.ndarray, np.ndarray]]]:
        """The runs of run_windows: the numbers of the windows in each, and input_ids and token_type_ids for the engine,
        int64 [rows, length] each, where rows beyond the windows are padding."""
        shapes = self.shapes(batch_size)
        order = list(range(len(windows)))
        if sort:
            order.sort(key=lambda i: -len(windows[i].input_ids))
        lengths = [len(windows[i].input_ids) for i in order]
        for run in plan(lengths, shapes, self._engine.config.run_overhead_tokens if sort else math.inf):
            numbers = order[run.begin : run.end]
            yield numbers, pad([windows[i] for i in numbers], self.task.tokenizer.pad_id, run.length, run.rows)

    def pad(self, windows: Sequence[Window]) -> Tuple[np.ndarray, np.ndarray]:
        """input_ids and token_type_ids of a batch for the engine, int64 [batch, seq_len]."""
        length = self.shapes().length(max(len(window.input_ids) for window in windows))
        return pad(windows, self.task.tokenizer.pad_id, length)

    def shapes(self, batch_size: Optional[int] = None) -> Shapes:
        """The shapes in which inputs are run with this batch size: (rows, tokens) each.

        All of them are few, and known beforehand, with EngineConfig.few_shapes.
        """
        config, batch_size = self._engine.config, self._allowed(batch_size)
        most_tokens = config.run_overhead_tokens * MOST_OVERHEADS if config.few_shapes else math.inf
        # Only what runs on a processor is kept for each shape; a GPU's batches are filled and have no padding rows.
        rows = row_counts(batch_size) if config.device == "cpu" else range(1, batch_size + 1)
        return Shapes(self._lengths, rows, most_tokens)

    def warm_up(self) -> None:
        """Run every shape once with this thread's engine: from then on no input is slower than another of its size,
        and what the engine keeps grows no more."""
        for rows, length in self.shapes():
            input_ids = np.full((rows, length), self.task.tokenizer.unk_id, dtype=np.int64)
            self.engine.run(input_ids, np.zeros_like(input_ids))

    def depends_on(self) -> Dict[str, Any]:
        """All that answers depend on beside the inputs, as JSON has it: files by what they hold, not by where they are.

        Raises:
            InputError: a file of the model cannot be read.
        """
        task, config = self.task, self.engine.config
        vocabulary = json.dumps(sorted(task.tokenizer.vocab.items())).encode("ascii")
        calibrated = {} if task.temperature == 1 else {"temperature": task.temperature}
        return {
            "model": digest_of(self.engine.files),
            "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
            "lowercase": task.tokenizer.lowercase,
            "task": task.name,
            "labels": list(task.labels),
            **({} if task.thresholds is None else {"thresholds": list(task.thresholds)}),
            "max_seq_length": task.max_seq_length,
            "doc_stride": task.doc_stride,
            **({} if task.long_texts is None else {"long_texts": task.long_texts}),
            "backend": config.backend,
            "device": config.device,
            "precision": config.precision,
            **calibrated,
        }

    def _allowed(self, batch_size: Optional[int]) -> int:
        """The batch size to use for the one that was asked for."""
        config = self._engine.config
        if batch_size is None:
            return config.batch_size
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: give a number from 1 on")
        if config.is_tensorrt and batch_size > config.batch_size:
            raise InputError(
                f"batch_size is {batch_size}, but TensorRT was prepared for {config.batch_size}: "
                "load the model with the larger batch_size"
            )
        return batch_size

    def _prepare(self, inputs: Iterable[Any], most_windows: int, options: AnswerOptions) -> Iterator[List[Prepared]]:
        """Groups of prepared inputs with about `most_windows` windows together."""
        group: List[Prepared] = []
        count = 0
        for number, given in enumerate(inputs, start=1):
            example = self.task.as_example(given, f"input {number}")
            group.append((example, self.task.windows(example, options)))
            count += len(group[-1][1])
            if count >= most_windows:
                yield group
                group, count = [], 0
        if group:
            yield group

    def _check_match(self) -> None:
        """The files beside a model must belong to it."""
        info, task = self._engine.info, self.task
        where = f"beside {self._engine.prefix}"
        tokens = max(task.tokenizer.vocab.values()) + 1
        if info.vocab_size is not None and tokens > info.vocab_size:
            raise InputError(f"{VOCAB_FILE} {where} has {tokens} tokens, the model {info.vocab_size}: not its own file")
        check_length(task.max_seq_length, info)
        longest = self._engine.config.max_seq_length
        if self._engine.config.is_tensorrt and task.max_seq_length > longest:
            raise InputError(
                f"max_seq_length is {task.max_seq_length}, but TensorRT was prepared for {longest} tokens: "
                "load the model with the larger max_seq_length"
            )
        if task.labels and info.num_labels not in (None, -1, len(task.labels)):
            raise InputError(
                f"{INFERENCE_FILE} {where} names {len(task.labels)} labels, the model has {info.num_labels}: "
                "not its own file"
            )


def as_inputs(inputs: Union[Iterable[Any], str, Dict]) -> Iterable[Any]:
    """What ErniePredictor.predict was given as several inputs: a text or a dict is one.

    Raises:
        InputError: it is neither one input nor several.
    """
    if isinstance(inputs, (str, dict)):
        return [inputs]
    if isinstance(inputs, (bytes, bytearray)) or not isinstance(inputs, Iterable):
        raise InputError(f"the inputs are of the type {type(inputs).__name__}: give a text, or a list of inputs")
    return inputs


def load_predictor(
    model_path: Union[str, Path],
    task_name: Optional[str] = None,
    max_seq_length: Optional[int] = None,
    config_dir: Optional[Union[str, Path]] = None,
    long_texts: Optional[str] = None,
    **engine_options: Any,
) -> ErniePredictor:
    """The predictor of an exported model.

    Args:
        model_path: what model_files.find_model takes: a prefix, a folder, or the beginning of a prefix.
        task_name: what the model is expected to be; by default whatever it is.
        max_seq_length: tokens of one window; by default the length the model was trained with.
        config_dir: the folder of inference.json and vocab.txt; by default the model's own.
        long_texts: for classification, what becomes of texts longer than one window where predict is not told: cut,
            windows or windows_max; by default as the model was trained.
        engine_options: fields of EngineConfig (device, backend, precision, num_threads ...).

    Raises:
        InputError: a file is missing or broken, this machine cannot run the model so, or the task takes no long_texts.
    """
    config = EngineConfig(**engine_options)  # refuses what cannot work before anything is read or made
    engine_class = ENGINES[config.backend]
    model = engine_class.find(model_path, config)
    folder = Path(config_dir or model.parent)
    for name in (INFERENCE_FILE, VOCAB_FILE):
        if not (folder / name).exists():
            raise InputError(f"{folder / name} is missing: {engine_class.config_advice}")
    task = load_task(folder, max_seq_length, long_texts=long_texts)
    if task_name not in (None, task.name):
        raise InputError(f"{model} is a {task.name} model, not {task_name}: give its own task name, or another model")
    config.max_seq_length = task.max_seq_length
    return ErniePredictor(engine_class(model, config), task)


def load_onnx_predictor(
    model_path: Union[str, Path], device: str = "cpu", use_trt: bool = False, **options: Any
) -> ErniePredictor:
    """The predictor of an ONNX model on ONNX Runtime, or, with use_trt, on its TensorRT provider.

    model_path is a .onnx file, or an exported Paddle model, which is converted first. The file in another precision
    than FP32 (fp16 on a GPU, int8 on a processor) is made from the FP32 one and kept beside it. Otherwise as
    load_predictor.
    """
    return load_predictor(model_path, backend=ONNX_TENSORRT if use_trt else ONNX, device=device, **options)
