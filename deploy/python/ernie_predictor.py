"""From text to answer with an exported model: what a task means, and (below) the predictor that answers with it.

    predictor = load_predictor("best_models/TNEWS/export/model", precision="fp32", num_threads=2)
    predictor.predict(["今天股市大涨", "国足又输了"])

A task object turns an example into model inputs (windows of at most max_seq_length tokens) and the
model's logits back into an answer whose positions are character positions of the text that came in.
Training, evaluation, infer.py, ONNX Runtime and Serving all go through these objects, so an answer
is the same wherever it is asked for; which engine computes the logits (engine.py) makes no difference.
Nothing here imports the trainer.
"""

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from engine import EngineConfig, OnnxEngine, PaddleEngine, load_engine
from model_files import InputError, find_model
from text_files import read_text
from text_output import to_json
from wordpiece import Tokens, WordPiece

INFERENCE_FILE = "inference.json"
VOCAB_FILE = "vocab.txt"
MAX_QUESTION_TOKENS = 64
MAX_ANSWER_TOKENS = 50


class Window(NamedTuple):
    """One model input: [CLS] text [SEP], or [CLS] first [SEP] text [SEP].

    `starts` and `ends` are the character spans of the text's tokens that are in this window; they
    stand at input_ids[offset : offset + len(starts)]. `begin` is the number of the first of them
    among all tokens of the text.
    """

    input_ids: List[int]
    token_type_ids: List[int]
    offset: int
    begin: int
    starts: List[int]
    ends: List[int]


class Encoded(NamedTuple):
    """An example as tokens: what stands before the text in each window ([CLS], or [CLS] first [SEP]), and the text."""

    head: List[int]
    tokens: Tokens


@dataclass
class InferenceConfig:
    """What export writes beside a model (inference.json), so that nothing downstream has to be told again."""

    task: str
    labels: List[str] = field(default_factory=list)
    max_seq_length: int = 128
    doc_stride: int = 32
    lowercase: bool = True
    dataset: str = ""
    versions: Dict[str, str] = field(default_factory=dict)

    def save(self, folder) -> None:
        (Path(folder) / INFERENCE_FILE).write_bytes(to_json(asdict(self), indent=2) + b"\n")

    @classmethod
    def load(cls, folder) -> "InferenceConfig":
        path = Path(folder) / INFERENCE_FILE
        try:
            text = read_text(path)
        except FileNotFoundError:
            raise InputError(f"{path} is missing: export the model with --do_export, which writes it") from None
        try:
            config = cls(**json.loads(text))
            config.check()
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{path} is not what export writes ({error}): export the model again") from None
        return config

    def check(self) -> None:
        """Raises ValueError where a value is not of its kind."""
        if self.task not in list(TASKS):
            raise ValueError(f"task is {self.task!r}, not one of {', '.join(TASKS)}")
        if not isinstance(self.labels, list) or not all(isinstance(label, str) for label in self.labels):
            raise ValueError("labels is not a list of names")
        if len(self.labels) < 2 and self.task != QuestionAnswering.name:
            raise ValueError(f"labels holds {len(self.labels)} names")
        for name in ("max_seq_length", "doc_stride"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not a number of tokens")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64."""
    exp = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


class Task:
    """A task family. Subclasses say how an example becomes tokens and how logits become an answer.

    Args:
        tokenizer: splits text into tokens with character positions.
        labels: the classes in the order of the model's outputs (empty for reading).
        max_seq_length: the most tokens of one window, special tokens included.
        doc_stride: tokens that neighbouring windows of a long text share.
    """

    name = ""
    min_seq_length = 8

    def __init__(self, tokenizer: WordPiece, labels: Sequence[str], max_seq_length: int, doc_stride: int = 32):
        if max_seq_length < self.min_seq_length:
            raise InputError(
                f"max_seq_length {max_seq_length} leaves no room for text: give at least {self.min_seq_length}"
            )
        self.tokenizer = tokenizer
        self.labels = list(labels)
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride

    def windows(self, example: Dict) -> List[Window]:
        """The model inputs of one example: at least one, also for an empty text."""
        encoded = self.encode(example)
        return [self._window(encoded, part) for part in self.parts(len(encoded.head), len(encoded.tokens.ids))]

    def encode(self, example: Dict) -> Encoded:
        """The tokens of one example, as many as its windows need."""
        raise NotImplementedError

    def decode(self, example: Dict, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        """The answer to one example, from the model's outputs for each of its windows (one tuple a window)."""
        raise NotImplementedError

    def parts(self, head: int, tokens: int) -> List[range]:
        """Which tokens of the text are in each window, for so many tokens of head and text; windows overlap."""
        room = self.max_seq_length - head - 1
        step = max(room - min(self.doc_stride, room // 2), 1)  # a head may leave no room, for a text without tokens
        last = max(tokens - room, 0)
        return [range(begin, min(begin + room, tokens)) for begin in range(0, last + step, step)]

    def _window(self, encoded: Encoded, part: range) -> Window:
        """[CLS] (first [SEP]) text [SEP], with the tokens of `part` of the text."""
        head, inside = encoded.head, slice(part.start, part.stop)
        return Window(
            input_ids=[*head, *encoded.tokens.ids[inside], self.tokenizer.sep_id],
            token_type_ids=token_types(len(head), len(part)),
            offset=len(head),
            begin=part.start,
            starts=encoded.tokens.starts[inside],
            ends=encoded.tokens.ends[inside],
        )

    def _head(self, first: List[int] = []) -> List[int]:  # noqa: B006
        return [self.tokenizer.cls_id, *first, self.tokenizer.sep_id] if first else [self.tokenizer.cls_id]


def token_types(head: int, tokens: int) -> List[int]:
    """token_type_ids of a window: all 0 for one text, 1 for the second of two and its [SEP]."""
    return [0] * head + [1 if head > 1 else 0] * (tokens + 1)


class SequenceClassification(Task):
    """Classify a text, or a pair of texts. Example: {"text": str, "text_pair": str or None}."""

    name = "seq_cls"

    def encode(self, example: Dict) -> Encoded:
        """Cut to one window, of two texts the longer one until both fit ("longest_first")."""
        if example.get("text_pair") is None:
            return Encoded(self._head(), self.tokenizer.encode(example["text"], most=self.max_seq_length - 2))
        room = self.max_seq_length - 3
        first, second = (self.tokenizer.encode(example[name], most=room) for name in ("text", "text_pair"))
        keep = max(room - len(second.ids), room // 2)
        kept = first.ids[:keep] or [self.tokenizer.unk_id]  # an empty first text is still a text
        return Encoded(self._head(kept), Tokens(*(numbers[: room - len(kept)] for numbers in second)))

    def decode(self, example: Dict, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        """outputs: ((logits [num_labels],),). Returns {"label", "confidence" 0 to 1, "truncated"}."""
        probabilities = softmax(outputs[0][0])
        best = int(probabilities.argmax())
        return {
            "label": self.labels[best],
            "confidence": float(probabilities[best]),
            "truncated": self._is_truncated(example, windows[0]),
        }

    def _is_truncated(self, example: Dict, window: Window) -> bool:
        if len(window.input_ids) < self.max_seq_length:
            return False
        tokens = self._count(example["text"]) + 2
        if example.get("text_pair") is not None:
            tokens = max(tokens, 3) + self._count(example["text_pair"]) + 1
        return tokens > self.max_seq_length

    def _count(self, text: str) -> int:
        """Tokens of a text, up to max_seq_length."""
        return len(self.tokenizer.encode(text, most=self.max_seq_length).ids)


class TokenClassification(Task):
    """Tag entities. Example: {"text": str}, or {"tokens": [str, ...]} as MSRA NER has it.

    Labels are in the BIO scheme. Positions are of what came in: characters of a text, or numbers of
    tokens in a list; both ends belong to the entity, so a text's entity is text[start : end + 1].
    Each token of a list has one tag. A type that has no I- label is thus for lists: in a text, every
    piece of `3.5%` can be an entity by itself.
    """

    name = "token_cls"

    def encode(self, example: Dict) -> Encoded:
        return Encoded(self._head(), self.tokenizer.encode(text_of(example)))

    def tags(self, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> List[Tuple[str, int, int]]:
        """One (label, start, end) a token of the whole text.

        Where windows overlap, a token is read from the window in which it has the most context on
        its poorer side.
        """
        best: Dict[int, Tuple[int, str, int, int]] = {}
        for window, (logits,) in zip(windows, outputs):
            count = len(window.starts)
            picks = logits[window.offset : window.offset + count].argmax(axis=-1)
            for i, pick in enumerate(picks):
                context = min(i, count - 1 - i)
                if window.begin + i not in best or context > best[window.begin + i][0]:
                    best[window.begin + i] = (context, self.labels[int(pick)], window.starts[i], window.ends[i])
        return [best[i][1:] for i in range(len(best))]

    def decode(self, example: Dict, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        """outputs: one (logits [seq_len, num_labels],) a window. Returns {"entities": [{"entity", "label", "pos"}]}."""
        text = text_of(example)
        to_input = positions_in(example)
        tags = self.tags(windows, outputs)
        if "text" not in example:
            tags = first_of_each(tags, to_input)
        entities = []
        for label, start, end in bio_spans(tags):
            pos = [to_input(start), to_input(end - 1)]
            entities.append({"entity": text[start:end], "label": label, "pos": pos})
        return {"entities": entities}


class QuestionAnswering(Task):
    """Find the answer to a question in a text. Example: {"question": str, "context": str}."""

    name = "qa"
    min_seq_length = 32

    def encode(self, example: Dict) -> Encoded:
        most = min(MAX_QUESTION_TOKENS, self.max_seq_length // 2)
        question = self.tokenizer.encode(example["question"], most).ids
        return Encoded(self._head(question or [self.tokenizer.unk_id]), self.tokenizer.encode(example["context"]))

    def decode(self, example: Dict, windows: List[Window], outputs: List[Tuple[np.ndarray, ...]]) -> Dict:
        """outputs: one (start_logits [seq_len], end_logits [seq_len]) a window.

        Returns {"answer", "score" 0 to 1, "pos" [first, last] character}: the span of at most
        MAX_ANSWER_TOKENS tokens with the highest start + end logit over all windows (BERT,
        Devlin et al. 2019, section 4.2); its score is softmax(start) * softmax(end), each over all
        tokens of all windows.
        """
        starts, ends = [], []
        for window, (start_logits, end_logits) in zip(windows, outputs):
            inside = slice(window.offset, window.offset + len(window.starts))
            starts.append(np.asarray(start_logits[inside], dtype=np.float64))
            ends.append(np.asarray(end_logits[inside], dtype=np.float64))
        if not windows[0].starts:
            return {"answer": "", "score": 0.0, "pos": None}
        candidates = []
        for number, (start, end) in enumerate(zip(starts, ends)):
            scores = start[:, None] + end[None, :]
            allowed = np.triu(np.ones_like(scores, dtype=bool)) & ~np.triu(
                np.ones_like(scores, dtype=bool), MAX_ANSWER_TOKENS
            )
            flat = int(np.where(allowed, scores, -np.inf).argmax())
            first, last = divmod(flat, len(end))
            candidates.append((scores[first, last], number, first, last))
        best, number, first, last = max(candidates, key=lambda candidate: candidate[0])
        log_total = _log_sum_exp(np.concatenate(starts)) + _log_sum_exp(np.concatenate(ends))
        begin, end = windows[number].starts[first], windows[number].ends[last]
        return {
            "answer": example["context"][begin:end],
            "score": float(np.exp(best - log_total)),
            "pos": [begin, end - 1],
        }


def _log_sum_exp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))


TASKS = {task.name: task for task in (SequenceClassification, TokenClassification, QuestionAnswering)}


def bio_spans(tags: Sequence[Tuple[str, int, int]]) -> List[Tuple[str, int, int]]:
    """Entities (label, start, end) from (tag, start, end) a token, in the BIO scheme as conlleval reads it.

    An I- tag that does not continue an entity of its own type begins one.
    """
    spans: List[Tuple[str, int, int]] = []
    previous = "O"
    for tag, start, end in tags:
        prefix, _, label = tag.partition("-")
        if prefix in ("B", "I"):
            if prefix == "I" and previous == label:
                spans[-1] = (label, spans[-1][1], end)
            else:
                spans.append((label, start, end))
        previous = label if prefix in ("B", "I") else "O"
    return spans


def first_of_each(tags: Sequence[Tuple[str, int, int]], owner: Callable[[int], int]) -> List[Tuple[str, int, int]]:
    """One (tag, start, end) for each token of a list, of those a model token; owner(start) is the list token's number.

    Where several model tokens begin in one list token, the first one's tag counts for all of it (Devlin et al. 2019,
    section 5.3); in training the others may have none, see utils.tagging_targets.
    """
    firsts: List[Tuple[str, int, int]] = []
    previous = None
    for tag, start, end in tags:
        number = owner(start)
        if number == previous:
            firsts[-1] = (*firsts[-1][:2], end)
        else:
            firsts.append((tag, start, end))
        previous = number
    return firsts


def join_tokens(tokens: Sequence[str]) -> Tuple[str, List[int]]:
    """The text of a token list, and where each token starts in it.

    Chinese characters, digits and letters of one word stand without a space, as in MSRA NER's one
    character a token; whole Latin words get the space between them back.
    """
    parts: List[str] = []
    starts: List[int] = []
    length = 0
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else ""
        if before and token and (len(before) > 1 or len(token) > 1) and _is_latin(before[-1]) and _is_latin(token[0]):
            parts.append(" ")
            length += 1
        starts.append(length)
        parts.append(token)
        length += len(token)
    return "".join(parts), starts


def _is_latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def text_of(example: Dict) -> str:
    """The text of a tagging example, which holds either a text or a token list."""
    return example["text"] if "text" in example else join_tokens(example["tokens"])[0]


def positions_in(example: Dict):
    """A function from a character of text_of(example) to the position in what came in."""
    if "text" in example:
        return lambda position: position
    starts = join_tokens(example["tokens"])[1]
    return lambda position: int(np.searchsorted(starts, position, side="right")) - 1


def load_task(
    folder: Union[str, Path], max_seq_length: Optional[int] = None, vocab_file: Optional[Union[str, Path]] = None
) -> Task:
    """The task of an exported model, from the inference.json and vocab.txt beside it.

    Raises:
        InputError: a file is missing or is not what export writes.
    """
    config = InferenceConfig.load(folder)
    path = Path(vocab_file or Path(folder) / VOCAB_FILE)
    try:
        tokenizer = WordPiece.from_file(path, config.lowercase)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be used as the vocabulary ({error}): export the model again") from None
    return TASKS[config.task](tokenizer, config.labels, max_seq_length or config.max_seq_length, config.doc_stride)


Prepared = Tuple[Dict, List[Window]]  # an example and its windows


class ErniePredictor:
    """Answers texts with an engine, as a task says.

    One predictor may be shared by threads: each thread that calls it gets its own clone of the
    engine, which shares the weights. What an input is, for
    seq_cls: a text, a pair (text, text_pair), or {"text", "text_pair"};
    token_cls: a text, a list of tokens, or {"text"} or {"tokens"};
    qa: a pair (question, context), or {"question", "context"}.
    """

    # Texts are read, and sorted by length, this many batches at a time: enough that hardly any
    # padding is left, and the memory needed does not depend on how many texts there are.
    batches_ahead = 16

    def __init__(self, engine: Union[PaddleEngine, OnnxEngine], task: Task):
        self.task = task
        self._engine = engine
        self._engines = threading.local()
        self._engines.own = engine
        self._cloning = threading.Lock()
        self._check_match()

    @property
    def engine(self) -> Union[PaddleEngine, OnnxEngine]:
        """This thread's engine."""
        if not hasattr(self._engines, "own"):
            with self._cloning:
                self._engines.own = self._engine.clone()
        return self._engines.own

    def predict(self, inputs: Sequence[Any], batch_size: int = 32) -> List[Dict]:
        """The answers to all inputs, in their order. Task.decode says what an answer holds.

        Raises:
            InputError: an input is not what the task takes.
        """
        return list(self.predict_iter(inputs, batch_size))

    def predict_iter(self, inputs: Iterable[Any], batch_size: int = 32) -> Iterator[Dict]:
        """Like predict, for any number of inputs: reads them as it goes and holds only a few batches.

        The next inputs are read and tokenized in a second thread while the engine runs.
        """
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: give a number from 1 on")
        groups = self._prepare(inputs, batch_size * self.batches_ahead)
        with ThreadPoolExecutor(max_workers=1) as tokenizing:
            group = next(groups, None)
            while group is not None:
                following = tokenizing.submit(next, groups, None)
                yield from self._answers(group, batch_size)
                group = following.result()

    def run_windows(self, windows: Sequence[Window], batch_size: int = 32, sort: bool = True) -> List[Tuple]:
        """The model's outputs for each window, in the order of `windows`.

        Outputs for each token go on after the window's own with those of the batch's padding.

        Args:
            windows: of any number and length.
            batch_size: windows a run.
            sort: batch windows of like length, the longest first, and only as many as are worth their padding.
                Without it, batches are filled in order.
        """
        order = list(range(len(windows)))
        if sort:
            order.sort(key=lambda i: -len(windows[i].input_ids))
        lengths = [len(windows[i].input_ids) for i in order]
        ends = batch_ends(lengths, batch_size, self.engine.config.run_overhead_tokens if sort else math.inf)
        outputs: List[Tuple] = [()] * len(windows)
        for begin, end in zip([0, *ends], ends):
            numbers = order[begin:end]
            logits = self.engine.run(*self.pad([windows[i] for i in numbers]))
            for row, i in enumerate(numbers):
                outputs[i] = tuple(output[row] for output in logits)
        return outputs

    def pad(self, windows: Sequence[Window]) -> Tuple[np.ndarray, np.ndarray]:
        """input_ids and token_type_ids of a batch for the engine, int64 [batch, seq_len]."""
        length = self.engine.padded_length(max(len(window.input_ids) for window in windows))
        return pad(windows, self.task.tokenizer.pad_id, length)

    def _prepare(self, inputs: Iterable[Any], most_windows: int) -> Iterator[List[Prepared]]:
        """Groups of prepared inputs with about `most_windows` windows together."""
        group: List[Prepared] = []
        count = 0
        for number, given in enumerate(inputs, start=1):
            example = as_example(self.task.name, given, f"input {number}")
            group.append((example, self.task.windows(example)))
            count += len(group[-1][1])
            if count >= most_windows:
                yield group
                group, count = [], 0
        if group:
            yield group

    def _answers(self, group: List[Prepared], batch_size: int) -> Iterator[Dict]:
        outputs = iter(self.run_windows([window for _, windows in group for window in windows], batch_size))
        for example, windows in group:
            yield self.task.decode(example, windows, [next(outputs) for _ in windows])

    def _check_match(self) -> None:
        """The files beside a model must belong to it."""
        info, task = self._engine.info, self.task
        where = f"beside {self._engine.prefix}"
        tokens = max(task.tokenizer.vocab.values()) + 1
        if info.vocab_size is not None and tokens > info.vocab_size:
            raise InputError(f"{VOCAB_FILE} {where} has {tokens} tokens, the model {info.vocab_size}: not its own file")
        if info.max_positions is not None and task.max_seq_length > info.max_positions:
            raise InputError(f"max_seq_length {task.max_seq_length}: the model takes at most {info.max_positions}")
        if task.labels and info.num_labels not in (None, -1, len(task.labels)):
            raise InputError(
                f"{INFERENCE_FILE} {where} names {len(task.labels)} labels, the model has {info.num_labels}: "
                "not its own file"
            )


def batch_ends(lengths: Sequence[int], batch_size: int, run_overhead: float) -> List[int]:
    """Where to cut windows into batches: the end of each batch.

    A batch that ends because of its padding, or with the last window, has a round number of rows, so that an engine
    that keeps something for every shape it has seen does not see too many.

    Args:
        lengths: tokens of each window, in the order in which they will run; the first of a batch is its longest.
        batch_size: the most windows of a batch.
        run_overhead: what one more run costs, in tokens; padding that costs more than that is not worth it.
    """
    ends: List[int] = []
    begin = 0
    while begin < len(lengths):
        end, padding = begin, 0
        while end < min(begin + batch_size, len(lengths)) and padding + lengths[begin] - lengths[end] <= run_overhead:
            padding += lengths[begin] - lengths[end]
            end += 1
        begin = end if end - begin == batch_size or run_overhead == math.inf else begin + round_down(end - begin)
        ends.append(begin)
    return ends


def round_down(rows: int) -> int:
    """1, 2, 3, 4, 6, 8, 12, 16, 24 ...: a number's two highest binary digits."""
    rest = max(rows.bit_length() - 2, 0)
    return rows >> rest << rest


def pad(windows: Sequence[Window], pad_id: int, length: int) -> Tuple[np.ndarray, np.ndarray]:
    """input_ids and token_type_ids of a batch, int64 [batch, length]."""
    input_ids = np.full((len(windows), length), pad_id, dtype=np.int64)
    token_type_ids = np.zeros_like(input_ids)
    for row, window in enumerate(windows):
        input_ids[row, : len(window.input_ids)] = window.input_ids
        token_type_ids[row, : len(window.token_type_ids)] = window.token_type_ids
    return input_ids, token_type_ids


# The fields that an input of each task must and may have; the first form is what a plain input fills.
INPUT_FIELDS = {"seq_cls": ("text", "text_pair"), "token_cls": ("text",), "qa": ("question", "context")}


def as_example(task_name: str, given: Any, where: str) -> Dict:
    """One input in any form that ErniePredictor takes, as the example that a Task takes.

    Raises:
        InputError: it is none of these forms; the message begins with `where` it came from.
    """
    fields = INPUT_FIELDS[task_name]
    if isinstance(given, str):
        example = {fields[0]: given}
    elif isinstance(given, dict):
        example = given
    elif task_name == "token_cls" and isinstance(given, (list, tuple)):
        example = {"tokens": given}
    elif isinstance(given, (list, tuple)) and len(given) == len(fields):
        example = dict(zip(fields, given))
    else:
        example = {}
    if not _is_valid(task_name, example):
        forms = {
            "seq_cls": 'a text, a pair of texts, or {"text": ..., "text_pair": ...}',
            "token_cls": 'a text, a list of tokens, or {"text": ...} or {"tokens": [...]}',
            "qa": 'a pair (question, context), or {"question": ..., "context": ...}',
        }
        raise InputError(f"{where} is not {forms[task_name]}")
    return example


def _is_valid(task_name: str, example: Dict) -> bool:
    if task_name == "token_cls" and "text" not in example:
        tokens = example.get("tokens")
        return isinstance(tokens, (list, tuple)) and all(isinstance(token, str) for token in tokens)
    if task_name == "seq_cls":
        return isinstance(example.get("text"), str) and isinstance(example.get("text_pair"), (str, type(None)))
    return all(isinstance(example.get(name), str) for name in INPUT_FIELDS[task_name])


def load_predictor(
    model_path: Union[str, Path],
    task_name: Optional[str] = None,
    max_seq_length: Optional[int] = None,
    config_dir: Optional[Union[str, Path]] = None,
    **engine_options: Any,
) -> ErniePredictor:
    """The predictor of an exported model.

    Args:
        model_path: what model_files.find_model takes: a prefix, a folder, or the beginning of a prefix.
        task_name: what the model is expected to be; by default whatever it is.
        max_seq_length: tokens of one window; by default the length the model was trained with.
        config_dir: the folder of inference.json and vocab.txt; by default the model's own.
        engine_options: fields of EngineConfig (device, backend, precision, num_threads ...).

    Raises:
        InputError: a file is missing or broken, or this machine cannot run the model so.
    """
    onnx = str(engine_options.get("backend", "")).startswith("onnxruntime")
    prefix = find_model(model_path, ".onnx" if onnx else ".pdmodel")
    task = load_task(config_dir or prefix.parent, max_seq_length)
    if task_name not in (None, task.name):
        raise InputError(f"{prefix} is a {task.name} model, not {task_name}: give its own task name, or another model")
    config = EngineConfig(**{"max_seq_length": task.max_seq_length, **engine_options})
    return ErniePredictor(load_engine(prefix, config), task)
